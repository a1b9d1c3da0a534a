// Where a copy writes: a root on disk (folder_destination.h), or the plan of a layer whose files
// are never made (plan_destination.h). TreeCopier knows the rules, which are the same for both; a
// destination knows how an object comes to be.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "builder/root_path.h"
#include "store/planned_layer.h"

namespace img::builder {

// What an object gets.
struct CopyMeta {
  mode_t mode = 0;  // & 07777
  uid_t uid = 0;
  gid_t gid = 0;
  timespec mtime{};
};

// A source that is no folder.
struct CopyFile {
  int dir;           // open, with `name` in it
  std::string name;  // without one, `dir` is an O_PATH descriptor of the object itself
  struct stat st;
  // Where it can be found again when `dir` is closed.
  std::shared_ptr<const store::SourceFolder> source;
  std::string sourceName;
  bool isUnseen = false;  // `st` says no more than that it is a regular file
};

class CopyDestination {
 public:
  CopyDestination() = default;
  CopyDestination(const CopyDestination&) = delete;
  CopyDestination& operator=(const CopyDestination&) = delete;
  virtual ~CopyDestination() = default;

  class Folder {
   public:
    Folder() = default;
    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;
    virtual ~Folder() = default;
  };
  using FolderRef = std::unique_ptr<Folder>;

  // Names of one file are kept together inside a source.
  virtual void beginSource() = 0;
  // mkdir -p.
  virtual FolderRef makeFolders(const std::string& path, const NewFolder& missing) = 0;
  // Where a file goes that is copied to `path`: into the folder that lies there, under `name`, or
  // to that very place.
  struct Place {
    FolderRef folder;
    std::string name;
  };
  virtual Place placeFor(const std::string& path, const std::string& name,
                         const NewFolder& missing) = 0;
  // Many things are about to be put into it.
  virtual void prepareToFill(Folder& /*folder*/) {}
  // The folder `name`, to be filled; made when it is missing.
  virtual FolderRef openFolder(Folder& parent, const std::string& name) = 0;
  // After its children, whose creation changes its time. `source`: for the xattrs.
  virtual void finishFolder(Folder& folder, const CopyMeta& meta, int source) = 0;
  virtual void setTime(Folder& folder, const timespec& time) = 0;
  // Whatever has the name and is no folder goes.
  virtual void add(Folder& folder, const std::string& name, const CopyFile& file,
                   const CopyMeta& meta) = 0;
  // An inline file, whose time is now.
  virtual void addText(Folder& folder, const std::string& name, std::string_view content,
                       const CopyMeta& meta) = 0;

  // Equal for two that are the same folder.
  using FolderId = std::pair<std::uint64_t, std::uint64_t>;
  [[nodiscard]] virtual FolderId idOf(const Folder& folder) const = 0;
  // Where `name` lies for the user.
  [[nodiscard]] virtual std::string shownPath(const Folder& folder,
                                              const std::string& name) const = 0;
};

}  // namespace img::builder
