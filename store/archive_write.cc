// save: see archive.h. The members are collected by name first, so that the archive is sorted and a
// blob that images share is written once.
#include <unistd.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <vector>

#include "base/json.h"
#include "base/sys.h"
#include "base/text.h"
#include "store/archive.h"
#include "store/block_pipe.h"
#include "store/tar.h"

namespace img::store {
namespace {

constexpr char kOciLayout[] = R"({"imageLayoutVersion":"1.0.0"})";
constexpr char kContainerdName[] = "io.containerd.image.name";  // what docker and ctr look for

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

Descriptor namedDescriptor(const SaveItem& item, const std::string& name) {
  Descriptor descriptor = item.index ? *item.index : item.image.manifestDescriptor;
  descriptor.annotations = item.annotations;
  if (name.empty()) return descriptor;
  descriptor.annotations[kRefName] = name;
  descriptor.annotations[kContainerdName] = name;
  return descriptor;
}

std::string indexOf(const std::vector<SaveItem>& items, Index index = {}) {
  for (const SaveItem& item : items) {
    for (const std::string& name : item.names)
      index.manifests.push_back(namedDescriptor(item, name));
    if (item.names.empty()) index.manifests.push_back(namedDescriptor(item, ""));
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

void addImage(Members& members, const Image& image) {
  addBlob(members, image.manifestDescriptor.digest);
  addBlob(members, image.id);
  for (const Descriptor& layer : image.manifest.layers) addBlob(members, layer.digest);
}

Members collectMembers(const std::vector<SaveItem>& items, ArchiveFormat format) {
  Members members;
  for (const SaveItem& item : items) {
    addImage(members, item.image);
    for (const Image& other : item.others) addImage(members, other);
    if (item.index) addBlob(members, item.index->digest);
    for (const Digest& document : item.documents) addBlob(members, document);
    if (item.index && format == ArchiveFormat::dockerArchive) {
      throw Error{Kind::unsupported, "a docker archive holds one platform only"}.hint(
          "write an OCI archive, or one docker archive for each platform");
    }
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
  for (std::uint64_t left = entry.size; left > 0;) {
    const size_t count = readFull(fd.get(), writer.space(), name);
    if (count == 0) throw Error::make(Kind::corrupt, "{} became shorter while it was saved", name);
    writer.advance(count);
    left -= count;
  }
}

// A layout that is there already: its index without the names that come now.
Index otherEntries(int folder, const std::vector<SaveItem>& items, const std::string& path) {
  const auto layout = fs::tryReadFile(folder, "oci-layout");
  const auto text = fs::tryReadFile(folder, "index.json");
  if (!layout || !text) {
    throw Error::make(Kind::exists, "the folder {} holds something that is no OCI layout", path)
        .hint("choose a new folder");
  }
  Index index = parseIndex(*text, path + "/index.json");
  std::set<std::string> coming;
  std::set<Digest> digests;
  for (const SaveItem& item : items) {
    coming.insert(item.names.begin(), item.names.end());
    digests.insert(namedDescriptor(item, "").digest);
  }
  std::erase_if(index.manifests, [&](const Descriptor& entry) {
    const auto name = entry.annotations.find(kRefName);
    return name == entry.annotations.end() ? digests.contains(entry.digest)
                                           : coming.contains(name->second);
  });
  return index;
}

void copyBlob(const Layout& layout, const Digest& digest, int folder, const std::string& name) {
  if (sys::tryFstatat(folder, name)) return;  // named by its content
  FdSource from{openBlob(layout, digest), name};
  const std::string part = "." + name + ".part";
  FdSink to{sys::openat(folder, part, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0644), name};
  try {
    copyAll(from, to);
    if (isDurable()) sys::fsync(to.fd().get(), name);
    to.fd().close(name);
    sys::renameat(folder, part, folder, name);
  } catch (...) {
    ::unlinkat(folder, part.c_str(), 0);  // a full disk wants its room back
    throw;
  }
}

}  // namespace

void saveArchive(const Layout& layout, const std::vector<SaveItem>& items, ArchiveFormat format,
                 Sink& sink) try {
  const StoreUse use{layout};
  const Members members = collectMembers(items, format);
  // Reading and writing at the same time.
  BlockPipe pipe{sink, BlockPipe::Mode::overlapped};
  TarWriter writer{pipe};
  writeFolder(writer, "blobs");
  writeFolder(writer, "blobs/sha256");
  for (const auto& [name, content] : members) writeMember(layout, writer, name, content);
  writer.finish();
  pipe.finish();
} catch (Error& error) {
  error.during("saving {} images", items.size());
  throw;
}

void saveDirectory(const Layout& layout, const std::vector<SaveItem>& items,
                   const std::string& path, Existing existing) try {
  const StoreUse use{layout};
  const Fd folder = fs::makeDirs(AT_FDCWD, path);
  Index others;
  if (!fs::list(folder.get()).empty()) {
    if (existing == Existing::refuse) {
      throw Error::make(Kind::exists, "the folder {} is not empty", path)
          .hint("choose a new folder");
    }
    others = otherEntries(folder.get(), items, path);
  }
  const Fd blobs = fs::makeDirs(folder.get(), "blobs/sha256");
  // index.json comes last: until then the folder is no layout.
  const Members members = collectMembers(items, ArchiveFormat::ociArchive);
  for (const auto& [name, content] : members) {
    if (content.blob) copyBlob(layout, *content.blob, blobs.get(), content.blob->hex());
  }
  fs::replaceFile(folder.get(), "oci-layout", members.at("oci-layout").text, 0644, fullSync());
  fs::replaceFile(folder.get(), "index.json", indexOf(items, std::move(others)), 0644, fullSync());
} catch (Error& error) {
  error.during("saving to {}", path);
  throw;
}

}  // namespace img::store
