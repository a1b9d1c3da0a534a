// Where results of steps come from and go to besides the store: the values of --cache-from and
// --cache-to (cli.md 9.4). Values only.
#pragma once

#include <string>

#include "builder/output.h"

namespace img::builder {

struct CachePlace {
  enum class Type { registry, local, inlined };
  Type type = Type::registry;
  std::string reference;       // registry: as written
  std::string directory;       // local: an OCI layout
  std::string tag, digest;     // local: which image of it; empty: "latest", or the only one
  bool hasAllStages = true;    // mode=max; false: only the layers of the result
  bool hasMounts = false;      // the content of cache mounts as well
  bool isErrorIgnored = true;  // a failed export is a warning
  LayerCompression compression{Compression::zstd, {}, false};  // of exported layers

  // For people.
  [[nodiscard]] std::string name() const {
    if (type == Type::inlined) return "the image";
    return type == Type::local ? directory : reference;
  }
};

}  // namespace img::builder
