#include "store/erofs_tree.h"

#include <limits.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <deque>
#include <tuple>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "store/erofs_bytes.h"
#include "store/erofs_sparse.h"
#include "store/posix_acl.h"

namespace img::store {
namespace {

constexpr char kAccessAcl[] = "system.posix_acl_access";
constexpr char kDefaultAcl[] = "system.posix_acl_default";
constexpr size_t kMaxDeferred = size_t{16} << 20;  // as TreeWriter
constexpr int kMaxLinks = 40;                      // as the kernel, path_resolution(7)

struct Place {
  std::string parent, name;
};

Place splitPath(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return {"", path};
  return {path.substr(0, slash), path.substr(slash + 1)};
}

// new_encode_dev(), include/linux/kdev_t.h
std::uint64_t encodeDevice(dev_t device) {
  const std::uint64_t major = ::major(device);
  const std::uint64_t minor = ::minor(device);
  return (minor & 0xff) | major << 8 | (minor & ~std::uint64_t{0xff}) << 12;
}

bool isWhiteout(const ErofsNode& node) {
  return S_ISCHR(node.mode) && node.data == 0;
}

[[noreturn]] void failLongName(const std::string& path) {
  throw Error::fromErrno(ENAMETOOLONG, "open " + path);
}

}  // namespace

ErofsTree::ErofsTree(std::string name, int image, std::uint64_t firstBlock, ErofsFormat format)
    : name_(std::move(name)),
      image_(image),
      nextBlock_(firstBlock),
      format_(format),
      nodes_(name_) {}

void ErofsTree::refuse(const std::string& path, std::string_view what) const {
  throw Error::make(Kind::corrupt, "{}: entry {}: {}", name_, text::quote(path), what);
}

// --- Parents ---

// What is missing, or is no folder, is what `missing` makes of it; without it that ends the walk.
std::optional<NodeId> ErofsTree::walk(const std::string& path, const Missing& missing) const {
  std::deque<std::string> steps;
  for (std::string& part : text::split(path, '/')) steps.push_back(std::move(part));
  std::vector<NodeId> stack{ErofsNodes::kRoot};
  int links = 0;
  while (!steps.empty()) {
    const std::string step = std::move(steps.front());
    steps.pop_front();
    if (step.empty() || step == ".") continue;
    if (step == "..") {
      if (stack.size() > 1) stack.pop_back();
      continue;
    }
    if (step.size() > NAME_MAX) failLongName(path);
    const auto found = nodes_.find(stack.back(), step);
    const ErofsNode* node = found ? &nodes_.node(*found) : nullptr;
    if (node != nullptr && S_ISLNK(node->mode)) {
      if (++links > kMaxLinks) refuse(path, "a loop of symbolic links");
      const std::string target{nodes_.text(node->data, node->size)};
      if (target.starts_with('/')) stack.resize(1);
      const auto parts = text::split(target, '/');
      steps.insert(steps.begin(), parts.begin(), parts.end());
    } else if (node != nullptr && S_ISDIR(node->mode)) {
      stack.push_back(*found);
    } else if (missing) {
      stack.push_back(missing(stack.back(), step));
    } else {
      return std::nullopt;
    }
  }
  return stack.back();
}

std::optional<NodeId> ErofsTree::findFolder(const std::string& path) const {
  if (path.size() >= PATH_MAX) failLongName(path);
  return walk(path, nullptr);
}

NodeId ErofsTree::makeFolder(NodeId folder, const std::string& name) {
  const bool wasWhiteout = clear(folder, name);
  const NodeId made = nodes_.add(S_IFDIR | 0755);
  nodes_.link(folder, name, made);
  if (wasWhiteout) markOpaque(made);
  return made;
}

NodeId ErofsTree::enter(const std::string& parent) {
  if (currentNode_ != kNone && current_ == parent) return currentNode_;
  auto folder = findFolder(parent);
  if (!folder) {
    std::ignore =
        walk(parent, [this](NodeId in, const std::string& name) { return makeFolder(in, name); });
    folder = findFolder(parent);
    if (!folder) refuse(parent, "its folder cannot be made");
  }
  current_ = parent;
  currentNode_ = *folder;
  return *folder;
}

// --- Names ---

bool ErofsTree::clear(NodeId folder, const std::string& name) {
  const auto old = nodes_.find(folder, name);
  if (!old) return false;
  const bool wasWhiteout = isWhiteout(nodes_.node(*old));
  nodes_.unlink(folder, name);
  return wasWhiteout;
}

NodeId ErofsTree::put(const std::string& path, const EntryMeta& meta, std::uint32_t type) {
  const Place place = splitPath(path);
  const NodeId folder = enter(place.parent);
  clear(folder, place.name);
  const NodeId id = nodes_.add(type);
  nodes_.link(folder, place.name, id);
  setMeta(id, meta, type | meta.mode);
  return id;
}

// --- Attributes ---

void ErofsTree::setMeta(NodeId id, const EntryMeta& meta, std::uint32_t mode) {
  ErofsNode& node = nodes_.node(id);
  node.mode = mode;
  node.uid = meta.uid;
  node.gid = meta.gid;
  node.mtimeSeconds = meta.mtime.tv_sec;
  node.mtimeNanoseconds = static_cast<std::uint32_t>(meta.mtime.tv_nsec);
}

void ErofsTree::noteXattrs() {
  if (std::exchange(warnedXattrs_, true)) return;
  log::warn("{}: some extended attributes could not be set here and are left out", name_);
}

// As setxattr(2) one after the other: what the kernel refuses on this kind of file stays away.
void ErofsTree::setXattrs(NodeId id, const Xattrs& wanted) {
  if (wanted.empty()) return;
  ErofsNode& node = nodes_.node(id);
  const bool isOrdinary = S_ISREG(node.mode) || S_ISDIR(node.mode);
  Xattrs kept = node.xattrs == 0 ? Xattrs{} : nodes_.xattrs(node.xattrs);
  for (const auto& [name, value] : wanted) {
    if (name == kAccessAcl || name == kDefaultAcl) {
      setAcl(id, kept, name, value);
    } else if (name.starts_with("user.") && !isOrdinary) {
      noteXattrs();  // xattr_permission(), fs/xattr.c
    } else {
      kept[name] = value;
    }
  }
  checkErofsXattrs(kept, name_);
  nodes_.setXattrs(id, std::move(kept));
}

void ErofsTree::setAcl(NodeId id, Xattrs& kept, const std::string& name, const std::string& value) {
  ErofsNode& node = nodes_.node(id);
  if (!isValidAcl(value)) return noteXattrs();
  if (name == kDefaultAcl) {
    // set_posix_acl(), fs/posix_acl.c
    if (!S_ISDIR(node.mode) && !isEmptyAcl(value))
      throw Error::fromErrno(EACCES, "set extended attribute " + text::quote(name));
    kept.erase(name);
    if (!isEmptyAcl(value)) kept[name] = value;
    return;
  }
  const AclMode result = applyAcl(value, node.mode);
  node.mode = result.mode;
  kept.erase(name);
  if (result.isKept) kept[name] = value;
}

void ErofsTree::markOpaque(NodeId id) {
  const ErofsNode& node = nodes_.node(id);
  Xattrs xattrs = node.xattrs == 0 ? Xattrs{} : nodes_.xattrs(node.xattrs);
  xattrs["trusted.overlay.opaque"] = "y";
  nodes_.setXattrs(id, std::move(xattrs));
}

// --- Entries ---

void ErofsTree::putFolder(const std::string& path, const EntryMeta& meta) {
  NodeId id = ErofsNodes::kRoot;
  bool wasWhiteout = false;
  if (!path.empty()) {
    const Place place = splitPath(path);
    const NodeId folder = enter(place.parent);
    const auto old = nodes_.find(folder, place.name);
    if (old && S_ISDIR(nodes_.node(*old).mode)) {
      id = *old;
    } else {
      wasWhiteout = clear(folder, place.name);
      id = nodes_.add(S_IFDIR | 0700);
      nodes_.link(folder, place.name, id);
    }
  }
  if (wasWhiteout) markOpaque(id);
  Xattrs xattrs = meta.xattrs;
  if (const auto acl = xattrs.extract(kDefaultAcl); !acl.empty()) {
    defaultAclBytes_ += path.size() + acl.mapped().size() + 128;
    if (defaultAclBytes_ > kMaxDeferred) refuse(path, "too many folders with a default ACL");
    defaultAcls_.emplace_back(path, acl.mapped());
  }
  setMeta(id, meta, S_IFDIR | meta.mode);
  // A folder that is there already keeps its access list, and chmod(2) writes the mode into it.
  if (const ErofsNode& node = nodes_.node(id); node.xattrs != 0) {
    Xattrs old = nodes_.xattrs(node.xattrs);
    if (const auto acl = old.find(kAccessAcl); acl != old.end()) {
      acl->second = changeAclMode(acl->second, meta.mode);
      nodes_.setXattrs(id, std::move(old));
    }
  }
  setXattrs(id, xattrs);
}

void ErofsTree::putFile(const std::string& path, const EntryMeta& meta, const TarEntry& entry,
                        TarReader& data) {
  if (!entry.sparse) {
    putFileAt(path, meta, entry.size, data.dataOffset());
    return data.skipData();  // so that a truncated archive is refused here
  }
  const NodeId id = put(path, meta, S_IFREG);
  ErofsNode& file = nodes_.node(id);
  file.size = entry.size;
  file.data = data.dataOffset();
  copySparse(file, entry, data);
  setXattrs(id, meta.xattrs);
}

void ErofsTree::putFileAt(const std::string& path, const EntryMeta& meta, std::uint64_t size,
                          std::uint64_t dataOffset) {
  const NodeId id = put(path, meta, S_IFREG);
  ErofsNode& file = nodes_.node(id);
  file.size = size;
  file.data = dataOffset;
  setXattrs(id, meta.xattrs);
}

void ErofsTree::copySparse(ErofsNode& file, const TarEntry& entry, TarReader& data) {
  ErofsSparse plan{entry, data.dataOffset(), format_};
  nextBlock_ = plan.placeCopies(nextBlock_);
  plan.copy(data, image_);
  file.hasChunks = file.size > 0;
  if (!file.hasChunks) return;
  file.data = nodes_.chunkTables.size();
  nodes_.chunkTables.push_back(plan.takeChunks());
}

void ErofsTree::putSymlink(const std::string& path, const EntryMeta& meta,
                           const std::string& target) {
  // symlink(2): a path at most.
  if (target.size() >= PATH_MAX)
    throw Error::fromErrno(ENAMETOOLONG, "create symbolic link " + text::quote(path));
  ErofsNode& link = nodes_.node(put(path, meta, S_IFLNK));
  link.mode = S_IFLNK | 0777;
  link.size = target.size();
  link.data = nodes_.addText(target);
}

void ErofsTree::putNode(const std::string& path, const EntryMeta& meta, mode_t type, dev_t device) {
  const NodeId id = put(path, meta, type);
  nodes_.node(id).data = encodeDevice(device);
  setXattrs(id, meta.xattrs);
}

void ErofsTree::putLink(const std::string& path, const std::string& target) {
  const Place from = splitPath(target);
  const auto targetFolder = findFolder(from.parent);
  const auto file = targetFolder ? nodes_.find(*targetFolder, from.name) : std::nullopt;
  if (!file) refuse(path, "hard link to " + text::quote(target) + ", which does not exist");
  if (S_ISDIR(nodes_.node(*file).mode)) refuse(path, "hard link to a folder");
  if (isWhiteout(nodes_.node(*file)))
    refuse(path, "hard link to " + text::quote(target) + ", which does not exist");

  const Place place = splitPath(path);
  const NodeId folder = enter(place.parent);
  if (const auto old = nodes_.find(folder, place.name)) {
    if (*old == *file) return;
    clear(folder, place.name);
  }
  // What was cleared may have held the last name of the target.
  if (nodes_.node(*file).links == 0)
    throw Error::fromErrno(ENOENT, "create hard link " + place.name);
  nodes_.link(folder, place.name, *file);
}

void ErofsTree::putWhiteout(const std::string& parent, const std::string& name) {
  const NodeId folder = enter(parent);
  const auto old = nodes_.find(folder, name);
  if (!old) {
    nodes_.link(folder, name, nodes_.add(S_IFCHR));
  } else if (S_ISDIR(nodes_.node(*old).mode)) {
    // The layer has the name itself, which hides what is below; only a folder would be merged.
    markOpaque(*old);
  }
}

void ErofsTree::putOpaque(const std::string& folder) {
  markOpaque(enter(folder));
}

void ErofsTree::finish() {
  for (const auto& [path, acl] : defaultAcls_) {
    const auto folder = findFolder(path);
    if (!folder) throw Error::fromErrno(ENOENT, "open " + text::quote(path));
    setXattrs(*folder, {{kDefaultAcl, acl}});
  }
}

}  // namespace img::store
