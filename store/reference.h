// Image references [HOST[:PORT]/]PATH[:TAG][@sha256:HEX], parsed and normalised (cli.md section 5,
// security.md M13).
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/digest.h"

namespace img::store {

struct Reference {
  std::string host;  // "docker.io" by default
  std::string path;  // "library/busybox"
  std::string tag;   // "latest" by default; empty only when a digest was given without a tag
  std::optional<Digest> digest;

  // Throws Kind::usage ("invalid reference format: repository name must be lowercase", ...).
  static Reference parse(std::string_view text);
  [[nodiscard]] std::string full() const;                // docker.io/library/busybox:latest
  [[nodiscard]] std::string repository() const;          // docker.io/library/busybox
  [[nodiscard]] std::string familiar() const;            // busybox:latest
  [[nodiscard]] std::string familiarRepository() const;  // busybox
};

}  // namespace img::store
