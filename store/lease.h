// Leases: what a living process relies on before any name, container or cache record says so.
// leases/<random> is locked (flock) by its owner for life and lists, one per line, the digests of
// blobs and layers that it has found or made; a pinned document keeps all it refers to. The
// collector (gc.h) takes them for roots, and removes those whose lock is free.
//
// A digest is written down under locks/gc, shared, for the few microseconds of that write, and only
// afterwards is looked for: whoever then finds the object has it until the lease ends, and whoever
// comes too late finds nothing (reliability.md 4). What is made is pinned before it gets its name.
#pragma once

#include <mutex>
#include <set>
#include <span>
#include <string>

#include "base/digest.h"
#include "base/fd.h"
#include "store/layout.h"

namespace img::store {

// One per process and store, made by StoreUse; forked children write into their parent's.
class Lease {
 public:
  explicit Lease(int root) : root_(root) {}
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;
  ~Lease();  // ends it

  // Before anything is pinned: children that are forked from now on pin for this process.
  void begin();
  void pin(std::span<const Digest> digests);

 private:
  bool open();  // false: a store that cannot be written to
  void append(const std::string& lines);

  int root_;  // of a Layout, which lives longer
  std::mutex mutex_;
  std::set<Digest> pinned_;  // guarded by mutex_, as all below
  std::string name_;
  Fd file_, gate_;
  int gateOwner_ = 0;  // a lock of a descriptor from before a fork is the parent's
  int owner_ = 0;
  bool isReadOnly_ = false;
};

// Pins for the process's lease; nothing happens without a StoreUse.
void pin(const Layout& layout, std::span<const Digest> digests);
void pin(const Layout& layout, const Digest& digest);
void pin(const Layout& layout, const Digest& first, const Digest& second);

// For the collector, which holds locks/gc exclusively: what living processes have pinned; the
// leases of dead ones are removed.
std::set<Digest> readLeases(const Layout& layout);

}  // namespace img::store
