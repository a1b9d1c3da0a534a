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
#include <string>
#include <string_view>
#include <vector>

#include "base/digest.h"
#include "base/fd.h"
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

  // The digests of `path` if nothing about it has changed.
  const FileDigest* find(std::string_view path, const struct stat& st);
  // `readAt`: when reading began, currentNanoseconds().
  void remember(std::string_view path, const struct stat& st, const FileDigest& digest,
                std::int64_t readAt);
  // Writes the entries that were found or remembered in this build, when anything is new.
  void save();

 private:
  struct Entry {
    std::string_view path;  // into text_ or owned_
    std::uint64_t device = 0, inode = 0, size = 0, mode = 0;
    std::int64_t mtime = 0, ctime = 0;  // nanoseconds
    FileDigest digest;
    bool isUsed = false;
  };
  void read(std::string_view text);
  Entry* lookUp(std::string_view path);

  Fd folder_;
  std::string fileName_;
  std::string text_;            // the file as read
  std::vector<Entry> entries_;  // sorted by path
  size_t next_ = 0;             // where a walk in the same order finds its next path
  std::vector<Entry> added_;
  std::vector<std::unique_ptr<std::string>> owned_;
};

// For the times of files and the clock they come from, nanoseconds since the epoch.
std::int64_t nanoseconds(const timespec& time);
std::int64_t currentNanoseconds();

}  // namespace img::builder
