// One file of a stat cache, mapped: the digests of the files of a context, folder by folder in the
// order of their paths.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/digest.h"
#include "base/mapped_file.h"

namespace img::builder {

// What is known of a file's bytes: `whole` is what counts for keys (dockerfile.md 6.3); the other
// two tell content and xattrs apart when a miss is explained.
struct FileDigest {
  Digest whole, content;
  std::uint64_t xattrs = 0;  // of their digest; 0: there are none
  bool operator==(const FileDigest&) const = default;
};

class StatTable {
 public:
  // What the file holds of each file. Its name follows.
  struct Fixed {
    std::uint64_t device, inode, size;
    std::int64_t mtime, ctime;  // nanoseconds
    std::uint64_t xattrs;
    std::uint32_t mode;
    std::uint8_t whole[32], content[32];
  };
  static Fixed fixedOf(const struct stat& st);  // without digests
  static void setDigest(Fixed& fixed, const FileDigest& digest);
  struct Row {
    std::string_view folder, name;
    const char* fixed;  // a Fixed, not aligned
  };
  // Into an empty file, `files` in the order of folders and names.
  static void write(int file, const std::vector<Row>& files);

  // A missing or damaged file is an empty table.
  StatTable(int directory, const std::string& fileName);
  StatTable(const StatTable&) = delete;
  StatTable& operator=(const StatTable&) = delete;

  // What is known of the files of one folder; for one thread, and quickest in the order of names.
  class Folder {
   public:
    // The digests of `name` if nothing about it has changed.
    std::optional<FileDigest> find(std::string_view name, const struct stat& st);

   private:
    friend class StatTable;
    [[nodiscard]] std::string_view nameAt(size_t index) const;
    StatTable* table_ = nullptr;
    std::string_view records_;  // offsets of the files below, then the files
    size_t count_ = 0, first_ = 0, next_ = 0;
  };
  // `path`: with a trailing '/', empty for the context itself. nullopt: no file of it is known.
  std::optional<Folder> folder(std::string_view path);
  [[nodiscard]] bool knowsBelow(std::string_view path) const;

  [[nodiscard]] size_t size() const { return isUsed_.size(); }  // files
  // Whether each file was found.
  [[nodiscard]] bool isAllUsed() const;
  // Writes all of it as it is, to a file; afterwards no page of it is in our memory.
  void copyTo(int file) const;
  // Its pages leave our memory until they are looked at again.
  void leaveMemory() const;
  void forEachUsed(const std::function<void(const Row&)>& use);

 private:
  struct FolderRecord;  // what the file holds of each folder
  static std::vector<FolderRecord> foldersOf(const std::vector<Row>& files);
  void read(std::string_view text);
  [[nodiscard]] FolderRecord folderAt(size_t index) const;
  [[nodiscard]] std::string_view pathOf(const FolderRecord& folder) const;
  [[nodiscard]] size_t firstFrom(std::string_view path) const;

  std::optional<MappedFile> file_;
  std::string_view bytes_;  // of file_, if it is whole
  size_t folders_ = 0;
  std::vector<std::uint8_t> isUsed_;  // by number of the file: bytes, for several threads write
};

// For the times of files and the clock they come from, nanoseconds since the epoch.
std::int64_t nanoseconds(const timespec& time);
std::int64_t currentNanoseconds();

}  // namespace img::builder
