// PAX extended header records: "LENGTH KEY=VALUE\n" (POSIX pax(1), "pax Extended Header"). Parsed
// strictly, as T9 of security.md 8 says; written only by the tar writer. Internal to the tar units.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "store/tar.h"

namespace img::store::tarfmt {

struct PaxTime {
  std::int64_t seconds = 0;
  std::uint32_t nanoseconds = 0;
};

// What a sparse file's records say. Format 0.0 and 0.1 carry the map themselves, 1.0 has it before
// the data.
struct PaxSparse {
  std::optional<std::uint64_t> major, minor, size, realSize, blocks;
  std::optional<std::string> name;
  std::vector<std::uint64_t> map;  // offset, length, offset, length ...
  bool hasMap = false;             // GNU.sparse.map
  bool hasPairs = false;           // GNU.sparse.offset and .numbytes
  bool any = false;
};

struct PaxRecords {
  std::optional<std::string> path, linkPath;
  std::optional<std::uint64_t> size, uid, gid;
  std::optional<PaxTime> mtime;
  std::map<std::string, std::string> xattrs;
  PaxSparse sparse;
};

// Throws Kind::corrupt; `where` opens the message. A global header may say nothing about single
// files.
enum class PaxScope { file, global };
PaxRecords parsePax(std::string_view body, PaxScope scope, std::string_view where);

// "seconds[.fraction]" with an optional sign; nullopt for anything else.
std::optional<PaxTime> parsePaxTime(std::string_view text);
std::string formatPaxTime(std::int64_t seconds, std::uint32_t nanoseconds);
void appendPaxRecord(std::string& body, std::string_view key, std::string_view value);

// Ascending, without overlap, within `realSize`, together `stored` bytes. Empty extents are
// dropped.
std::vector<TarEntry::Extent> checkSparseMap(const std::vector<std::uint64_t>& numbers,
                                             std::uint64_t realSize, std::uint64_t stored,
                                             std::string_view where);

}  // namespace img::store::tarfmt
