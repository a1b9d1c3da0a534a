// Copies one resolved source into a mounted rootfs: steps 2 to 6 of the copy algorithm
// (dockerfile.md 3.9) and its metadata rules (3.8). Runs in a worker process; every path is a
// descriptor and a single name.
#pragma once

#include <sys/stat.h>

#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/fd.h"
#include "builder/root_path.h"
#include "builder/source_filter.h"
#include "parser/value_checks.h"
#include "store/owners.h"

namespace img::builder {

struct CopyOptions {
  std::optional<std::pair<uid_t, gid_t>> owner;  // --chown
  std::optional<parser::ModeChange> mode;        // --chmod
  bool isContext = true;           // owners become 0:0 unless --chown; special files are left out
  bool hasGitPermissions = false;  // see gitMode()
  [[nodiscard]] NewFolder newFolder() const;
};

class TreeCopier {
 public:
  // `upper`: the upper folder of the union `root`, or -1. Folders that lie in it alone are then
  // filled there: creating through overlayfs costs about twice as much.
  TreeCopier(int root, const CopyOptions& options, int upper = -1)
      : root_(root), upper_(upper), options_(options) {}

  struct Source {
    int handle;               // O_PATH descriptor of what the source path resolved to
    std::string name;         // base name, for a destination that is a folder
    std::string contextPath;  // where it lies below the source root, for the ignore rules
    std::string where;        // for messages
  };
  // `destination` is absolute; a trailing '/' is significant.
  void copy(const Source& source, const std::string& destination, const SourceFilter& filter);

  // --parents: everything of `base` that `filter` takes, below `destination`, with its parents.
  void copyWithParents(const Source& base, const std::string& destination,
                       const SourceFilter& filter);

  // An inline file (heredoc).
  void writeFile(const std::string& name, std::string_view content, const std::string& destination);

  // To be called when all sources are copied: throws when several of them had the same place (Q18).
  void throwIfCrowded() const;

 private:
  struct Target;  // a folder being filled; made lazily
  void copyChildren(int from, const std::string& contextPath, const std::string& path, Target& to,
                    const SourceFilter& filter, const SourceFilter::State& state);
  void finishFolder(const Target& target, const struct stat& st) const;
  void copyEntry(int from, const std::string& name, const struct stat& st, int toDir,
                 const std::string& toName);
  void copyRegular(int from, const std::string& name, const struct stat& st, int toDir,
                   const std::string& toName);
  void open(Target& target) const;
  off_t copyRange(int in, int out, off_t size, const std::string& name);
  void copySparse(int in, int out, off_t size, const std::string& name);
  void makeRoom(int toDir, const std::string& name) const;
  void setOwnerAndMode(int fd, const struct stat& st) const;
  [[nodiscard]] std::pair<uid_t, gid_t> ownerOf(const struct stat& st) const;
  [[nodiscard]] mode_t modeOf(const struct stat& st) const;
  bool linkIfKnown(const struct stat& st, int toDir, const std::string& toName);
  bool claim(int dir, const std::string& name);  // false: it is somebody's already
  [[nodiscard]] std::string shownPath(int dir, const std::string& name) const;

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
  const CopyOptions& options_;
  const bool recordsOwners_ = store::recordsOwners();
  // Hard links inside one source: (device, inode) -> the first copy.
  std::map<std::pair<dev_t, ino_t>, FirstCopy> links_;
  // How many non-folders this instruction would write (device, inode of the folder, name).
  std::map<std::tuple<dev_t, ino_t, std::string>, size_t> written_;
  std::string crowded_;            // the first place that several would have
  const size_t* crowd_ = nullptr;  // how many
  std::vector<std::byte> buffer_;
};

}  // namespace img::builder
