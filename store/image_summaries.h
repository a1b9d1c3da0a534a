// What a list shows of an image, remembered from one list to the next: cache/images, one file for
// all, with its own digest behind it. Manifests and configs never change, so an entry is right as
// long as both are there; a list of a thousand images then reads one file instead of two thousand.
// Losing it costs the time of one list.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/digest.h"
#include "store/layout.h"
#include "store/oci.h"

namespace img::store {

struct ImageSummary {
  Digest id;
  std::string created;  // of the config; may be empty
  std::map<std::string, std::string> labels;
  std::uint64_t size = 0;  // bytes of the files of its layers
};

class ImageSummaries {
 public:
  explicit ImageSummaries(const Layout& layout);
  // Throws as Images::load does. An index, which stands for another image on another machine, is
  // read each time.
  ImageSummary of(const Descriptor& manifest);
  // Writes what was asked for, when any of it is new. Never fails.
  void save();

 private:
  struct Layer {
    Digest diffId;
    std::uint64_t size = 0;
    bool isKnown = false;  // else it is not unpacked, and this is the size of its blob
  };
  struct Entry {
    ImageSummary summary;
    std::vector<Layer> layers;
    bool isUsed = false;
  };
  void read();
  bool tryDecode(std::string_view text);
  [[nodiscard]] std::string encode() const;
  [[nodiscard]] bool isPresent(const Descriptor& manifest, const Digest& id) const;
  void settleSizes(Entry& entry);

  const Layout& layout_;
  std::unordered_map<Digest, Entry> entries_;  // by manifest
  std::unordered_set<std::string> unpacked_;   // names in layers/
  bool isChanged_ = false;
};

}  // namespace img::store
