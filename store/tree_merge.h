// A file or a whole tree copied over what is already there, as `docker cp` does it: folders merge,
// everything else is replaced by a new file under the old name, and nothing is ever written through
// a link. Both sides may be changed by hostile processes meanwhile: everything below the two places
// it is given goes by descriptors and single names (security.md R1), special files are never
// opened, and what vanishes while it is looked at is left out.
#pragma once

#include <sys/stat.h>

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/fd.h"

namespace img::store {

struct MergeOptions {
  // Of everything that is copied; nullopt: the one of the source.
  std::optional<std::pair<uid_t, gid_t>> owner;
  // Device nodes are left out, and set-user-id bits lost where the owner is not kept: what a
  // container has made must not get rights on the host by being copied.
  bool isUntrusted = false;
  // A folder may take the place of something else, and the other way round.
  bool overwrite = false;
};

class TreeMerger {
 public:
  // `destination` is where paths of hard links begin: nothing outside of it is linked to.
  TreeMerger(int destination, MergeOptions options)
      : top_(destination), options_(std::move(options)) {}

  // `source` is an O_PATH descriptor of what becomes `name` in the destination folder.
  void copy(int source, const std::string& name);
  // The content of the folder `source` into the destination folder, whose metadata stay.
  void copyContent(int source);
  // What was left out: "a/b: a device".
  [[nodiscard]] const std::vector<std::string>& skipped() const { return skipped_; }

 private:
  void object(int handle, int to, const std::string& name, const std::string& path);
  void children(int from, int to, const std::string& path);
  void folder(int handle, const struct stat& st, int to, const std::string& name,
              const std::string& path);
  void file(int handle, const struct stat& st, int to, const std::string& name,
            const std::string& path);
  void special(int handle, const struct stat& st, int to, const std::string& name,
               const std::string& path);
  void makeRoom(int to, const std::string& name, bool forFolder, const std::string& path);
  Fd createFile(int to, const std::string& name, const std::string& path);
  bool linkToEarlier(const struct stat& st, int to, const std::string& name,
                     const std::string& path);
  void setMeta(int source, int target, const struct stat& st) const;
  [[nodiscard]] mode_t modeOf(const struct stat& st) const;

  struct FirstCopy {
    std::string path;  // below the destination
    dev_t device;
    ino_t inode;
  };
  int top_;
  MergeOptions options_;
  std::map<std::pair<dev_t, ino_t>, FirstCopy> links_;
  std::vector<std::string> skipped_;
};

// True for folders of the kernel's own file systems (/proc, /sys, cgroups, pseudo terminals): what
// they hold is no content, and a copy of it would not end or mean anything.
bool isKernelFolder(int folder);

}  // namespace img::store
