#include "store/gc.h"

#include <dirent.h>

#include <algorithm>
#include <ctime>
#include <nlohmann/json.hpp>
#include <set>

#include "base/log.h"
#include "base/sys.h"
#include "store/cache_records.h"
#include "store/json_reader.h"
#include "store/lease.h"

namespace img::store {
namespace {

constexpr long long kRecordLifetime = 30LL * 24 * 60 * 60;

struct Marks {
  std::set<Digest> blobs;
  std::set<Digest> layers;  // diff IDs
};

// A document a root refers to, and all it refers to. Artifacts and documents that we would not run
// are kept like any other: whatever has descriptors under these keys is followed.
void markDocument(const Layout& layout, const Descriptor& descriptor, Marks& marks) {
  std::vector<Descriptor> todo{descriptor};
  while (!todo.empty()) {
    const Descriptor current = todo.back();
    todo.pop_back();
    if (!marks.blobs.insert(current.digest).second) continue;
    const bool isDocument = isManifestType(current.mediaType) || isIndexType(current.mediaType) ||
                            isConfigType(current.mediaType);
    if (!isDocument || !hasBlob(layout, current.digest)) continue;
    const std::string origin = current.digest.str();
    const Json document = parseJson(readBlob(layout, current.digest), origin);
    const JsonReader reader{document, origin};
    const auto follow = [&](const JsonReader& item) {
      Descriptor next;
      next.digest = item.get("digest").digest();
      next.mediaType = item.stringOr("mediaType");
      todo.push_back(std::move(next));
    };
    for (const char* key : {"manifests", "layers", "blobs"}) {
      for (const JsonReader& item : reader.arrayOf(key)) follow(item);
    }
    for (const char* key : {"subject", "config"}) {
      const auto item = reader.find(key);
      if (item && item->has("digest")) follow(*item);
    }
    if (!isConfigType(current.mediaType)) continue;
    if (const auto rootfs = reader.find("rootfs")) {
      for (const JsonReader& diffId : rootfs->arrayOf("diff_ids"))
        marks.layers.insert(diffId.digest());
    }
  }
}

// Builder-owned files; one that cannot be read is no root: its step will be a cache miss.
void markCacheRecord(int folder, const std::string& name, Marks& marks) {
  try {
    const auto text = fs::tryReadFile(folder, name);
    if (!text) return;
    const Json document = parseJson(*text, name);
    const JsonReader record = JsonReader{document, name}.get("record");
    if (const auto layer = record.find("layer")) marks.blobs.insert(layer->get("digest").digest());
    if (const auto diffId = record.find("diff_id")) marks.layers.insert(diffId->digest());
  } catch (const Error& error) {
    log::info("cache/steps/{}", error.cause());
  }
}

Marks markAll(const Layout& layout) {
  Marks marks;
  for (const ImageRow& row : Images{layout}.list()) markDocument(layout, row.descriptor, marks);
  for (const Digest& diffId : readContainerUse(layout).diffIds) {
    marks.layers.insert(diffId);
    marks.blobs.insert(diffId);  // a layer stored uncompressed has its diff ID as digest
  }
  for (const Digest& digest : readLeases(layout)) {
    Descriptor pinned;
    pinned.digest = digest;
    pinned.mediaType = media::kManifest;
    marks.layers.insert(digest);
    try {
      markDocument(layout, pinned, marks);
    } catch (const Error&) {
      marks.blobs.insert(digest);  // no document
    }
  }
  if (const auto steps = sys::tryOpenat(layout.fd(), "cache/steps", O_RDONLY | O_DIRECTORY)) {
    for (const fs::Entry& entry : fs::list(steps->get())) {
      if (entry.type != DT_DIR) markCacheRecord(steps->get(), entry.name, marks);
    }
  }
  return marks;
}

// The diff IDs of layers whose blobs are going, as far as a dying manifest and its config tell.
// Only small blobs that begin like an object are looked at.
void collectDyingDiffIds(const Layout& layout, const Digest& digest, const Marks& marks,
                         std::set<Digest>& diffIds) {
  if (blobSize(layout, digest) > documentLimit()) return;
  char first = 0;
  const Fd fd = openBlob(layout, digest);
  if (preadFull(fd.get(), std::as_writable_bytes(std::span{&first, 1}), 0, "a blob") == 0 ||
      first != '{')
    return;
  try {
    const Manifest manifest = parseManifest(readBlob(layout, digest), digest.str());
    const ImageConfig config =
        parseConfig(readBlob(layout, manifest.config.digest), manifest.config.digest.str());
    const size_t count = std::min(config.diffIds.size(), manifest.layers.size());
    for (size_t i = 0; i < count; ++i) {
      if (!marks.blobs.contains(manifest.layers[i].digest)) diffIds.insert(config.diffIds[i]);
    }
  } catch (const Error&) {
    // Not a manifest, or one whose config is gone already: nothing to learn from it.
  }
}

std::vector<Digest> unmarked(int folder, const std::set<Digest>& marks) {
  std::vector<Digest> dead;
  for (const fs::Entry& entry : fs::listSorted(folder)) {
    const auto digest = Digest::tryParseHex(entry.name);
    if (digest && !marks.contains(*digest)) dead.push_back(*digest);
  }
  return dead;
}

// Renames the dead into one folder of trash/; that is quick, whatever their size.
Images::Freed bury(const Layout& layout, const Marks& marks, const std::string& grave) {
  Images::Freed freed;
  std::set<Digest> diffIds;
  const std::vector<Digest> blobs = unmarked(layout.blobs(), marks.blobs);
  const std::vector<Digest> layers = unmarked(layout.layers(), marks.layers);
  if (blobs.empty() && layers.empty()) return freed;
  for (const Digest& digest : blobs) collectDyingDiffIds(layout, digest, marks, diffIds);
  diffIds.insert(layers.begin(), layers.end());
  sys::mkdirat(layout.fd(), grave, 0700);
  const Fd trash = sys::openDirectory(layout.fd(), grave);
  for (const Digest& digest : blobs) {
    freed.bytes += blobSize(layout, digest);
    sys::renameat(layout.blobs(), digest.hex(), trash.get(), "blob-" + digest.hex());
  }
  for (const Digest& diffId : layers) {
    sys::renameat(layout.layers(), diffId.hex(), trash.get(), "layer-" + diffId.hex());
  }
  freed.layers.assign(diffIds.begin(), diffIds.end());
  return freed;
}

}  // namespace

Images::Freed collectGarbage(const Layout& layout) {
  const std::string grave = "trash/" + fs::randomHex(16);
  Images::Freed freed;
  {
    const auto lock = FileLock::tryAcquire(layout.fd(), "locks/gc", FileLock::Mode::exclusive);
    if (!lock) {
      log::info(
          "other commands are using the store: what is no longer needed stays until the next "
          "removal");
      return freed;
    }
    freed = bury(layout, markAll(layout), grave);
  }
  sweepCacheRecords(layout, ::time(nullptr) - kRecordLifetime);
  // From here on nobody can find the dead any more; unlinking them may take its time.
  fs::removeTree(layout.fd(), grave);
  return freed;
}

}  // namespace img::store
