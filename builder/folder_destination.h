// A copy into a root on disk: a mounted union, or a folder alone. Every path is a descriptor and a
// single name.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/fd.h"
#include "builder/copy_destination.h"
#include "store/owners.h"

namespace img::builder {

class FolderDestination final : public CopyDestination {
 public:
  // `upper`: the upper folder of the union `root`, or -1. Folders that lie in it alone are then
  // filled there: creating through overlayfs costs about twice as much.
  explicit FolderDestination(int root, int upper = -1) : root_(root), upper_(upper) {}

  void beginSource() override { links_.clear(); }
  FolderRef makeFolders(const std::string& path, const NewFolder& missing) override;
  Place placeFor(const std::string& path, const std::string& name,
                 const NewFolder& missing) override;
  void prepareToFill(Folder& folder) override;
  FolderRef openFolder(Folder& parent, const std::string& name) override;
  void finishFolder(Folder& folder, const CopyMeta& meta, int source) override;
  void setTime(Folder& folder, const timespec& time) override;
  void add(Folder& folder, const std::string& name, const CopyFile& file,
           const CopyMeta& meta) override;
  void addText(Folder& folder, const std::string& name, std::string_view content,
               const CopyMeta& meta) override;
  [[nodiscard]] FolderId idOf(const Folder& folder) const override;
  [[nodiscard]] std::string shownPath(const Folder& folder, const std::string& name) const override;

 private:
  struct Opened;
  static int fdOf(const Folder& folder);
  [[nodiscard]] std::string pathOf(int dir, const std::string& name) const;
  void addRegular(int toDir, const std::string& toName, const CopyFile& file, const CopyMeta& meta);
  off_t copyRange(int in, int out, off_t size, const std::string& name);
  void copySparse(int in, int out, off_t size, const std::string& name);
  void makeRoom(int toDir, const std::string& name) const;
  void setOwnerAndMode(int fd, const CopyMeta& meta) const;
  bool linkIfKnown(const struct stat& st, int toDir, const std::string& toName);

  // Where the first copy of a file with several names lies: below the upper, when it was made
  // there, else below the root. A path and no descriptor: there may be more of them than a process
  // may open files.
  struct FirstCopy {
    bool isInUpper;
    std::string path;
  };
  [[nodiscard]] FirstCopy firstCopy(int file, int folder) const;
  [[nodiscard]] bool isInUpper(int fd) const;
  [[nodiscard]] std::optional<Fd> openInUpper(int fd, int flags) const;
  void linkInUpper(int file, int toDir, const std::string& toName) const;
  void goDirect(Fd& folder) const;

  int root_;
  int upper_;
  const bool recordsOwners_ = store::recordsOwners();
  // Hard links inside one source: (device, inode) -> the first copy.
  std::map<std::pair<dev_t, ino_t>, FirstCopy> links_;
  std::vector<std::byte> buffer_;
};

}  // namespace img::builder
