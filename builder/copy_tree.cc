#include "builder/copy_tree.h"

#include <dirent.h>

#include <tuple>

#include "base/fs.h"
#include "base/log.h"
#include "base/sys.h"
#include "base/text.h"
#include "builder/content_digest.h"

namespace img::builder {
namespace {

bool endsAsFolder(const std::string& path) {
  return path.ends_with('/') || path.ends_with("/.");
}

std::string parentOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos || slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace

NewFolder CopyOptions::newFolder() const {
  NewFolder folder;
  if (mode && mode->octal()) folder.mode = *mode->octal();
  if (owner) std::tie(folder.uid, folder.gid) = *owner;
  return folder;
}

CopyMeta CopyOptions::metaOf(const struct stat& st) const {
  CopyMeta meta;
  meta.mode = (hasGitPermissions ? gitMode(st.st_mode) : st.st_mode) & 07777;
  if (mode) meta.mode = mode->apply(meta.mode, S_ISDIR(st.st_mode));
  const std::pair<uid_t, gid_t> own{st.st_uid, st.st_gid};
  std::tie(meta.uid, meta.gid) = owner.value_or(isContext ? std::pair<uid_t, gid_t>{0, 0} : own);
  meta.mtime = st.st_mtim;
  return meta;
}

// A destination folder that comes into being when its first entry does (an excluded parent of a
// taken file).
struct TreeCopier::Target {
  Target* parent = nullptr;
  std::string name;
  Fd source;  // for the metadata
  std::shared_ptr<const store::SourceFolder> sourceFolder;
  CopyDestination::FolderRef folder;  // null until needed
};

// Where a folder that is a source can be found again.
TreeCopier::SourceFolderRef TreeCopier::folderOf(const Source& source) {
  const bool isBelowRoot = source.root >= 0;
  return std::make_shared<store::SourceFolder>(store::SourceFolder{
      nullptr, isBelowRoot ? source.root : source.handle, isBelowRoot ? source.contextPath : ""});
}

// And a file: many of them may be matches of one pattern.
CopyFile TreeCopier::fileOf(const Source& source, const struct stat& st) {
  if (source.root < 0) return {source.handle, "", st, folderOf(source), ""};
  const size_t slash = source.contextPath.rfind('/');
  const bool isTop = slash == std::string::npos;
  const std::string parent = isTop ? "" : source.contextPath.substr(0, slash);
  if (!lastFolder_ || lastFolder_->root != source.root || lastFolder_->name != parent) {
    lastFolder_ =
        std::make_shared<store::SourceFolder>(store::SourceFolder{nullptr, source.root, parent});
  }
  return {source.handle, "", st, lastFolder_, source.contextPath.substr(isTop ? 0 : slash + 1)};
}

void TreeCopier::copy(const Source& source, const std::string& destination,
                      const SourceFilter& filter) {
  to_.beginSource();
  const NewFolder missing = options_.newFolder();
  // Step 1: the folder that DEST names, or the one that holds it.
  std::ignore =
      to_.makeFolders(endsAsFolder(destination) ? destination : parentOf(destination), missing);
  struct stat st = sys::fstat(source.handle);
  if (recordsOwners_) store::applyOwner(source.handle, st);
  if (!S_ISDIR(st.st_mode)) {
    const auto place = to_.placeFor(destination, source.name, missing);
    if (claim(*place.folder, place.name))
      to_.add(*place.folder, place.name, fileOf(source, st), options_.metaOf(st));
    return;
  }
  // No layer says when "/" was changed: of a stage it is whatever moment its folders were made.
  const bool isRootOfStage = !options_.isContext && source.contextPath.empty();
  to_.setTime(*fill(source, destination, filter), isRootOfStage ? timespec{} : st.st_mtim);
}

void TreeCopier::copyWithParents(const Source& base, const std::string& destination,
                                 const SourceFilter& filter) {
  to_.beginSource();
  std::ignore = fill(base, destination, filter);
}

// What is in the folder `source`, into the folder that `destination` names.
CopyDestination::FolderRef TreeCopier::fill(const Source& source, const std::string& destination,
                                            const SourceFilter& filter) {
  Target top;
  top.folder = to_.makeFolders(destination, options_.newFolder());
  to_.prepareToFill(*top.folder);
  top.source = sys::openDirectory(source.handle, ".");
  top.sourceFolder = folderOf(source);
  const std::string prefix = source.contextPath.empty() ? "" : source.contextPath + "/";
  copyChildren(top, prefix, "", filter, filter.root(source.contextPath));
  noteFolder(source.contextPath, sys::fstat(top.source.get()), top.source.get());
  return std::move(top.folder);
}

void TreeCopier::writeFile(const std::string& name, std::string_view content,
                           const std::string& destination) {
  const NewFolder missing = options_.newFolder();
  std::ignore =
      to_.makeFolders(endsAsFolder(destination) ? destination : parentOf(destination), missing);
  const auto place = to_.placeFor(destination, name, missing);
  if (!claim(*place.folder, place.name)) return;
  CopyMeta meta;
  std::tie(meta.uid, meta.gid) = options_.owner.value_or(std::pair<uid_t, gid_t>{0, 0});
  meta.mode = options_.mode ? options_.mode->apply(0644, false) : 0644;
  to_.addText(*place.folder, place.name, content, meta);
}

bool TreeCopier::claim(const CopyDestination::Folder& folder, const std::string& name) {
  size_t& count = written_[{to_.idOf(folder), name}];
  if (++count == 1) return true;
  if (crowded_.empty()) {
    crowded_ = to_.shownPath(folder, name);
    crowd_ = &count;
  }
  return false;
}

void TreeCopier::throwIfCrowded() const {
  if (crowded_.empty()) return;
  throw Error::make(Kind::failed, "{} files would be written to {}; end it with \"/\"", *crowd_,
                    crowded_);
}

void TreeCopier::copyChildren(Target& to, const std::string& contextPath, const std::string& path,
                              const SourceFilter& filter, const SourceFilter::State& state) {
  const int from = to.source.get();
  for (const fs::Entry& entry : fs::listSorted(from)) {
    const auto st = look(from, entry);
    if (!st) continue;
    const std::string below = path + entry.name;
    const bool isFolder = S_ISDIR(st->st_mode);
    const SourceFilter::Step step = filter.enter(state, contextPath + entry.name, below, isFolder);
    if (step.verdict == SourceFilter::Verdict::skip) continue;
    if (isFolder) {
      Target folder;
      folder.parent = &to;
      folder.name = entry.name;
      folder.source = sys::openat(from, entry.name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
      folder.sourceFolder = std::make_shared<store::SourceFolder>(
          store::SourceFolder{to.sourceFolder, -1, entry.name});
      if (step.verdict == SourceFilter::Verdict::take) open(folder);
      copyChildren(folder, contextPath + entry.name + "/", below + "/", filter, step.state);
      if (!folder.folder) continue;
      noteFolder(contextPath + entry.name, *st, folder.source.get());
      to_.finishFolder(*folder.folder, options_.metaOf(*st), folder.source.get());
      continue;
    }
    if (options_.isContext && isSpecial(st->st_mode)) {
      log::warn("{} is a {} and is left out of the copy", text::quote(below),
                typeName(st->st_mode));
      continue;
    }
    open(to);
    noteOther(contextPath + entry.name, *st, from, entry.name);
    to_.add(*to.folder, entry.name,
            {from, entry.name, *st, to.sourceFolder, entry.name, isLeftUnseen(entry)},
            options_.metaOf(*st));
  }
}

// A file whose type the folder knows.
bool TreeCopier::isLeftUnseen(const fs::Entry& entry) const {
  return options_.leavesFilesUnseen && !recordsOwners_ && entry.type == DT_REG;
}

// nullopt: it has gone.
std::optional<struct stat> TreeCopier::look(int dir, const fs::Entry& entry) const {
  if (isLeftUnseen(entry)) {
    struct stat st {};
    st.st_mode = S_IFREG;
    return st;
  }
  auto st = sys::tryFstatat(dir, entry.name);
  if (st && recordsOwners_) store::applyOwnerAt(dir, entry.name, *st);
  return st;
}

// Makes the folder and, before it, the parents that were left open: the first entry that is taken
// needs them.
void TreeCopier::open(Target& target) {
  if (target.folder) return;
  open(*target.parent);
  target.folder = to_.openFolder(*target.parent->folder, target.name);
}

void TreeCopier::noteFolder(const std::string& path, const struct stat& st, int folder) const {
  if (options_.others == nullptr) return;
  Hasher ignored;
  const mode_t mode = options_.hasGitPermissions ? gitMode(st.st_mode) : st.st_mode;
  options_.others->add({path, mode, addXattrs(ignored, folder), {}});
}

void TreeCopier::noteOther(const std::string& path, const struct stat& st, int dir,
                           const std::string& name) const {
  if (options_.others == nullptr || S_ISREG(st.st_mode)) return;
  const mode_t mode = options_.hasGitPermissions ? gitMode(st.st_mode) : st.st_mode;
  options_.others->add({path, mode, 0, ContentDigester::linkOf(dir, name.c_str(), st)});
}

}  // namespace img::builder
