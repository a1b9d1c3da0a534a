// Copies one resolved source into a root, mounted or only planned: steps 2 to 6 of the copy
// algorithm (dockerfile.md 3.9) and its metadata rules (3.8). Runs in a worker process.
#pragma once

#include <sys/stat.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "base/fd.h"
#include "base/fs.h"
#include "builder/copy_destination.h"
#include "builder/seen.h"
#include "builder/source_filter.h"
#include "parser/value_checks.h"
#include "store/owners.h"

namespace img::builder {

struct CopyOptions {
  std::optional<std::pair<uid_t, gid_t>> owner;  // --chown
  std::optional<parser::ModeChange> mode;        // --chmod
  bool isContext = true;           // owners become 0:0 unless --chown; special files are left out
  bool hasGitPermissions = false;  // see gitMode()
  OtherDigest* others = nullptr;   // gets what is no file; null: nobody asks
  bool leavesFilesUnseen = false;  // those of folders, for who looks at them when they are read
  [[nodiscard]] NewFolder newFolder() const;
  // What an object gets, by what its source is.
  [[nodiscard]] CopyMeta metaOf(const struct stat& st) const;
};

class TreeCopier {
 public:
  // Both outlive the copier.
  TreeCopier(CopyDestination& to, const CopyOptions& options) : to_(to), options_(options) {}

  struct Source {
    int handle;               // O_PATH descriptor of what the source path resolved to
    std::string name;         // base name, for a destination that is a folder
    std::string contextPath;  // where it lies below the source root, for the ignore rules
    std::string where;        // for messages
    int root = -1;            // the source root; -1: `handle` stays open instead
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
  using SourceFolderRef = std::shared_ptr<const store::SourceFolder>;
  struct Target;  // a folder being filled; made lazily
  static SourceFolderRef folderOf(const Source& source);
  CopyFile fileOf(const Source& source, const struct stat& st);
  CopyDestination::FolderRef fill(const Source& source, const std::string& destination,
                                  const SourceFilter& filter);
  void copyChildren(Target& to, const std::string& contextPath, const std::string& path,
                    const SourceFilter& filter, const SourceFilter::State& state);
  void open(Target& target);
  void noteFolder(const std::string& path, const struct stat& st, int folder) const;
  void noteOther(const std::string& path, const struct stat& st, int dir,
                 const std::string& name) const;
  [[nodiscard]] bool isLeftUnseen(const fs::Entry& entry) const;
  [[nodiscard]] std::optional<struct stat> look(int dir, const fs::Entry& entry) const;
  // False: it is somebody's already.
  bool claim(const CopyDestination::Folder& folder, const std::string& name);

  CopyDestination& to_;
  const CopyOptions& options_;
  const bool recordsOwners_ = store::recordsOwners();
  SourceFolderRef lastFolder_;
  // How many non-folders this instruction would write, by folder and name.
  std::map<std::pair<CopyDestination::FolderId, std::string>, size_t> written_;
  std::string crowded_;            // the first place that several would have
  const size_t* crowd_ = nullptr;  // how many
};

}  // namespace img::builder
