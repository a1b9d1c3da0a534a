// The tar reader and the pure parts of unpacking on arbitrary bytes: they end in an Error or in
// entries that keep the promises of store/tar.h.
#include <array>
#include <cstdlib>

#include "base/error.h"
#include "base/log.h"
#include "base/stream.h"
#include "store/tar.h"
#include "store/tar_format.h"
#include "store/whiteout.h"
#include "store/xattrs.h"

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

void checkEntry(const img::store::TarEntry& entry) {
  using Type = img::store::TarEntry::Type;
  require(!entry.path.empty());
  require(entry.type == Type::file || (entry.size == 0 && !entry.sparse));
  std::uint64_t end = 0;
  for (const auto& extent : entry.extents) {
    require(extent.length > 0 && extent.offset >= end &&
            extent.length <= entry.size - extent.offset);
    end = extent.offset + extent.length;
  }
  const std::string path = img::store::cleanTarPath(entry.path, "fuzz");
  require(!path.starts_with('/') && path.find("//") == std::string::npos);
  img::store::whiteoutKind(path);
  img::store::keptXattrs(entry.xattrs, "fuzz");
}

// Random changes rarely keep a checksum right: blocks that look like headers get theirs.
void fixChecksums(std::string& tar) {
  namespace fmt = img::store::tarfmt;
  for (size_t at = 0; at + fmt::kBlock <= tar.size(); at += fmt::kBlock) {
    if (tar.compare(at + fmt::kMagic.offset, 5, "ustar") != 0) continue;
    auto sum = fmt::checksumOf(reinterpret_cast<const std::byte*>(tar.data()) + at).unsignedSum;
    const size_t field = at + fmt::kChecksum.offset;
    for (size_t digit = 6; digit-- > 0; sum >>= 3)
      tar[field + digit] = static_cast<char>('0' + (sum & 7));
    tar[field + 6] = '\0';
    tar[field + 7] = ' ';
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, size_t size) {
  img::log::setLevel(img::log::Level::off);
  std::string tar{reinterpret_cast<const char*>(data), size};
  fixChecksums(tar);
  img::StringSource source{std::move(tar)};
  try {
    img::store::TarReader reader{source, "fuzz"};
    while (const img::store::TarEntry* entry = reader.next()) {
      checkEntry(*entry);
      std::array<std::byte, 100> piece;
      std::uint64_t stored = 0;
      while (const size_t count = reader.read(piece)) stored += count;
      require(entry->sparse || stored == entry->size);
    }
    reader.drain();
  } catch (const img::Error&) {
  }
  return 0;
}
