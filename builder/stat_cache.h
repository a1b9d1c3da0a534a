// What git's index does for a work tree, for a build context: path, device, inode, size, mode,
// mtime, ctime -> digest, so that an unchanged file is not read again. One file per context under
// cache/stat. A "racily clean" file (changed in the tick in which it was read, so that another
// change in that tick would leave its times alone) is not remembered (git's racy-git.txt). One user
// at a time; two builds of one context overwrite each other's file by rename, which loses nothing
// but time.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/digest.h"
#include "base/fd.h"
#include "base/mapped_file.h"
#include "store/layout.h"

namespace img::builder {

// What is known of a file's bytes: `whole` is what counts for keys (dockerfile.md 6.3); the other
// two tell content and xattrs apart when a miss is explained.
struct FileDigest {
  Digest whole, content;
  std::uint64_t xattrs = 0;  // of their digest; 0: there are none
  bool operator==(const FileDigest&) const = default;
};

class StatCache {
 public:
  // `contextPath` identifies the file. A missing or damaged one is an empty cache.
  StatCache(const store::Layout& layout, const std::string& contextPath);
  StatCache(const StatCache&) = delete;
  StatCache& operator=(const StatCache&) = delete;
  ~StatCache();

  // How many files it knows.
  [[nodiscard]] size_t size() const { return entries_.size(); }
  // The digests of `path` if nothing about it has changed.
  std::optional<FileDigest> find(std::string_view path, const struct stat& st);
  // `readAt`: when reading began, currentNanoseconds().
  void remember(std::string_view path, const struct stat& st, const FileDigest& digest,
                std::int64_t readAt);
  // Writes the entries that were found or remembered in this build, when anything is new.
  void save();

 private:
  struct Fixed;  // what the file holds of each path
  struct Entry {
    std::string_view path;        // into file_
    const char* fixed = nullptr;  // a Fixed, not aligned, into file_
    bool isUsed = false;
  };
  struct Added {
    std::string path;
    std::unique_ptr<Fixed> fixed;
  };
  void read(std::string_view text);
  Entry* lookUp(std::string_view path);

  Fd folder_;
  std::string fileName_;
  std::optional<MappedFile> file_;
  std::vector<Entry> entries_;  // sorted by path
  size_t next_ = 0;             // where a walk in the same order finds its next path
  std::vector<Added> added_;
};

// For the times of files and the clock they come from, nanoseconds since the epoch.
std::int64_t nanoseconds(const timespec& time);
std::int64_t currentNanoseconds();

}  // namespace img::builder
