// What mounts do for a container, on a tree that is no mount: a place of it is taken by something
// else as long as a step runs, and is as it was afterwards.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/fd.h"

namespace img::builder {

class TreeCovers {
 public:
  // `aside`: an empty folder on the file system of `root`.
  TreeCovers(int root, Fd aside) : root_(root), aside_(std::move(aside)) {}

  // Where the step finds what is put there.
  struct Spot {
    int folder;
    std::string name;
  };
  // Nothing is at the spot. Links of the image are followed inside it. Throws for "/".
  Spot cover(const std::string& path);
  // A new empty folder; descriptors of it are good until restore().
  int coverWithFolder(const std::string& path, mode_t mode);
  void coverWithFile(const std::string& path, std::string_view content, mode_t mode);
  [[nodiscard]] Spot last() const;

  // Last cover first. Whatever the step made of them goes; a folder that it has removed takes what
  // was below it along. Folders that were made on the way go when they are empty.
  void restore();

 private:
  // A name in a folder, which may move meanwhile.
  struct Name {
    Fd folder;
    std::string name;
  };
  struct Cover {
    Name place;
    bool hasOriginal = false;
    Fd folder;  // coverWithFolder()
    // Folders on the way that were missing, outermost first.
    std::vector<Name> made;
  };
  Fd enter(const Fd& folder, const std::string& name, std::vector<Name>& made) const;

  int root_;
  Fd aside_;
  std::vector<Cover> covers_;
};

}  // namespace img::builder
