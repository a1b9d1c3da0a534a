// Garbage: blobs and layers that nothing needs. Roots are index.json, container records (diff IDs),
// step records of the build cache (a layer and a diff ID) and live leases (lease.h), so that `rmi`
// frees an image's documents and what only it used, the next build still hits, and nobody who is at
// work loses what he has found.
//
// survey() reads documents and finds the dead without any lock. bury() takes locks/gc exclusively,
// looks at what has become a root since, and takes away what is still dead, at most kMaxSectionMs
// at a time: a small blob is unlinked, which takes no longer than a rename; large ones and views go
// to trash/, and are unlinked when the lock is free again. What refers goes before what it refers
// to: whoever finds a document between two sections finds all below it.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/lock.h"
#include "store/images.h"
#include "store/layout.h"
#include "store/references.h"

namespace img::store {

struct DeadObject {
  enum class Kind { document, blob, view };
  Kind kind = Kind::blob;
  Digest digest;                           // a view's diff ID
  int rank = 0;                            // of those that refer to it, plus one
  [[nodiscard]] std::string path() const;  // in the store
};

class Collector {
 public:
  // How long others may wait for their pins.
  static constexpr std::int64_t kMaxSectionMs = 100;

  explicit Collector(const Layout& layout) : layout_(layout), documents_(layout), roots_(layout) {}

  // Whether freed bytes are counted as allocated on the disk, folders of layers included; without,
  // sizes of blobs. Which layers went is not told then.
  void measure() { measures_ = true; }
  // What would be dead without them: entries of index.json, and keys of step records. Only for
  // surveys.
  void ignore(std::set<Digest> manifests, std::set<std::string> steps);

  // What was read of documents, for who asks before he collects.
  [[nodiscard]] Documents& documents() { return documents_; }

  // Waits for another collection to end. Several times by one collector: documents are read once.
  Images::Freed collect();

  // Its parts.
  void survey();
  [[nodiscard]] const std::vector<DeadObject>& dead() const { return dead_; }
  Images::Freed bury();

 private:
  struct Marks {
    DigestSet blobs, layers;
    std::vector<Digest> missing;   // documents that may still come
    std::vector<Digest> expected;  // pinned, and not there yet
  };
  void markAll();
  void markDocument(const Digest& digest);
  void markLoose(const Digest& digest);
  void addDead(int folder, DeadObject::Kind kind);
  void readDead();
  void rankDead();
  [[nodiscard]] bool isAlive(const DeadObject& object) const;
  struct Burial {
    bool isDone = false, isInTrash = false;
    std::uint64_t bytes = 0, diskBytes = 0;  // of a blob
  };
  [[nodiscard]] Burial buryOne(const DeadObject& object, int grave) const;
  void buryTurn(size_t count, int grave);
  bool burySome(int grave);
  void countFreed(Images::Freed& freed) const;

  const Layout& layout_;
  Documents documents_;
  Roots roots_;
  Marks marks_;
  std::vector<DeadObject> dead_;  // in the order in which they go
  size_t next_ = 0;
  std::vector<DeadObject> buried_;
  std::uint64_t blobBytes_ = 0;      // of those that were buried
  std::uint64_t unlinkedBytes_ = 0;  // on the disk, of those that did not go to trash/
  bool hasTrash_ = false;
  bool measures_ = false;
  std::set<Digest> ignoredManifests_;
  std::set<std::string> ignoredSteps_;
};

// Where a damaged document hides what is needed, nothing is freed, and a warning says so.
Images::Freed collectGarbage(const Layout& layout);
Images::Freed collectGarbage(Collector& collector);

}  // namespace img::store
