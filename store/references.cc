#include "store/references.h"

#include <dirent.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/fs.h"
#include "base/log.h"
#include "base/sys.h"
#include "store/blobs.h"
#include "store/index_text.h"
#include "store/json_reader.h"
#include "store/oci.h"
#include "store/share_work.h"

namespace img::store {
namespace {

constexpr size_t kMaxIndexBytes = size_t{256} << 20;
constexpr size_t kReadAtOnce = size_t{16} << 10;  // hardly a document is longer

bool isDocumentType(const std::string& mediaType) {
  return isManifestType(mediaType) || isIndexType(mediaType) || isConfigType(mediaType);
}

// Artifacts and documents that we would not run are kept like any other: whatever has descriptors
// under these keys is followed.
Targets targetsOf(const JsonReader& reader) {
  Targets targets;
  const auto follow = [&](const JsonReader& item) {
    const bool isDocument = isDocumentType(item.stringOr("mediaType"));
    (isDocument ? targets.documents : targets.layers).push_back(item.get("digest").digest());
  };
  for (const char* key : {"manifests", "layers", "blobs"}) {
    for (const JsonReader& item : reader.arrayOf(key)) follow(item);
  }
  for (const char* key : {"subject", "config"}) {
    const auto item = reader.find(key);
    if (item && item->has("digest")) follow(*item);
  }
  if (const auto config = reader.find("config")) {
    if (config->has("digest") && isConfigType(config->stringOr("mediaType")))
      targets.config = config->get("digest").digest();
  }
  if (const auto rootfs = reader.find("rootfs")) {
    for (const JsonReader& diffId : rootfs->arrayOf("diff_ids"))
      targets.diffIds.push_back(diffId.digest());
  }
  return targets;
}

Targets parseTargets(const std::string& text, const Digest& digest) {
  const std::string origin = digest.str();
  const Json document = parseJson(text, origin);
  return targetsOf(JsonReader{document, origin});
}

// A blob of which nothing is known: what it names if it is a document.
struct Look {
  bool isThere = false;
  std::optional<Targets> targets;
};

// Only small blobs that begin like an object are looked at. By two threads at once, so that nothing
// is logged.
Look lookAt(const Layout& layout, const Digest& digest) {
  Look look;
  const auto fd = sys::tryOpenat(layout.blobs(), digest.hex(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  if (!fd) return look;
  look.isThere = true;
  const struct stat st = sys::fstat(fd->get());
  if (!S_ISREG(st.st_mode) || static_cast<size_t>(st.st_size) > documentLimit()) return look;
  const auto size = static_cast<size_t>(st.st_size);
  std::string text(std::min(size, kReadAtOnce), '\0');
  text.resize(preadFull(fd->get(), std::as_writable_bytes(std::span{text}), 0, "a blob"));
  if (!text.starts_with('{')) return look;
  try {
    if (size > text.size()) text = readAll(fd->get(), digest.str(), documentLimit());
    if (Digest::of(text) == digest) look.targets = parseTargets(text, digest);
  } catch (const Error&) {  // a layer's file that looks like one
  }
  return look;
}

// Builder-owned files; one that cannot be read is no root: its step will be a cache miss.
std::optional<StepRecord> readStep(int folder, const std::string& name) {
  try {
    const auto text = fs::tryReadFile(folder, name);
    if (!text) return std::nullopt;
    const Json document = parseJson(*text, name);
    const JsonReader record = JsonReader{document, name}.get("record");
    StepRecord step;
    if (const auto layer = record.find("layer")) step.blob = layer->get("digest").digest();
    if (const auto diffId = record.find("diff_id")) step.diffId = diffId->digest();
    step.instruction = record.stringOr("instruction");
    step.created = record.stringOr("created");
    return step;
  } catch (const Error& error) {
    log::info("cache/steps/{}", error.cause());
    return StepRecord{};
  }
}

std::vector<Digest> readContainer(int folder, const std::string& name) {
  std::vector<Digest> diffIds;
  const std::string path = name + "/config.json";
  try {
    const auto text = fs::tryReadFile(folder, path);
    if (!text) return diffIds;
    const Json document = parseJson(*text, path);
    for (const JsonReader& diffId : JsonReader{document, path}.arrayOf("diffIds"))
      diffIds.push_back(diffId.digest());
  } catch (const Error& error) {
    log::info("containers/{}", error.cause());
  }
  return diffIds;
}

}  // namespace

FileStamp::FileStamp(const struct stat& st)
    : inode(st.st_ino),
      changed(std::int64_t{st.st_ctim.tv_sec} * 1'000'000'000 + st.st_ctim.tv_nsec) {}

const Targets* Documents::find(const Digest& digest) {
  if (const auto known = known_.find(digest); known != known_.end()) return &known->second;
  try {
    return &known_.emplace(digest, parseTargets(readBlob(layout_, digest), digest)).first->second;
  } catch (const Error& error) {
    if (error.kind() != Kind::notFound) throw;
    return nullptr;  // of another platform, or another collection has just taken it away
  }
}

const Targets* Documents::known(const Digest& digest) const {
  const auto found = known_.find(digest);
  return found == known_.end() ? nullptr : &found->second;
}

const Targets* Documents::tryFind(const Digest& digest) {
  if (plain_.contains(digest)) return nullptr;
  if (const auto known = known_.find(digest); known != known_.end()) return &known->second;
  Look look = lookAt(layout_, digest);
  if (look.targets) return &known_.emplace(digest, std::move(*look.targets)).first->second;
  if (look.isThere) plain_.insert(digest);
  return nullptr;
}

void Documents::prefetch(const std::vector<Digest>& digests) {
  std::vector<Digest> todo;
  DigestSet seen;
  for (const Digest& digest : digests) {
    const bool isNew = !known_.contains(digest) && !plain_.contains(digest);
    if (isNew && seen.insert(digest).second) todo.push_back(digest);
  }
  std::vector<Look> looks(todo.size());
  shareWork(todo.size(), [&](size_t i) {
    try {
      looks[i] = lookAt(layout_, todo[i]);
    } catch (const Error&) {  // not even opened: who asks for it is told
    }
  });
  for (size_t i = 0; i < todo.size(); ++i) {
    if (looks[i].targets) {
      known_.emplace(todo[i], std::move(*looks[i].targets));
    } else if (looks[i].isThere) {
      plain_.insert(todo[i]);
    }
  }
}

void Documents::prefetchTrees(std::vector<Digest> roots) {
  DigestSet seen;
  while (!roots.empty()) {
    prefetch(roots);
    std::vector<Digest> below;
    for (const Digest& root : roots) {
      const Targets* targets = known(root);
      if (targets == nullptr || !seen.insert(root).second) continue;
      below.insert(below.end(), targets->documents.begin(), targets->documents.end());
    }
    roots = std::move(below);
  }
}

void Roots::refresh() {
  refreshIndex();
  refreshContainers();
  refreshSteps();
}

void Roots::refreshIndex() {
  Fd file = sys::openat(layout_.fd(), "index.json", O_RDONLY | O_NOFOLLOW);
  const FileStamp stamp{sys::fstat(file.get())};
  if (indexFile_ && stamp == index_) return;
  const auto index = parseIndexOnce(readAll(file.get(), "index.json", kMaxIndexBytes),
                                    layout_.root() + "/index.json");
  manifests_.clear();
  DigestSet seen;
  for (const Descriptor& entry : index->manifests) {
    if (seen.insert(entry.digest).second) manifests_.push_back(entry.digest);
  }
  index_ = stamp;
  indexFile_ = std::move(file);
}

// A record is complete when its folder appears, and its layers never change.
void Roots::refreshContainers() {
  const Fd folder = sys::openDirectory(layout_.fd(), "containers");
  std::map<std::string, std::vector<Digest>> now;
  for (const fs::Entry& entry : fs::list(folder.get())) {
    if (entry.name.starts_with('.')) continue;
    const auto known = containers_.find(entry.name);
    now.emplace(entry.name, known != containers_.end() ? known->second
                                                       : readContainer(folder.get(), entry.name));
  }
  containers_ = std::move(now);
}

void Roots::refreshSteps() {
  const auto folder = sys::tryOpenat(layout_.fd(), "cache/steps", O_RDONLY | O_DIRECTORY);
  std::map<std::string, StepRecord> now;
  if (!folder) return steps_.swap(now);
  for (const fs::Entry& entry : fs::list(folder->get())) {
    if (entry.name.find(".tmp-") != std::string::npos) continue;  // being written
    const auto st = sys::tryFstatat(folder->get(), entry.name);
    if (!st || !S_ISREG(st->st_mode)) continue;
    const FileStamp stamp{*st};
    const auto known = steps_.find(entry.name);
    std::optional<StepRecord> step;
    if (known != steps_.end() && known->second.stamp == stamp) {
      step = std::move(known->second);
    } else {
      step = readStep(folder->get(), entry.name);
    }
    if (!step) continue;
    step->stamp = stamp;
    step->lastUse = st->st_mtim.tv_sec;
    now.emplace(entry.name, std::move(*step));
  }
  steps_ = std::move(now);
}

}  // namespace img::store
