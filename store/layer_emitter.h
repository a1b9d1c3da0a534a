// The entries of a layer's tar, whether the layer lies in folders (seal.h) or is only planned
// (planned_layer.h): what an entry says of a file, times clamped, which files are the same in the
// layers below, unchanged folders kept back until something below them is written.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <string>
#include <vector>

#include "store/lower_view.h"
#include "store/seal.h"
#include "store/tar.h"
#include "store/xattrs.h"

namespace img::store {

// Deeper than any path the kernel accepts in one piece; keeps the stack of a walk bounded.
inline constexpr int kMaxLayerDepth = 4096;

class LayerEmitter {
 public:
  LayerEmitter(const LayerEmitter&) = delete;
  LayerEmitter& operator=(const LayerEmitter&) = delete;

 protected:
  // `folder`: where in the archive the entries go. Both references outlive the emitter.
  LayerEmitter(TarWriter& tar, const SealOptions& options, std::string folder)
      : options_(options), path_(std::move(folder)), tar_(tar) {}
  ~LayerEmitter() = default;

  void checkDepth(int depth) const;
  // OCI image-spec layer.md, "Whiteouts": a name that would delete something when the layer is
  // unpacked.
  void checkName(const std::string& name) const;

  // Type, owner, mode and time of path_; what else it has is the caller's.
  [[nodiscard]] TarEntry entryFor(const struct stat& st) const;
  // Of what is neither a file nor a folder.
  static void setType(TarEntry& entry, const struct stat& st);
  void emit(const TarEntry& entry);
  // With the file's bytes, of which `st` says how many there are.
  void emitFile(int file, const struct stat& st, TarEntry entry);
  // The same in two steps; the second one gets what the first one gave.
  TarEntry beginFile(int file, const struct stat& st, TarEntry entry);
  void copyFile(int file, const TarEntry& entry);
  void emitLink(const TarEntry& entry, const std::string& first);
  // A folder that did not change: written when something below it is, until the caller takes it
  // back.
  void hold(TarEntry folder) { pending_.push_back(std::move(folder)); }
  [[nodiscard]] size_t held() const { return pending_.size(); }
  // Takes back what is held beyond the first `count`.
  void release(size_t count) {
    if (pending_.size() > count) pending_.resize(count);
  }

  [[nodiscard]] bool isSameMeta(const struct stat& st, const struct stat& lower) const;
  [[nodiscard]] bool isSameFile(int file, const struct stat& st, const Xattrs& xattrs,
                                const LowerFolder::Found& lower) const;
  // `entry` is neither a file nor a folder, and complete.
  [[nodiscard]] bool isSameSpecial(const TarEntry& entry, const struct stat& st,
                                   const LowerFolder::Found& lower) const;
  [[nodiscard]] std::string name() const { return path_.substr(path_.rfind('/') + 1); }

  // NOLINTBEGIN(*-non-private-member-variables-in-classes): the walks of both
  const SealOptions& options_;
  SealResult result_;
  std::string path_;  // of the entry under way
                      // NOLINTEND(*-non-private-member-variables-in-classes)

 private:
  void copyData(int file, std::uint64_t offset, std::uint64_t length);

  TarWriter& tar_;
  std::vector<TarEntry> pending_;  // outermost first
};

}  // namespace img::store
