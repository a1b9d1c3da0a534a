#include "builder/mount_source.h"

#include <fcntl.h>
#include <linux/mount.h>

#include <tuple>

#include "base/sys.h"
#include "base/text.h"
#include "builder/copy_tree.h"
#include "builder/folder_destination.h"
#include "builder/host_view.h"
#include "runtime/mounts.h"
#include "store/union_copy.h"

namespace img::builder {
namespace {

constexpr std::uint64_t kHarmless = MOUNT_ATTR_NODEV;

Snapshot snapshotOfSource(Workshop& shop, const SourceRef& source) {
  if (source.stage) return shop.stages.at(*source.stage);
  if (!source.image) return {};  // scratch
  const std::string id = source.image->manifestDescriptor.digest.hex();
  const auto known = shop.images.find(id);
  if (known != shop.images.end()) return known->second;
  return shop.images.emplace(id, snapshotOf(*source.image)).first->second;
}

Fd emptyMount() {
  return runtime::makeMount("tmpfs", MOUNT_ATTR_RDONLY, {{"source", "img"}, {"mode", "0755"}});
}

}  // namespace

MountSource::MountSource(Workshop& shop, const PlannedStage& planned, const std::string& from,
                         std::string path)
    : shop_(shop), path_(std::move(path)) {
  if (from.empty()) {
    context_ = &shop.context;
    // A mount shows the modes as they are, so they count as they are; with --context-perms=git the
    // digests that are kept are of other modes.
    if (!shop.scope.request->hasGitPermissions) statCache_ = shop.statCache;
    label_ = "the build context";
    return;
  }
  const SourceRef& source = planned.sources.at(from);
  folder_ = source.folder;
  context_ = folder_.get();
  label_ = fmt::format("{} {}",
                       source.stage ? "stage"
                       : folder_    ? "the context"
                                    : "image",
                       text::quote(source.name));
  if (!isOfHost()) snapshot_ = snapshotOfSource(shop, source);
}

SourceRoot MountSource::root() const {
  if (isOfHost()) return {context_->root(), true, context_, label_};
  return {union_.get(), false, nullptr, label_};
}

SourceFilter MountSource::filter() const {
  SourceFilter filter;
  if (isOfHost()) filter.ignore = &context_->ignore();
  return filter;
}

CopySource MountSource::resolve() const {
  if (isOfHost() && context_->root() < 0) {
    throw Error{Kind::failed, "RUN: there is no build context to mount"};
  }
  return resolveSource(root(), path_, "RUN");
}

void MountSource::addDefinition(Hasher& hasher) const {
  hasher.field(snapshot_.key.str());
  hasher.field(path_);
}

Digest MountSource::contentDigest() {
  const CopySource source = resolve();
  ContentDigester digester{isOfHost(), statCache_, ContentDigester::Reads::content,
                           [this] { shop_.events.throwIfInterrupted(); }};
  const auto digest = digester.digest(source.handle.get(), source.contextPath, filter());
  if (isOfHost()) seen_ = digester.takeSeen();
  Hasher hasher;
  hasher.field(digest ? digest->hex() : "");
  return hasher.finish();
}

bool MountSource::hasChanged() const {
  if (!isOfHost()) return false;
  try {
    const CopySource source = resolve();
    ContentDigester digester{true, nullptr, ContentDigester::Reads::nothing};
    std::ignore = digester.digest(source.handle.get(), source.contextPath, filter());
    return seen_.firstChange(digester.seen()).has_value();
  } catch (const Error& error) {
    if (error.kind() != Kind::notFound) throw;
    return true;  // removed
  }
}

Task<> MountSource::open() {
  if (isOfHost() || union_) co_return;
  co_await unpackMissing(shop_.events, shop_.layout, snapshot_);
  const bool isMount = snapshot_.layers.empty() && !store::copiesUnions();
  if (isMount) union_ = emptyMount();
  if (!isMount) union_ = co_await openView(shop_, snapshot_);
}

MountView MountSource::view(bool isReadOnly, int scratch) {
  const CopySource source = resolve();
  MountView view =
      isOfHost() ? hostView(source, isReadOnly, scratch) : imageView(source, isReadOnly, scratch);
  view.isFolder = S_ISDIR(sys::fstat(source.handle.get()).st_mode);
  view.mount.readOnly = isReadOnly;
  view.mount.attributes |= kHarmless;
  return view;
}

MountView MountSource::hostView(const CopySource& source, bool isReadOnly, int scratch) const {
  const SourceFilter rules = filter();
  HostView host{{source.handle.get(), source.name, source.contextPath, path_}, rules, scratch};
  // overlayfs refuses a union of a folder and one that lies in it.
  host.mayUnite = !shop_.layout.root().starts_with(context_->path() + "/");
  return MountView{host.open(isReadOnly), true};
}

MountView MountSource::imageView(const CopySource& source, bool isReadOnly, int scratch) const {
  MountView view;
  view.mount.type = runtime::Mount::Type::detached;
  view.mount.subpath = source.contextPath;
  if (isReadOnly) {
    view.mount.source = union_.duplicate();
    return view;
  }
  if (snapshot_.layers.empty()) {
    view.mount.source = runtime::makeMount("tmpfs", 0, {{"source", "img"}, {"mode", "0755"}});
    return view;
  }
  const struct stat st = sys::fstat(union_.get());
  view.mount.source = mountThrowAway(openFolders(shop_.layout, snapshot_), st, scratch);
  return view;
}

void MountSource::copyInto(int to) {
  const CopySource source = resolve();
  if (!S_ISDIR(sys::fstat(source.handle.get()).st_mode)) {
    throw Error::make(Kind::failed, "RUN: mount source {} is not a folder", text::quote(path_));
  }
  CopyOptions options;
  options.isContext = isOfHost();
  FolderDestination target{to};
  TreeCopier{target, options}.copy({source.handle.get(), source.name, source.contextPath, path_},
                                   "/", filter());
}

void MountSource::copyAs(int folder, const std::string& name) {
  const CopySource source = resolve();
  const struct stat st = sys::fstat(source.handle.get());
  if (S_ISDIR(st.st_mode)) {
    sys::mkdirat(folder, name, 0700);
    const Fd to = sys::openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    copyInto(to.get());
    sys::fchmod(to.get(), st.st_mode & 07777);
    sys::futimens(to.get(), st.st_atim, st.st_mtim);
    return;
  }
  CopyOptions options;
  options.isContext = isOfHost();
  FolderDestination target{folder};
  TreeCopier{target, options}.copy({source.handle.get(), source.name, source.contextPath, path_},
                                   "/" + name, filter());
}

}  // namespace img::builder
