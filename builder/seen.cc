#include "builder/seen.h"

#include <algorithm>
#include <tuple>

namespace img::builder {
namespace {

using Kind = SeenFolder::Kind;

// A file, or another entry, or (`entry` null) the folder itself.
struct Place {
  const SeenFolder* folder;
  const SeenFolder::Entry* entry;
};

std::string pathOf(const Place& place) {
  std::string path = place.folder->path;
  if (place.entry != nullptr) return path += place.folder->nameOf(*place.entry);
  if (!path.empty()) path.pop_back();
  return path;
}

template <class Use>
void walk(const SeenFolder& folder, Kind wanted, const Use& use) {
  for (const SeenFolder::Entry& entry : folder.entries) {
    if (entry.kind == wanted) use(Place{&folder, &entry});
    if (entry.kind != Kind::folder) continue;
    if (const auto& below = folder.folders[entry.inode]) walk(*below, wanted, use);
  }
  if (wanted == Kind::other && folder.isListed) use(Place{&folder, nullptr});
}

std::vector<Place> places(const std::vector<std::unique_ptr<SeenFolder>>& sources, Kind wanted) {
  std::vector<Place> all;
  for (const auto& source : sources)
    walk(*source, wanted, [&](const Place& place) { all.push_back(place); });
  return all;
}

std::string_view linkOf(const Place& place) {
  if (place.entry == nullptr) return {};
  const auto index = static_cast<size_t>(place.entry - place.folder->entries.data());
  const auto link = place.folder->links.find(index);
  return link == place.folder->links.end() ? std::string_view{} : link->second;
}

bool hasSameName(const Place& a, const Place& b) {
  if (a.folder->path != b.folder->path) return false;
  if (a.entry == nullptr || b.entry == nullptr) return a.entry == b.entry;
  return std::string_view{a.folder->nameOf(*a.entry)} == b.folder->nameOf(*b.entry);
}

bool isSameFile(const Place& a, const Place& b) {
  const auto times = [](const SeenFolder::Entry& entry) {
    return std::tuple{entry.inode, entry.size, entry.mtime, entry.ctime};
  };
  return times(*a.entry) == times(*b.entry) && hasSameName(a, b);
}

bool isSameOther(const Place& a, const Place& b) {
  if (!hasSameName(a, b) || linkOf(a) != linkOf(b)) return false;
  if (a.entry == nullptr)
    return a.folder->mode == b.folder->mode && a.folder->xattrs == b.folder->xattrs;
  return a.entry->mode == b.entry->mode;
}

template <class IsSame>
std::optional<std::string> firstDifference(const std::vector<Place>& before,
                                           const std::vector<Place>& now, IsSame isSame) {
  const auto [old, other] =
      std::mismatch(before.begin(), before.end(), now.begin(), now.end(), isSame);
  if (old == before.end() && other == now.end()) return std::nullopt;
  if (old == before.end()) return pathOf(*other);
  if (other == now.end()) return pathOf(*old);
  return std::min(pathOf(*old), pathOf(*other));  // the other one may be there in both
}

size_t sizeOf(const SeenFolder& folder) {
  size_t size = folder.entries.size() + 1;
  for (const auto& below : folder.folders) {
    if (below) size += sizeOf(*below);
  }
  return size;
}

}  // namespace

void Seen::forEachFile(const std::function<void(const SeenFile&)>& use) const {
  for (const auto& source : sources_) {
    walk(*source, Kind::file, [&](const Place& place) {
      const SeenFolder::Entry& entry = *place.entry;
      use({pathOf(place), entry.mode, entry.size, entry.content, entry.xattrs});
    });
  }
}

void Seen::forEachOther(const std::function<void(const SeenOther&)>& use) const {
  for (const auto& source : sources_) {
    walk(*source, Kind::other, [&](const Place& place) {
      if (place.entry == nullptr)
        return use({pathOf(place), place.folder->mode, place.folder->xattrs, {}});
      use({pathOf(place), place.entry->mode, 0, std::string{linkOf(place)}});
    });
  }
}

size_t Seen::size() const {
  size_t size = 0;
  for (const auto& source : sources_) size += sizeOf(*source);
  return size;
}

size_t Seen::countFiles() const {
  size_t files = 0;
  for (const auto& source : sources_) walk(*source, Kind::file, [&](const Place&) { ++files; });
  return files;
}

void OtherDigest::add(const SeenOther& other) {
  hasher_.field(other.path);
  hasher_.field(std::uint64_t{other.mode});
  hasher_.field(other.xattrs);
  hasher_.field(other.link);
}

std::optional<std::string> Seen::firstChange(const Seen& now) const {
  auto path =
      firstDifference(places(sources_, Kind::file), places(now.sources_, Kind::file), isSameFile);
  if (path) return path;
  return firstDifference(places(sources_, Kind::other), places(now.sources_, Kind::other),
                         isSameOther);
}

}  // namespace img::builder
