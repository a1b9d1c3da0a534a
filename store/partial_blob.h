// A blob that is being downloaded: ingest/partial/<hex>, which outlives its process, so that the
// next one goes on where it stopped (reliability.md 7). Locked by one process at a time; others
// wait, and find the blob in its place. What the file has is not trusted: the digest of the whole
// decides. Layout::recover() removes what nobody has touched for a day.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "base/digest.h"
#include "base/fd.h"
#include "store/free_space.h"
#include "store/layout.h"

namespace img::store {

class PartialBlob {
 public:
  // Waits while another process downloads it, which `onWait` is told before.
  PartialBlob(const Layout& layout, const Digest& digest, const std::function<void()>& onWait = {});
  PartialBlob(const PartialBlob&) = delete;
  PartialBlob& operator=(const PartialBlob&) = delete;
  ~PartialBlob();  // a file without a byte goes

  [[nodiscard]] int fd() const { return fd_.get(); }
  [[nodiscard]] std::uint64_t size() const { return size_; }
  void append(std::span<const std::byte> bytes);
  void clear();
  // What it has is durable afterwards, so that publish() has little left to wait for. May be called
  // by another thread than the others, at another time.
  void sync() const;
  // The caller has seen that the bytes are those of the digest: it becomes the blob (S-1); the name
  // is durable after syncBlobs().
  void publish();

 private:
  const Layout& layout_;
  Digest digest_;
  Fd folder_, fd_;
  FreeSpace space_;
  std::uint64_t size_ = 0;
  std::uint64_t writtenBack_ = 0;  // bytes whose writing to the disk was started
};

}  // namespace img::store
