#include "store/staged_file.h"

#include "base/fd.h"
#include "base/preallocation.h"
#include "store/blobs.h"
#include "store/block_pipe.h"

namespace img::store {
namespace {

class HashingSink final : public Sink {
 public:
  void write(std::span<const std::byte> bytes) override { hasher_.update(bytes); }
  Digest digest() { return hasher_.finish(); }

 private:
  Hasher hasher_;
};

}  // namespace

StagedFile stageFile(Source& from, int file, const std::string& name) {
  StagedFile staged;
  HashingSink hash;
  BlockPipe pipe{hash, BlockPipe::Mode::overlapped};
  Preallocation blocks{file};
  std::uint64_t writtenBack = 0;
  for (;;) {
    const std::span<std::byte> space = pipe.space();
    const size_t count = from.read(space);
    if (count == 0) break;
    blocks.grow(staged.size, staged.size + count);
    writeAll(file, space.first(count), name);
    pipe.advance(count);
    staged.size += count;
    startWriteback(file, staged.size, writtenBack);
  }
  pipe.finish();
  blocks.trim(staged.size);
  staged.digest = hash.digest();
  return staged;
}

}  // namespace img::store
