// Tar as OCI layers use it: a deterministic writer (ustar headers, PAX records only where needed)
// and a strict streaming reader (ustar, GNU long names and sparse files, PAX), rules T1..T16 of
// security.md 8. POSIX pax(1), tar(5).
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/stream.h"

namespace img::store {

class BlockPipe;

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
// PAX records, holes to GNU sparse format 1.0 (read by GNU tar, libarchive and Go's archive/tar
// alike).
class TarWriter {
 public:
  explicit TarWriter(Sink& sink);
  explicit TarWriter(BlockPipe& out);
  ~TarWriter();
  TarWriter(const TarWriter&) = delete;
  TarWriter& operator=(const TarWriter&) = delete;

  void add(const TarEntry&
               entry);  // then, for a file: exactly its data bytes (of the extents when sparse)
  // Called with every entry and where in the archive its data begin. May be empty.
  using Added = std::function<void(const TarEntry& entry, std::uint64_t dataOffset)>;
  void tellOfEach(Added added) { added_ = std::move(added); }
  void data(std::span<const std::byte> bytes);
  // The same without a copy: room for at least one byte of what the file still wants, then how much
  // was used.
  std::span<std::byte> space();
  void advance(size_t count);
  void finish();  // padding of the last file and the two zero blocks

 private:
  void endFile();
  void header(const TarEntry& entry, std::string_view path, char type, std::uint64_t stored);
  void raw(std::string_view bytes);
  void zeros(std::uint64_t count);

  std::unique_ptr<BlockPipe> own_;
  BlockPipe* out_;
  Added added_;
  std::uint64_t left_ = 0;    // data bytes the current file still wants
  std::uint64_t stored_ = 0;  // what its header says
};

class TarReader {
 public:
  // readAhead: a second thread reads the source (and so decompresses, hashes) while the caller
  // works.
  enum class Mode { direct, readAhead };
  explicit TarReader(Source& source, std::string name, Mode mode = Mode::direct);
  // From the start of a regular file; what is skipped of it is not read.
  TarReader(int file, std::string name);
  TarReader(const TarReader&) = delete;
  TarReader& operator=(const TarReader&) = delete;
  ~TarReader();
  // The next entry, or nullptr at the end of the archive. Skips what was not read of the previous
  // one. Throws Kind::corrupt for anything two readers could understand differently.
  const TarEntry* next();
  // Data of the current file: for sparse files the data of its extents, one after the other.
  size_t read(std::span<std::byte> into);
  // The same without a copy: the next piece, valid until the next call; empty at the end of the
  // file.
  std::span<const std::byte> readPiece();
  // To the end of the file's data. Throws, as reading it would, when the archive ends before.
  void skipData();
  // Where in the archive the next byte of the current file's data lies; at the end, its size.
  [[nodiscard]] std::uint64_t dataOffset() const;
  // Reads what is left of the source, so that a hash over it is complete; refuses trailing garbage
  // (T13).
  void drain();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// T1: drops leading '/', empty and "." components. Throws Kind::corrupt for an empty name, "..",
// NUL, a component over 255 bytes or a path over 65536. The root itself gives "".
std::string cleanTarPath(std::string_view path, std::string_view archive);

}  // namespace img::store
