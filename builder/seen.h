// What of the sources of a step counted, folder by folder as a walk met it: to see after a copy
// that nobody has written in between, and to explain a later miss. Compact, for a context may have
// a million files.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/digest.h"

namespace img::builder {

// A regular file as it was when it counted; another one means that it was written since.
struct SeenFile {
  std::string path;
  mode_t mode = 0;
  std::int64_t size = 0;
  Digest content;            // not with Reads::nothing
  std::uint64_t xattrs = 0;  // as in FileDigest
};

// A folder, a link or a special file that counted.
struct SeenOther {
  std::string path;
  mode_t mode = 0;
  std::uint64_t xattrs = 0;  // of a folder, as in FileDigest
  std::string link;          // a link's target; "major:minor" of a device
};

// One folder. Its entries lie in the order of their names.
struct SeenFolder {
  enum class Kind : std::uint8_t { none, file, other, folder };
  struct Entry {
    std::uint32_t name = 0;  // where it begins in `names`
    mode_t mode = 0;
    Kind kind = Kind::none;
    // Of a file; `inode` of a folder: its place in `folders`. Times in nanoseconds.
    std::uint64_t inode = 0;
    std::int64_t size = 0, mtime = 0, ctime = 0;
    std::uint64_t xattrs = 0;
    Digest content;
  };
  std::string path;   // with a trailing '/' unless empty
  std::string names;  // each ends with a NUL
  std::vector<Entry> entries;
  std::vector<std::unique_ptr<SeenFolder>> folders;  // null: nothing of it counts
  std::map<size_t, std::string> links;               // by entry: SeenOther::link
  // Of the folder itself, which is not in the list of `path`'s parent.
  bool isListed = false;
  mode_t mode = 0;
  std::uint64_t xattrs = 0;

  [[nodiscard]] const char* nameOf(const Entry& entry) const { return names.c_str() + entry.name; }
};

class Seen {
 public:
  void add(std::unique_ptr<SeenFolder> source) { sources_.push_back(std::move(source)); }
  // In the order of the walk: by name, what lies in a folder before the folder itself.
  void forEachFile(const std::function<void(const SeenFile&)>& use) const;
  void forEachOther(const std::function<void(const SeenOther&)>& use) const;
  [[nodiscard]] size_t size() const;
  [[nodiscard]] size_t countFiles() const;
  // The path of the first file, else of the first other thing, that is not now what it was here.
  // The digest of a file need not have been read again for that.
  [[nodiscard]] std::optional<std::string> firstChange(const Seen& now) const;

 private:
  std::vector<std::unique_ptr<SeenFolder>> sources_;
};

// Of what was met besides files, in the order of Seen::forEachOther.
class OtherDigest {
 public:
  void add(const SeenOther& other);
  Digest finish() { return hasher_.finish(); }

 private:
  Hasher hasher_;
};

}  // namespace img::builder
