// Where things lie in a store, and opening or creating one. The store root is a valid OCI image
// layout (image-spec image-layout.md); everything else in it is private. See the table in
// store/README.md.
#pragma once

#include <string>

#include "base/digest.h"
#include "base/fd.h"
#include "base/lock.h"

namespace img::store {

class Layout {
 public:
  // Opens ROOT, creating it (0700) when absent: oci-layout, index.json, blobs/sha256, layers,
  // ingest, cache/steps, cache/stat, containers, volumes, trash, locks, version. One open(2) and
  // one fstat when it is already there. Throws Kind::unsupported for a store of a newer version,
  // Kind::denied / failed with a hint otherwise.
  static Layout open(const std::string& root);

  const std::string& root() const { return root_; }  // absolute
  int fd() const { return rootFd_.get(); }
  std::string blobPath(const Digest& digest) const;   // relative to fd(): blobs/sha256/<hex>
  std::string layerPath(const Digest& diffId) const;  // layers/<hex>

  // Opened on first use, kept open.
  int blobs() const;
  int layers() const;
  int ingest() const;

  // Removes what dead processes left in ingest/ and trash/ (each entry's lock is free); cheap when
  // there is nothing.
  void recover() const;

 private:
  Layout() = default;
  std::string root_;
  Fd rootFd_;
  mutable Fd blobs_, layers_, ingest_;
};

// A private folder ingest/<random>, locked by this process for life (so that recover() of others
// skips it), removed by the destructor.
class [[nodiscard]] IngestDir {
 public:
  explicit IngestDir(const Layout& layout);
  IngestDir(IngestDir&& other) noexcept;
  IngestDir& operator=(IngestDir&&) = delete;
  ~IngestDir();
  const std::string& name() const { return name_; }       // relative to layout.ingest()
  std::string path() const { return "ingest/" + name_; }  // relative to layout.fd()
  int fd() const { return dir_.get(); }

 private:
  const Layout* layout_;
  std::string name_;
  Fd dir_;
  Fd lock_;
};

}  // namespace img::store
