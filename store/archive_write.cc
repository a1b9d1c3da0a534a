// save: see archive.h. The members are collected by name first, so that the archive is sorted and a
// blob that images share is written once.
#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/json.h"
#include "base/sys.h"
#include "base/text.h"
#include "store/archive.h"
#include "store/tar.h"

namespace img::store {
namespace {

constexpr char kOciLayout[] = R"({"imageLayoutVersion":"1.0.0"})";
constexpr char kContainerdName[] = "io.containerd.image.name";  // what docker and ctr look for
constexpr size_t kBuffer = 256 << 10;

struct Content {
  std::string text;            // or
  std::optional<Digest> blob;  // a blob of the store
};
using Members = std::map<std::string, Content>;

std::string memberOf(const Digest& digest) {
  return "blobs/sha256/" + digest.hex();
}

void addBlob(Members& members, const Digest& digest) {
  members[memberOf(digest)].blob = digest;
}

Descriptor namedDescriptor(const Image& image, const std::string& name) {
  Descriptor descriptor = image.manifestDescriptor;
  descriptor.annotations.clear();
  if (name.empty()) return descriptor;
  descriptor.annotations[kRefName] = name;
  descriptor.annotations[kContainerdName] = name;
  return descriptor;
}

std::string indexOf(const std::vector<SaveItem>& items) {
  Index index;
  for (const SaveItem& item : items) {
    for (const std::string& name : item.names)
      index.manifests.push_back(namedDescriptor(item.image, name));
    if (item.names.empty()) index.manifests.push_back(namedDescriptor(item.image, ""));
  }
  return toJson(index);
}

// manifest.json of docker: one entry per image, its names in the short form that docker prints.
std::string dockerManifestOf(const std::vector<SaveItem>& items) {
  Json list = Json::array();
  std::map<Digest, size_t> places;
  for (const SaveItem& item : items) {
    const auto [place, isNew] = places.emplace(item.image.id, list.size());
    if (isNew) {
      Json layers = Json::array();
      for (const Descriptor& layer : item.image.manifest.layers)
        layers.push_back(memberOf(layer.digest));
      list.push_back({{"Config", memberOf(item.image.id)},
                      {"RepoTags", nullptr},
                      {"Layers", std::move(layers)}});
    }
    Json& tags = list[place->second]["RepoTags"];
    for (const std::string& name : item.names) tags.push_back(Reference::parse(name).familiar());
  }
  return dumpJson(list);
}

Members collectMembers(const std::vector<SaveItem>& items, ArchiveFormat format) {
  Members members;
  for (const SaveItem& item : items) {
    addBlob(members, item.image.manifestDescriptor.digest);
    addBlob(members, item.image.id);
    for (const Descriptor& layer : item.image.manifest.layers) addBlob(members, layer.digest);
  }
  members["oci-layout"].text = kOciLayout;
  members["index.json"].text = indexOf(items);
  if (format == ArchiveFormat::dockerArchive)
    members["manifest.json"].text = dockerManifestOf(items);
  return members;
}

void writeFolder(TarWriter& writer, const std::string& path) {
  TarEntry entry;
  entry.path = path;
  entry.type = TarEntry::Type::directory;
  entry.mode = 0755;
  writer.add(entry);
}

void writeMember(const Layout& layout, TarWriter& writer, const std::string& name,
                 const Content& content) {
  TarEntry entry;
  entry.path = name;
  entry.mode = 0644;
  if (!content.blob) {
    entry.size = content.text.size();
    writer.add(entry);
    writer.data(asBytes(content.text));
    return;
  }
  const Fd fd = openBlob(layout, *content.blob);
  entry.size = static_cast<std::uint64_t>(sys::fstat(fd.get()).st_size);
  writer.add(entry);
  std::vector<std::byte> buffer(kBuffer);
  while (const size_t count = readFull(fd.get(), buffer, name)) {
    writer.data(std::span{buffer}.first(count));
  }
}

void copyBlob(const Layout& layout, const Digest& digest, int folder, const std::string& name) {
  FdSource from{openBlob(layout, digest), name};
  FdSink to{sys::openat(folder, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0644), name};
  copyAll(from, to);
  if (isDurable()) sys::fsync(to.fd().get(), name);
  to.fd().close(name);
}

}  // namespace

void saveArchive(const Layout& layout, const std::vector<SaveItem>& items, ArchiveFormat format,
                 Sink& sink) try {
  const StoreUse use{layout};
  const Members members = collectMembers(items, format);
  TarWriter writer{sink};
  writeFolder(writer, "blobs");
  writeFolder(writer, "blobs/sha256");
  for (const auto& [name, content] : members) writeMember(layout, writer, name, content);
  writer.finish();
} catch (Error& error) {
  error.during("saving {} images", items.size());
  throw;
}

void saveDirectory(const Layout& layout, const std::vector<SaveItem>& items,
                   const std::string& path) try {
  const StoreUse use{layout};
  const Fd folder = fs::makeDirs(AT_FDCWD, path);
  if (!fs::list(folder.get()).empty()) {
    throw Error::make(Kind::exists, "the folder {} is not empty", path).hint("choose a new folder");
  }
  const Fd blobs = fs::makeDirs(folder.get(), "blobs/sha256");
  // index.json comes last: until then the folder is no layout.
  const Members members = collectMembers(items, ArchiveFormat::ociArchive);
  for (const auto& [name, content] : members) {
    if (content.blob) copyBlob(layout, *content.blob, blobs.get(), content.blob->hex());
  }
  fs::replaceFile(folder.get(), "oci-layout", members.at("oci-layout").text, 0644, fullSync());
  fs::replaceFile(folder.get(), "index.json", members.at("index.json").text, 0644, fullSync());
} catch (Error& error) {
  error.during("saving to {}", path);
  throw;
}

}  // namespace img::store
