// What git's index does for a work tree, for a build context: path, device, inode, size, mode,
// mtime, ctime -> digest, so that an unchanged file is not read again. One file per context under
// cache/stat. A "racily clean" file (changed in the tick in which it was read, so that another
// change in that tick would leave its times alone) is not remembered (git's racy-git.txt). Two
// builds of one context overwrite each other's file by rename, which loses nothing but time.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <memory>
#include <mutex>
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

  // What is known of the files of one folder; for one thread, and quickest in the order of names.
  class Folder {
   public:
    Folder() = default;
    // The digests of `name` if nothing about it has changed.
    std::optional<FileDigest> find(std::string_view name, const struct stat& st);

   private:
    friend class StatCache;
    [[nodiscard]] std::string_view nameAt(size_t index) const;
    StatCache* cache_ = nullptr;
    std::string_view records_;  // offsets of the files below, then the files
    size_t count_ = 0, first_ = 0, next_ = 0;
  };
  // `path`: with a trailing '/', empty for the context itself. Several threads may look.
  Folder folder(std::string_view path);

  std::optional<FileDigest> find(std::string_view path, const struct stat& st);
  // `readAt`: when reading began, currentNanoseconds(). Several threads may tell.
  void remember(std::string_view path, const struct stat& st, const FileDigest& digest,
                std::int64_t readAt);
  // Writes the entries that were found or remembered in this build, when anything is new.
  void save();

 private:
  struct Fixed;         // what the file holds of each file
  struct FolderRecord;  // and of each folder
  struct Row;
  struct Added {
    std::string path;
    std::unique_ptr<Fixed> fixed;
  };
  void read(std::string_view text);
  [[nodiscard]] FolderRecord folderAt(size_t index) const;
  [[nodiscard]] std::string_view pathOf(const FolderRecord& folder) const;
  [[nodiscard]] std::vector<Row> rows();
  [[nodiscard]] static std::string encode(const std::vector<Row>& all,
                                          std::vector<FolderRecord>& folders, size_t begin);

  Fd directory_;
  std::string fileName_;
  std::optional<MappedFile> file_;
  std::string_view bytes_;  // of file_, if it is whole
  size_t folders_ = 0;
  std::vector<std::uint8_t> isUsed_;  // by number of the file: bytes, for several threads write
  std::mutex mutex_;
  std::vector<Added> added_;  // guarded by mutex_
};

// For the times of files and the clock they come from, nanoseconds since the epoch.
std::int64_t nanoseconds(const timespec& time);
std::int64_t currentNanoseconds();

}  // namespace img::builder
