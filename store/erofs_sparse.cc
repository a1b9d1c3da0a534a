#include "store/erofs_sparse.h"

#include <unistd.h>

#include <algorithm>
#include <bit>

#include "base/sys.h"

namespace img::store {
namespace {

constexpr unsigned kMaxBits = 31;  // EROFS_CHUNK_FORMAT_BLKBITS_MASK, fs/erofs/erofs_fs.h
constexpr std::uint64_t kFreeChunks = 256;

}  // namespace

ErofsSparse::ErofsSparse(const TarEntry& entry, std::uint64_t archiveOffset, ErofsFormat format)
    : size_(entry.size), format_(format) {
  for (const TarEntry::Extent& extent : entry.extents) {
    // In the archive the extents follow each other without a gap.
    if (!runs_.empty() && runs_.back().offset + runs_.back().length == extent.offset) {
      runs_.back().length += extent.length;
    } else {
      runs_.push_back({extent.offset, extent.length, archiveOffset});
    }
    archiveOffset += extent.length;
  }
  if (size_ == 0) return;
  chooseSize();
  fillChunks();
}

// The largest size that all ends of runs are multiples of; larger when that were too many chunks.
void ErofsSparse::chooseSize() {
  std::uint64_t ends = 0;
  for (const Run& run : runs_) {
    ends |= run.offset;
    if (run.offset + run.length != size_) ends |= run.offset + run.length;
  }
  const auto zeros = ends == 0 ? 64U : static_cast<unsigned>(std::countr_zero(ends));
  table_.bits = zeros <= format_.blockBits ? 0 : std::min(zeros - format_.blockBits, kMaxBits);
  const std::uint64_t most = runs_.size() * 4 + kFreeChunks;
  while (table_.bits < kMaxBits && (size_ - 1) / chunkSize() >= most) ++table_.bits;
}

void ErofsSparse::fillChunks() {
  using Place = ErofsChunks::Place;
  table_.chunks.resize(static_cast<size_t>((size_ - 1) / chunkSize() + 1));
  for (const Run& run : runs_) {
    const std::uint64_t end = run.offset + run.length;
    for (std::uint64_t at = run.offset; at < end; at = endOfChunk(at)) {
      ErofsChunks::Chunk& chunk = table_.chunks[static_cast<size_t>(at / chunkSize())];
      const std::uint64_t inArchive = run.archiveOffset + (at - run.offset);
      const bool isWhole = at % chunkSize() == 0 && std::min(endOfChunk(at), size_) <= end;
      const bool isAligned = inArchive % format_.block() == 0;
      chunk = isWhole && isAligned ? ErofsChunks::Chunk{Place::archive, inArchive / format_.block()}
                                   : ErofsChunks::Chunk{Place::image, 0};
    }
  }
}

std::uint64_t ErofsSparse::endOfChunk(std::uint64_t offset) const {
  return (offset / chunkSize() + 1) * chunkSize();
}

std::uint64_t ErofsSparse::placeCopies(std::uint64_t block) {
  for (ErofsChunks::Chunk& chunk : table_.chunks) {
    if (chunk.place != ErofsChunks::Place::image) continue;
    chunk.block = block;
    block += std::uint64_t{1} << table_.bits;
  }
  return block;
}

void ErofsSparse::copy(TarReader& data, int image) const {
  std::span<const std::byte> piece;
  for (const Run& run : runs_) {
    for (std::uint64_t done = 0; done < run.length;) {
      if (piece.empty()) piece = data.readPiece();
      const std::uint64_t at = run.offset + done;
      const std::uint64_t most = std::min(run.length - done, endOfChunk(at) - at);
      const auto part =
          piece.first(static_cast<size_t>(std::min<std::uint64_t>(most, piece.size())));
      write(image, at, part);
      piece = piece.subspan(part.size());
      done += part.size();
    }
  }
}

void ErofsSparse::write(int image, std::uint64_t offset, std::span<const std::byte> bytes) const {
  const ErofsChunks::Chunk& chunk = table_.chunks[static_cast<size_t>(offset / chunkSize())];
  if (chunk.place != ErofsChunks::Place::image) return;
  std::uint64_t at = chunk.block * format_.block() + offset % chunkSize();
  while (!bytes.empty()) {
    const auto count = sys::check(
        [&] { return ::pwrite(image, bytes.data(), bytes.size(), static_cast<off_t>(at)); },
        "write the index of a layer");
    bytes = bytes.subspan(static_cast<size_t>(count));
    at += static_cast<std::uint64_t>(count);
  }
}

}  // namespace img::store
