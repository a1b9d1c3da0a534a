// What refers to what in a store: documents to blobs and layers, and the roots that documents hang
// from: index.json, container records, step records of the build cache, live leases (lease.h). Read
// once and remembered: a blob never changes, and every other file is replaced, never changed in
// place, so that its inode and times tell whether it has to be read again. Nothing here pins.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/digest.h"
#include "store/layout.h"

namespace img::store {

using DigestSet = std::unordered_set<Digest>;

// What a document names.
struct Targets {
  std::vector<Digest> documents;  // manifests of an index, config, subject
  std::vector<Digest> layers;     // blobs that hold no document, bottom first
  std::vector<Digest> diffIds;    // of a config, bottom first
  std::optional<Digest> config;   // of a manifest; one of its documents
};

class Documents {
 public:
  explicit Documents(const Layout& layout) : layout_(layout) {}
  // Null when it is not in the store. Throws Kind::corrupt for one that is damaged.
  const Targets* find(const Digest& digest);
  // Null as well when it is no document at all: for a blob of which nothing is known.
  const Targets* tryFind(const Digest& digest);
  // What has been read of it; it may be gone by now.
  [[nodiscard]] const Targets* known(const Digest& digest) const;
  // Reads those of which nothing is known yet, on two threads where they are many. What is damaged
  // is left to find().
  void prefetch(const std::vector<Digest>& digests);
  // These and all documents below them.
  void prefetchTrees(std::vector<Digest> roots);

 private:
  const Layout& layout_;
  std::unordered_map<Digest, Targets> known_;
  DigestSet plain_;  // blobs that are no documents
};

// One file as it was read: the same as long as nobody has replaced it.
struct FileStamp {
  ino_t inode = 0;
  std::int64_t changed = 0;  // ctime, nanoseconds
  FileStamp() = default;
  explicit FileStamp(const struct stat& st);
  bool operator==(const FileStamp&) const = default;
};

// A step record (builder/cache.h), as far as it keeps something and shows in lists.
struct StepRecord {
  std::optional<Digest> blob, diffId;
  std::string instruction, created;
  std::int64_t lastUse = 0;  // mtime, seconds
  FileStamp stamp;
};

// The roots other than leases; refresh() reads what has changed since.
class Roots {
 public:
  explicit Roots(const Layout& layout) : layout_(layout) {}
  void refresh();
  [[nodiscard]] const std::vector<Digest>& manifests() const { return manifests_; }
  [[nodiscard]] const std::map<std::string, std::vector<Digest>>& containers() const {
    return containers_;  // id -> diff IDs
  }
  [[nodiscard]] const std::map<std::string, StepRecord>& steps() const { return steps_; }

 private:
  void refreshIndex();
  void refreshContainers();
  void refreshSteps();

  const Layout& layout_;
  std::vector<Digest> manifests_;  // of index.json, each once
  FileStamp index_;
  Fd indexFile_;  // kept open: its inode has no other file as long as it is
  std::map<std::string, std::vector<Digest>> containers_;
  std::map<std::string, StepRecord> steps_;
};

}  // namespace img::store
