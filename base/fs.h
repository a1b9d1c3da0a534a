// Files and folders by directory descriptor: walks, removal, atomic replacement, temporary things.
// Nothing here follows a symbolic link in the last component unless its name says so.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"

namespace img::fs {

struct Entry {
  std::string name;
  unsigned char type;  // DT_REG, DT_DIR, ... or DT_UNKNOWN
};

// All entries but "." and "..", in directory order or sorted bytewise. getdents64(2) with a large
// buffer.
std::vector<Entry> list(int dir);
std::vector<Entry> listSorted(int dir);

// mkdir -p below `dir`, mode 0755 by default; returns the last folder opened. For trusted paths
// only.
Fd makeDirs(int dir, const std::string& path, mode_t mode = 0755);

// rm -rf NAME, by descriptors, never across a mount point, never following a link. Missing: no
// error.
void removeTree(int dir, const std::string& name);

// Whole small files. `limit` guards against surprises; ENOENT gives nullopt.
std::string readFile(int dir, const std::string& path, size_t limit = size_t{64} << 20);
std::optional<std::string> tryReadFile(int dir, const std::string& path,
                                       size_t limit = size_t{64} << 20);

enum class Sync { none, data, full };  // none; fdatasync of the file; that and fsync of the folder
// Write to a temporary name in the same folder, then rename over `path`.
void replaceFile(int dir, const std::string& path, std::string_view content, mode_t mode,
                 Sync sync);

// `count` random lower-case hex digits (getrandom(2)).
std::string randomHex(size_t count);

// A folder under `parent` (a path) that removes itself. For tests and scratch space.
class [[nodiscard]] TempDir {
 public:
  explicit TempDir(const std::string& parent = "/tmp");
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  TempDir(TempDir&& other) noexcept;
  TempDir& operator=(TempDir&&) = delete;
  ~TempDir();
  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] int fd() const { return fd_.get(); }

 private:
  std::string path_;
  Fd fd_;
};

}  // namespace img::fs
