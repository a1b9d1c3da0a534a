#include "store/planned_layer.h"

#include <fcntl.h>

#include <algorithm>
#include <ctime>

#include "base/error.h"
#include "base/sys.h"
#include "base/text.h"

namespace img::store {
namespace {

std::shared_ptr<PlannedNode> makeFolderNode(PlannedFolder::State state) {
  auto node = std::make_shared<PlannedNode>();
  node->mode = S_IFDIR | 0755;
  node->folder = std::make_unique<PlannedFolder>();
  node->folder->state = state;
  return node;
}

}  // namespace

struct stat PlannedNode::stat() const {
  struct stat st {};
  st.st_mode = mode;
  st.st_uid = uid;
  st.st_gid = gid;
  st.st_mtim = mtime;
  if (!S_ISREG(mode)) st.st_rdev = device;
  st.st_size = size;
  st.st_nlink = names;
  return st;
}

PlannedLayer::PlannedLayer(std::vector<int> lowers)
    : lowers_(std::move(lowers)), root_(makeFolderNode(PlannedFolder::State::below)) {
  ::clock_gettime(CLOCK_REALTIME, &now_);
}

// Not by the members' own destructors: they would go as deep into the stack as the tree is.
PlannedLayer::~PlannedLayer() {
  std::vector<std::shared_ptr<PlannedNode>> left{std::move(root_)};
  while (!left.empty()) {
    const std::shared_ptr<PlannedNode> node = std::move(left.back());
    left.pop_back();
    if (!node->folder) continue;
    for (auto& [name, child] : node->folder->children) {
      if (child->folder) left.push_back(std::move(child));
    }
  }
}

std::string PlannedLayer::pathOf(const PlannedNode& folder) {
  std::string path;
  for (const PlannedNode* node = &folder; node->folder->parent != nullptr;
       node = node->folder->parent) {
    path.insert(0, std::string{node->folder->name});
    path.insert(0, "/");
  }
  return path.empty() ? "/" : path;
}

const LowerFolder& PlannedLayer::below(const PlannedNode& folder) {
  static const LowerFolder nothing;
  if (lowers_.empty() || folder.folder->state == PlannedFolder::State::made) return nothing;
  if (!opened_.empty() && opened_.back().first == &folder) return opened_.back().second;
  std::vector<const PlannedNode*> way;
  for (const PlannedNode* node = &folder; node != nullptr; node = node->folder->parent)
    way.push_back(node);
  std::reverse(way.begin(), way.end());
  const auto known =
      std::mismatch(way.begin(), way.end(), opened_.begin(), opened_.end(),
                    [](const auto* node, const auto& open) { return node == open.first; });
  opened_.erase(known.second, opened_.end());
  for (size_t i = opened_.size(); i < way.size(); ++i) {
    LowerFolder next = i == 0 ? LowerFolder::root(lowers_)
                              : opened_.back().second.descend(std::string{way[i]->folder->name});
    opened_.emplace_back(way[i], std::move(next));
  }
  return opened_.back().second;
}

std::optional<struct stat> PlannedLayer::find(PlannedNode& folder, const std::string& name) {
  const auto& children = folder.folder->children;
  const auto planned = children.find(name);
  if (planned != children.end()) return planned->second->stat();
  const auto found = below(folder).find(name);
  return found ? std::optional{found->st} : std::nullopt;
}

std::string PlannedLayer::readLink(PlannedNode& folder, const std::string& name) {
  const auto& children = folder.folder->children;
  const auto planned = children.find(name);
  if (planned != children.end()) return planned->second->text;
  const auto found = below(folder).find(name);
  if (!found) throw Error::make(Kind::internal, "{} is not in the plan", text::quote(name));
  return sys::readlinkat(found->dir, name);
}

PlannedNode& PlannedLayer::add(PlannedNode& folder, const std::string& name,
                               std::shared_ptr<PlannedNode> node) {
  const auto [place, isNew] = folder.folder->children.insert_or_assign(name, std::move(node));
  PlannedNode& added = *place->second;
  if (added.folder) {
    added.folder->parent = &folder;
    added.folder->name = place->first;
    added.folder->number = ++folders_;
  }
  return added;
}

PlannedNode& PlannedLayer::enter(PlannedNode& folder, const std::string& name) {
  const auto& children = folder.folder->children;
  const auto planned = children.find(name);
  if (planned != children.end()) return *planned->second;
  const auto found = below(folder).find(name);
  if (!found) throw Error::make(Kind::internal, "{} is not in the plan", text::quote(name));
  auto node = makeFolderNode(PlannedFolder::State::below);
  node->mode = found->st.st_mode;
  node->uid = found->st.st_uid;
  node->gid = found->st.st_gid;
  node->mtime = found->st.st_mtim;
  return add(folder, name, std::move(node));
}

PlannedNode& PlannedLayer::make(PlannedNode& folder, const std::string& name,
                                const PlannedNode& like) {
  touch(folder);
  auto node = makeFolderNode(PlannedFolder::State::made);
  node->mode = S_IFDIR | (like.mode & 07777);
  node->uid = like.uid;
  node->gid = like.gid;
  node->mtime = now_;
  return add(folder, name, std::move(node));
}

void PlannedLayer::put(PlannedNode& folder, const std::string& name,
                       std::shared_ptr<PlannedNode> node) {
  touch(folder);
  const auto old = folder.folder->children.find(name);
  if (old != folder.folder->children.end()) --old->second->names;
  ++node->names;
  add(folder, name, std::move(node));
}

// A name in it comes or goes.
void PlannedLayer::touch(PlannedNode& folder) {
  change(folder);
  folder.mtime = now_;
}

void PlannedLayer::change(PlannedNode& folder) {
  PlannedFolder& self = *folder.folder;
  if (self.state != PlannedFolder::State::below || self.parent == nullptr) return;
  const std::string name{self.name};
  const auto found = below(*self.parent).find(name);
  if (!found) throw Error::make(Kind::internal, "{} is not in the plan", text::quote(name));
  const Fd fd = sys::openat(found->dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  for (const auto& [key, value] : readXattrs(fd.get())) {
    // Inherited by what is made in it, and changed by chmod(2): acl(5).
    if (key.starts_with("system.posix_acl_")) throw CannotPlan{pathOf(folder) + " has an ACL"};
  }
  self.state = PlannedFolder::State::changed;
}

}  // namespace img::store
