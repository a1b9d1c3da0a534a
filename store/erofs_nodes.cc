#include "store/erofs_nodes.h"

#include <sys/random.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "store/blobs.h"

namespace img::store {
namespace {

constexpr size_t kMaxText = size_t{512} << 20;
constexpr size_t kMaxXattrBytes = size_t{64} << 20;

// Names come from strangers: with a key of its own, nobody can choose them so that all collide.
std::uint64_t randomKey() {
  std::uint64_t key = 0;
  if (::getrandom(&key, sizeof key, 0) != static_cast<ssize_t>(sizeof key))
    throw Error::fromErrno(errno, "get random bytes");
  return key;
}

std::uint64_t mix(std::uint64_t value) {
  value ^= value >> 32;
  value *= 0x9fb21c651e98df25;
  value ^= value >> 29;
  return value;
}

}  // namespace

ErofsNodes::ErofsNodes(std::string archive)
    : archive_(std::move(archive)),
      maxNodes_(std::min<std::uint64_t>(limitFromEnvironment("IMG_LIMIT_LAYER_ENTRIES", 4'000'000),
                                        kNone - 1)),
      hashKey_(randomKey()),
      slots_(1024, kNone),
      xattrs_{nullptr} {
  nodes_.emplace_back().mode = S_IFDIR | 0755;
  nodes_.front().links = 1;
}

NodeId ErofsNodes::add(std::uint32_t mode) {
  // Whatever the archive has: its entries, the root, and the parents that it does not mention.
  if (nodes_.size() / 2 > maxNodes_) {
    throw Error::make(Kind::failed, "{}: more than {} files and folders in one layer", archive_,
                      maxNodes_)
        .hint("raise the limit with IMG_LIMIT_LAYER_ENTRIES=NUMBER");
  }
  nodes_.emplace_back().mode = mode;
  return static_cast<NodeId>(nodes_.size() - 1);
}

std::uint32_t ErofsNodes::hashOf(NodeId folder, std::string_view name) const {
  std::uint64_t hash = mix(hashKey_ ^ folder);
  while (!name.empty()) {
    std::uint64_t word = 0;
    const size_t count = std::min(name.size(), sizeof word);
    std::memcpy(&word, name.data(), count);
    hash = mix(hash ^ (word + hashKey_) ^ count);
    name.remove_prefix(count);
  }
  return static_cast<std::uint32_t>(hash ^ hash >> 32);
}

std::string_view ErofsNodes::textOf(const Entry& entry) const {
  return std::string_view{text_}.substr(entry.textOffset, entry.textSize);
}

// The slot that holds the name, or the free one where it belongs.
size_t ErofsNodes::slotOf(NodeId folder, std::string_view name, std::uint32_t hash) const {
  const size_t mask = slots_.size() - 1;
  for (size_t slot = hash & mask;; slot = (slot + 1) & mask) {
    if (slots_[slot] == kNone) return slot;
    const Entry& entry = entries_[slots_[slot]];
    if (entry.hash == hash && entry.folder == folder && textOf(entry) == name) return slot;
  }
}

void ErofsNodes::grow() {
  std::vector<NameId> old(slots_.size() * 2, kNone);
  old.swap(slots_);
  const size_t mask = slots_.size() - 1;
  for (const NameId id : old) {
    if (id == kNone) continue;
    size_t slot = entries_[id].hash & mask;
    while (slots_[slot] != kNone) slot = (slot + 1) & mask;
    slots_[slot] = id;
  }
}

// Those behind it move up, so that no search ends at the gap too early.
void ErofsNodes::emptySlot(size_t slot) {
  const size_t mask = slots_.size() - 1;
  size_t gap = slot;
  for (size_t at = (slot + 1) & mask; slots_[at] != kNone; at = (at + 1) & mask) {
    const size_t home = entries_[slots_[at]].hash & mask;
    if (((at - home) & mask) < ((at - gap) & mask)) continue;
    slots_[gap] = slots_[at];
    gap = at;
  }
  slots_[gap] = kNone;
  --usedSlots_;
}

std::optional<NodeId> ErofsNodes::find(NodeId folder, std::string_view name) const {
  const NameId id = slots_[slotOf(folder, name, hashOf(folder, name))];
  if (id == kNone) return std::nullopt;
  return entries_[id].node;
}

void ErofsNodes::link(NodeId folder, std::string_view name, NodeId target) {
  if ((usedSlots_ + 1) * 4 > slots_.size() * 3) grow();
  NameId id = freeEntry_;
  if (id == kNone) {
    id = static_cast<NameId>(entries_.size());
    entries_.emplace_back();
  } else {
    freeEntry_ = entries_[id].next;
  }
  Entry& entry = entries_[id];
  entry.folder = folder;
  entry.node = target;
  entry.hash = hashOf(folder, name);
  entry.textOffset = static_cast<std::uint32_t>(addText(name));
  entry.textSize = static_cast<std::uint16_t>(name.size());
  entry.previous = kNone;
  entry.next = nodes_[folder].firstName;
  if (entry.next != kNone) entries_[entry.next].previous = id;
  nodes_[folder].firstName = id;
  slots_[slotOf(folder, name, entry.hash)] = id;
  ++usedSlots_;
  ErofsNode& node = nodes_[target];
  ++node.links;
  if (S_ISDIR(node.mode)) node.parent = folder;
}

void ErofsNodes::dropEntry(size_t slot) {
  const NameId id = slots_[slot];
  Entry& entry = entries_[id];
  emptySlot(slot);
  if (entry.next != kNone) entries_[entry.next].previous = entry.previous;
  NameId& before =
      entry.previous == kNone ? nodes_[entry.folder].firstName : entries_[entry.previous].next;
  before = entry.next;
  --nodes_[entry.node].links;
  entry.next = freeEntry_;
  freeEntry_ = id;
}

// Depth without recursion: an archive chooses it.
void ErofsNodes::dropBelow(NodeId folder) {
  std::vector<NodeId> folders{folder};
  while (!folders.empty()) {
    const NodeId at = folders.back();
    folders.pop_back();
    while (nodes_[at].firstName != kNone) {
      const Entry& entry = entries_[nodes_[at].firstName];
      if (S_ISDIR(nodes_[entry.node].mode)) folders.push_back(entry.node);
      dropEntry(slotOf(at, textOf(entry), entry.hash));
    }
  }
}

void ErofsNodes::unlink(NodeId folder, std::string_view name) {
  const size_t slot = slotOf(folder, name, hashOf(folder, name));
  const NodeId target = entries_[slots_[slot]].node;
  dropEntry(slot);
  if (S_ISDIR(nodes_[target].mode)) dropBelow(target);
}

std::vector<ErofsNodes::Name> ErofsNodes::namesOf(NodeId folder) const {
  std::vector<Name> names;
  for (NameId id = nodes_[folder].firstName; id != kNone; id = entries_[id].next)
    names.push_back({textOf(entries_[id]), entries_[id].node});
  return names;
}

std::vector<ErofsNodes::Name> ErofsNodes::sortedNames(NodeId folder) const {
  std::vector<Name> names = namesOf(folder);
  std::sort(names.begin(), names.end(),
            [](const Name& a, const Name& b) { return a.text < b.text; });
  return names;
}

std::uint64_t ErofsNodes::addText(std::string_view text) {
  if (text.size() > kMaxText - text_.size())
    throw Error::make(Kind::unsupported, "{}: over 512 MiB of names in one layer", archive_)
        .hint("IMG_LAYER_VIEW=directory has no such limit");
  text_.append(text);
  return text_.size() - text.size();
}

std::string_view ErofsNodes::text(std::uint64_t offset, std::uint64_t size) const {
  return std::string_view{text_}.substr(offset, size);
}

void ErofsNodes::setXattrs(NodeId id, Xattrs xattrs) {
  if (xattrs.empty()) {
    nodes_[id].xattrs = 0;
    return;
  }
  const auto [place, isNew] =
      xattrIds_.try_emplace(std::move(xattrs), static_cast<std::uint32_t>(xattrs_.size()));
  if (isNew) {
    xattrs_.push_back(&place->first);
    for (const auto& [name, value] : place->first) xattrBytes_ += name.size() + value.size() + 64;
    if (xattrBytes_ > kMaxXattrBytes) {
      throw Error::make(Kind::unsupported, "{}: over 64 MiB of extended attributes in one layer",
                        archive_)
          .hint("IMG_LAYER_VIEW=directory has no such limit");
    }
  }
  nodes_[id].xattrs = place->second;
}

}  // namespace img::store
