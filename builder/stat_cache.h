// What git's index does for a work tree, for a build context: path, device, inode, size, mode,
// mtime, ctime -> digest, so that an unchanged file is not read again. One file per context under
// cache/stat. A "racily clean" file (changed in the tick in which it was read, so that another
// change in that tick would leave its times alone) is not remembered (git's racy-git.txt). Two
// builds of one context overwrite each other's file by rename, which loses nothing but time.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "builder/stat_table.h"
#include "store/layout.h"

namespace img::builder {

class StatCache {
 public:
  // `contextPath` identifies the file. A missing or damaged one is an empty cache.
  StatCache(const store::Layout& layout, const std::string& contextPath);
  // Of any file: what a worker that read the context tells its parent with.
  StatCache(Fd directory, std::string fileName);
  StatCache(const StatCache&) = delete;
  StatCache& operator=(const StatCache&) = delete;

  // What is known of the files of one folder; for one thread, and quickest in the order of names.
  class Folder {
   public:
    Folder() = default;
    // The digests of `name` if nothing about it has changed.
    std::optional<FileDigest> find(std::string_view name, const struct stat& st);

   private:
    friend class StatCache;
    std::vector<StatTable::Folder> tables_;  // newest first
  };
  // `path`: with a trailing '/', empty for the context itself. Several threads may look.
  Folder folder(std::string_view path);

  std::optional<FileDigest> find(std::string_view path, const struct stat& st);
  // `readAt`: when reading began, currentNanoseconds(). Several threads may tell.
  void remember(std::string_view path, const struct stat& st, const FileDigest& digest,
                std::int64_t readAt);
  // The same of a file whose digests come later: where they have to be before save(), by
  // StatTable::setDigest(). Null: they are not to be remembered.
  StatTable::Fixed* expect(std::string_view path, const struct stat& st, std::int64_t readAt);
  // Takes over what another one saved, which goes before what is known already. It can tell later
  // whether all of it was found.
  const StatTable& absorb(int directory, const std::string& fileName);
  // Whether it knows any file in the folder or below it, changed or not. `path`: as for folder().
  [[nodiscard]] bool knowsBelow(std::string_view path) const;
  // Writes the entries that were found or remembered in this build, when anything is new.
  void save();

 private:
  struct Added {
    const std::string* folder;   // of folders_
    std::uint32_t name, length;  // in names_
    StatTable::Fixed fixed;
  };
  StatTable::Fixed* add(std::string_view path, const struct stat& st, std::int64_t readAt);
  [[nodiscard]] std::vector<StatTable::Row> rows() const;
  [[nodiscard]] const StatTable* wholeTable() const;

  Fd directory_;
  std::string fileName_;
  std::vector<std::unique_ptr<StatTable>> tables_;  // of our file first, then what was absorbed
  std::mutex mutex_;
  // Guarded by mutex_. Elements of a deque stay where they are when others are appended.
  std::deque<Added> added_;
  std::set<std::string, std::less<>> folders_;
  std::string names_;
};

}  // namespace img::builder
