// Layers of a few files are folders also where an index could serve (layer_view.h). An index costs
// every container a mount of its own, whose end waits for all CPUs, and a page cache that starts
// empty and that no other container shares; with 100 such layers, or a base of a few megabytes,
// that is most of the time of a start. What it spares is making the files: nothing much when they
// are few.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/stream.h"
#include "store/unpack.h"

namespace img::store {

// Whether a layer that has just been indexed is better unpacked after all. Never where
// IMG_LAYER_VIEW asks for an index.
bool isBetterUnpacked(const UnpackStats& stats);

// Passes everything through and keeps what a small layer can have.
class Remembered final : public Source {
 public:
  static constexpr std::uint64_t kMaxBytes = 4 << 20;

  explicit Remembered(Source& inner) : inner_(inner) {}
  size_t read(std::span<std::byte> into) override;
  // All that was read; nullopt: it was too much.
  std::optional<std::string> take();

 private:
  Source& inner_;
  std::string kept_;
  bool isWhole_ = true;
};

}  // namespace img::store
