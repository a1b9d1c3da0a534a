// Where things lie in a store, and opening or creating one. The store root is a valid OCI image
// layout (image-spec image-layout.md); everything else in it is private. See the table in
// store/README.md.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/digest.h"
#include "base/error.h"
#include "base/fd.h"
#include "base/fs.h"
#include "base/lock.h"

namespace img::store {

class Lease;

class Layout {
 public:
  // Opens ROOT, creating it (0700) when absent: oci-layout, index.json, blobs/sha256, layers,
  // ingest, cache/steps, cache/stat, containers, volumes, trash, locks, version. A store that is
  // already there costs two open(2) and one read(2). An OCI layout that another tool wrote becomes
  // a store; a folder that holds anything else is refused. Throws Kind::unsupported for a store of
  // a newer version, Kind::denied / failed with a hint otherwise.
  static Layout open(const std::string& root);

  const std::string& root() const { return root_; }  // absolute
  int fd() const { return rootFd_.get(); }
  std::string blobPath(const Digest& digest) const;   // relative to fd(): blobs/sha256/<hex>
  std::string layerPath(const Digest& diffId) const;  // layers/<hex>

  // Opened on first use, kept open.
  int blobs() const;
  int layers() const;
  int ingest() const;

  // Removes what dead processes left in ingest/ (each entry's lock is free), leases/ and trash/;
  // three folders are read when there is nothing to do, and large trees are left to a process of
  // their own (remover.h). Unfinished downloads (ingest/partial) stay
  // for a day while their blob is missing. Containers::recover() does the same for containers.
  void recover() const;

  // What this process has said it relies on (lease.h); null without a StoreUse.
  [[nodiscard]] std::shared_ptr<Lease> lease() const { return lease_.lock(); }
  void setLease(const std::shared_ptr<Lease>& lease) const { lease_ = lease; }

 private:
  Layout() = default;
  std::string root_;
  Fd rootFd_;
  mutable Fd blobs_, layers_, ingest_;
  mutable std::weak_ptr<Lease> lease_;
};

// Whether fsync is wanted: false with IMG_DURABILITY=fast (scratch machines; reliability.md G2).
bool isDurable();
// What a name or record written now should ask of fs::replaceFile.
fs::Sync fullSync();
// Identifies this boot: what was written without fsync under another one is not trusted.
const std::string& bootId();
// What is left on the file system of the store.
struct Room {
  std::uint64_t bytes = 0;
  std::optional<std::uint64_t> inodes;  // nullopt: the file system makes them as they are needed
  std::string fileSystem;               // "ext4"; "" when it is none of the usual ones
};
Room roomOf(const Layout& layout);
// Adds how much room is left to an error that says the disk is full (code "no-space"); to be called
// while what has filled it is still there.
void addSpaceHint(Error& error, const Layout& layout);

// Held for its whole run by every process that makes objects or relies on objects it has found:
// build, run, load, import, commit, save. While one lives, the store's functions that find or make
// a blob or a layer pin it (lease.h): no collection takes it. One inside another is part of that
// one.
class [[nodiscard]] StoreUse {
 public:
  explicit StoreUse(const Layout& layout);

 private:
  std::shared_ptr<Lease> lease_;
};

// A private folder ingest/<random>, locked (flock on the folder itself) by this process for life,
// so that recover() of others skips it; removed by the destructor.
class [[nodiscard]] IngestDir {
 public:
  explicit IngestDir(const Layout& layout);
  IngestDir(IngestDir&& other) noexcept;
  IngestDir(const IngestDir&) = delete;
  IngestDir& operator=(IngestDir&&) = delete;
  IngestDir& operator=(const IngestDir&) = delete;
  ~IngestDir();
  [[nodiscard]] const std::string& name() const { return name_; }  // relative to layout.ingest()
  [[nodiscard]] std::string path() const { return "ingest/" + name_; }  // relative to layout.fd()
  [[nodiscard]] int fd() const { return dir_.get(); }
  // The folder was renamed away: nothing is left to remove.
  void release() { name_.clear(); }

 private:
  const Layout* layout_;
  std::string name_;
  Fd dir_;
};

}  // namespace img::store
