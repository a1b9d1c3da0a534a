// Where a copy comes from and where it goes, by docker's rules for `cp` (cli.md 11): which links
// are followed, when a name is taken over, when a folder is filled. The same rules for the host's
// tree and for the root of a container; there every step is resolved inside the root (openat2(2)),
// so that a link swapped meanwhile leads to another place of the container and never out of it.
#pragma once

#include <sys/stat.h>

#include <optional>
#include <string>
#include <string_view>

#include "base/fd.h"

namespace img::cli {

// The tree that paths are looked up in: the host's as the caller sees it, or a container's root.
class CopyTree {
 public:
  static CopyTree ofHost() { return CopyTree{-1}; }
  static CopyTree ofContainer(int root) { return CopyTree{root}; }

  [[nodiscard]] Fd open(const std::string& path, int flags) const;
  [[nodiscard]] std::optional<Fd> tryOpen(const std::string& path, int flags) const;
  [[nodiscard]] bool isContainer() const { return root_ >= 0; }

 private:
  explicit CopyTree(int root) : root_(root) {}
  int root_;
};

struct CopySource {
  Fd handle;  // O_PATH, of the object itself
  struct stat st {};
  std::string name;        // what a copy in a folder is called
  bool isContent = false;  // PATH/. : what the folder holds
};
// Links before the last component are followed; a link at the end only with `followLink`, or when
// the path says that it means a folder ("link/").
CopySource findSource(const CopyTree& tree, const std::string& path, bool followLink);

struct CopyTarget {
  Fd folder;              // O_PATH
  std::string name;       // of the copy in it
  bool isFilled = false;  // the content of the source goes into `folder` itself
};
// Throws when a folder would have to become a file or the other way round.
CopyTarget findTarget(const CopyTree& tree, const std::string& path, const CopySource& source);
// The folder that an archive is unpacked into. Throws when it is none.
Fd findFolder(const CopyTree& tree, const std::string& path);

// "NAME:PATH" is a place in a container unless it begins with "." or "/". The container is empty
// for a path of the host.
struct CopyArgument {
  std::string container, path;
};
CopyArgument parseCopyArgument(std::string_view argument);

}  // namespace img::cli
