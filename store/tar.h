// Tar as OCI layers use it: a deterministic writer (ustar headers, PAX records only where needed)
// and a strict streaming reader (ustar, GNU long names and sparse files, PAX), rules T1..T16 of
// security.md 8. POSIX pax(1), tar(5).
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/stream.h"

namespace img::store {

struct TarEntry {
  enum class Type { file, hardLink, symlink, charDevice, blockDevice, directory, fifo };
  struct Extent {
    std::uint64_t offset, length;
  };
  std::string path;  // as in the archive; the writer wants it without a leading or trailing '/'
  Type type = Type::file;
  std::uint32_t mode = 0;  // & 07777
  std::uint32_t uid = 0, gid = 0;
  std::uint64_t size = 0;  // logical size of a file, holes included; 0 for all else
  std::int64_t mtimeSeconds = 0;
  std::uint32_t mtimeNanoseconds = 0;
  std::string linkTarget;  // hard link: path in the archive; symlink: its text
  std::uint32_t deviceMajor = 0, deviceMinor = 0;
  std::map<std::string, std::string> xattrs;
  bool sparse = false;
  std::vector<Extent> extents;  // sparse files: the parts that hold data, ascending
};

// Same entries, same bytes. Paths and names are bytes; sizes, times and ids that do not fit go to
// PAX records.
class TarWriter {
 public:
  explicit TarWriter(Sink& sink) : sink_(sink) {}
  void add(const TarEntry&
               entry);  // then, for a file: exactly its data bytes (of the extents when sparse)
  void data(std::span<const std::byte> bytes);
  void finish();  // padding of the last file and the two zero blocks

 private:
  void pad();
  Sink& sink_;
  std::uint64_t left_ = 0;     // data bytes the current file still wants
  std::uint64_t written_ = 0;  // of the current file
};

class TarReader {
 public:
  explicit TarReader(Source& source, std::string name);
  ~TarReader();
  // The next entry, or nullptr at the end of the archive. Skips what was not read of the previous
  // one. Throws Kind::corrupt for anything two readers could understand differently.
  const TarEntry* next();
  // Data of the current file: for sparse files the data of its extents, one after the other.
  size_t read(std::span<std::byte> into);
  // Reads what is left of the source, so that a hash over it is complete; refuses trailing garbage
  // (T13).
  void drain();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace img::store
