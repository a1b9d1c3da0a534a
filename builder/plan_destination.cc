#include "builder/plan_destination.h"

#include <utility>

#include "base/sys.h"
#include "base/text.h"
#include "builder/content_digest.h"
#include "builder/path_walker.h"
#include "store/planned_seal.h"
#include "store/whiteout.h"

namespace img::builder {
namespace {

using store::PlannedNode;

std::string pathBelow(const PlannedNode& folder, const std::string& name) {
  const std::string path = store::PlannedLayer::pathOf(folder);
  return (path == "/" ? "" : path) + "/" + name;
}

class PlanTree {
 public:
  using Folder = PlannedNode*;
  explicit PlanTree(store::PlannedLayer& layer) : layer_(layer) {}

  [[nodiscard]] PlannedNode* root() const { return &layer_.root(); }
  static PlannedNode* again(PlannedNode* folder) { return folder; }
  [[nodiscard]] std::optional<struct stat> find(PlannedNode* folder,
                                                const std::string& name) const {
    return layer_.find(*folder, name);
  }
  [[nodiscard]] std::string readLink(PlannedNode* folder, const std::string& name) const {
    return layer_.readLink(*folder, name);
  }
  [[nodiscard]] PlannedNode* enter(PlannedNode* folder, const std::string& name) const {
    return &layer_.enter(*folder, name);
  }
  [[nodiscard]] PlannedNode* make(PlannedNode* folder, const std::string& name,
                                  const NewFolder& missing) const {
    PlannedNode like;
    like.mode = missing.mode;
    like.uid = missing.uid;
    like.gid = missing.gid;
    PlannedNode& made = layer_.make(*folder, name, like);
    if (missing.mtime) made.mtime = *missing.mtime;
    return &made;
  }
  static std::string pathOf(PlannedNode* folder, const std::string& name) {
    return pathBelow(*folder, name);
  }

 private:
  store::PlannedLayer& layer_;
};

void setMeta(PlannedNode& node, const CopyMeta& meta) {
  node.mode = (node.mode & S_IFMT) | meta.mode;
  node.uid = meta.uid;
  node.gid = meta.gid;
  node.mtime = meta.mtime;
}

}  // namespace

struct PlanDestination::Planned final : Folder {
  explicit Planned(PlannedNode* planned) : node(planned) {}
  PlannedNode* node;
};

PlannedNode& PlanDestination::nodeOf(const Folder& folder) {
  return *static_cast<const Planned&>(folder).node;
}

CopyDestination::FolderRef PlanDestination::makeFolders(const std::string& path,
                                                        const NewFolder& missing) {
  PlanTree tree{layer_};
  return std::make_unique<Planned>(makeFoldersIn(tree, path, missing));
}

CopyDestination::Place PlanDestination::placeFor(const std::string& path, const std::string& name,
                                                 const NewFolder& missing) {
  PlanTree tree{layer_};
  auto place = PathWalker<PlanTree>{tree, path, missing}.toLast();
  const bool isFolder = place.st && S_ISDIR(place.st->st_mode);
  if (!isFolder) return {std::make_unique<Planned>(place.parent), std::move(place.name)};
  PlannedNode* folder = place.name == "." ? place.parent : &layer_.enter(*place.parent, place.name);
  return {std::make_unique<Planned>(folder), name};
}

CopyDestination::FolderRef PlanDestination::openFolder(Folder& parent, const std::string& name) {
  PlannedNode& folder = nodeOf(parent);
  const auto old = layer_.find(folder, name);
  if (!old) {
    PlannedNode like;
    like.mode = 0700;
    return std::make_unique<Planned>(&layer_.make(folder, name, like));
  }
  if (!S_ISDIR(old->st_mode)) {
    throw Error::make(Kind::failed, "{} exists and is not a directory (it is a {})",
                      shownPath(parent, name), typeName(old->st_mode));
  }
  return std::make_unique<Planned>(&layer_.enter(folder, name));
}

void PlanDestination::finishFolder(Folder& folder, const CopyMeta& meta, int source) {
  PlannedNode& node = nodeOf(folder);
  layer_.change(node);
  setMeta(node, meta);
  for (auto& [name, value] : store::takenXattrs(source, isCopiedXattr))
    node.folder->xattrs.insert_or_assign(name, value);
}

void PlanDestination::setTime(Folder& folder, const timespec& time) {
  PlannedNode& node = nodeOf(folder);
  layer_.change(node);
  node.mtime = time;
}

void PlanDestination::makeRoom(const Folder& folder, const std::string& name) {
  const auto old = layer_.find(nodeOf(folder), name);
  if (old && S_ISDIR(old->st_mode))
    throw Error::make(Kind::failed, "{} exists and is a directory", shownPath(folder, name));
}

void PlanDestination::add(Folder& folder, const std::string& name, const CopyFile& file,
                          const CopyMeta& meta) {
  makeRoom(folder, name);
  const struct stat& st = file.st;
  const bool isShared = S_ISREG(st.st_mode) && st.st_nlink > 1;
  if (isShared) {
    const auto known = links_.find({st.st_dev, st.st_ino});
    if (known != links_.end()) return layer_.put(nodeOf(folder), name, known->second);
  }
  // As a mark of overlayfs it would delete.
  if (store::isWhiteoutDevice(st)) throw store::CannotPlan{name + " is a device 0:0"};
  auto node = std::make_shared<PlannedNode>();
  // A socket without its owner means nothing (3.8).
  node->mode = S_ISSOCK(st.st_mode) ? S_IFREG : st.st_mode & S_IFMT;
  setMeta(*node, meta);
  node->device = st.st_rdev;
  if (S_ISREG(st.st_mode)) {
    node->source = file.source;
    node->text = file.sourceName;
    node->device = st.st_dev;
    node->sourceInode = st.st_ino;
    node->size = st.st_size;
    if (file.isUnseen) node->unseenGroup = sources_;
  } else if (S_ISLNK(st.st_mode)) {
    node->mode = S_IFLNK | 0777;
    node->text = sys::readlinkat(file.dir, file.name);
  }
  if (isShared) links_.emplace(std::pair{st.st_dev, st.st_ino}, node);
  layer_.put(nodeOf(folder), name, std::move(node));
}

void PlanDestination::addText(Folder& folder, const std::string& name, std::string_view content,
                              const CopyMeta& meta) {
  makeRoom(folder, name);
  auto node = std::make_shared<PlannedNode>();
  node->mode = S_IFREG;
  setMeta(*node, meta);
  node->mtime = layer_.now();
  node->text = content;
  node->size = static_cast<std::int64_t>(content.size());
  layer_.put(nodeOf(folder), name, std::move(node));
}

CopyDestination::FolderId PlanDestination::idOf(const Folder& folder) const {
  return {0, nodeOf(folder).folder->number};
}

std::string PlanDestination::shownPath(const Folder& folder, const std::string& name) const {
  return text::escape(pathBelow(nodeOf(folder), name), 500);
}

}  // namespace img::builder
