// Blobs: immutable byte strings under blobs/sha256/<hex> (OCI image-spec, image-layout.md).
// Written in ingest/, hashed on the way, fsynced, then renamed into place with the directory
// fsynced after it: a reader sees a whole blob or none, and a crash leaves only ingest/ litter.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "base/digest.h"
#include "base/fd.h"
#include "base/preallocation.h"
#include "base/stream.h"
#include "store/layout.h"
#include "store/oci.h"
#include "store/side_hasher.h"

namespace img::store {

class BlobWriter final : public Sink {
 public:
  enum class Caching {
    kept,
    // Nobody reads it soon: of a large blob only the begin stays in the page cache. The rest passes
    // through the same few pages, which is faster than taking a fresh one for each.
    dropped
  };
  explicit BlobWriter(const Layout& layout, Caching caching = Caching::kept);
  BlobWriter(const BlobWriter&) = delete;
  BlobWriter& operator=(const BlobWriter&) = delete;
  ~BlobWriter() override;  // removes the ingest file unless commit() published it
  void write(std::span<const std::byte> bytes) override;
  // Bytes already written so far.
  [[nodiscard]] std::uint64_t size() const { return size_; }

  enum class Durability {
    now,
    later,    // the caller calls syncBlobs() before the name is stored
    withName  // nor are the bytes synced: who stores a name does it (unsynced.h)
  };
  // Makes the blob visible. Throws Kind::corrupt when `expected` does not match.
  // A blob the store already has is kept, and this copy dropped: committing twice is fine.
  Descriptor commit(const std::string& mediaType, const std::optional<Digest>& expected = {},
                    Durability durability = Durability::now);

 private:
  void append(std::span<const std::byte> bytes);

  const Layout& layout_;
  std::string name_;
  Fd fd_;
  SideHasher hasher_;  // beside the writing
  Preallocation blocks_;
  std::uint64_t size_ = 0;
  std::uint64_t writtenBack_ = 0;  // bytes whose writing to the disk was started
  bool isCached_;                  // whatever its size
};

// One small document.
Descriptor putBlob(const Layout& layout, std::string_view bytes, const std::string& mediaType,
                   BlobWriter::Durability durability = BlobWriter::Durability::now);

// Turns a finished file of an IngestDir, whose digest and size the caller has computed while
// writing it, into a blob by rename. The file is made read-only and its bytes durable, if not
// `withName`; the caller syncs the folder.
void adoptBlob(const Layout& layout, const IngestDir& from, const std::string& file,
               const Digest& digest, std::uint64_t size,
               BlobWriter::Durability durability = BlobWriter::Durability::later);
// The same for a file of a folder of the store's that is open as `dir`.
void adoptBlob(const Layout& layout, int dir, const std::string& file, const Digest& digest,
               std::uint64_t size);
// Starts the disk on what of a growing file of `size` bytes it has not been given, so that the sync
// at the end is short. A hint: what it does not achieve, the sync does, and errors surface there,
// too.
void startWriteback(int fd, std::uint64_t size, std::uint64_t& writtenBack);
// Makes the names of all blobs committed with Durability::later durable: one fsync of the folder.
void syncBlobs(const Layout& layout);

// A blob that is there stays as long as this process has a StoreUse (lease.h).
bool hasBlob(const Layout& layout, const Digest& digest);
std::uint64_t blobSize(const Layout& layout, const Digest& digest);  // throws Kind::notFound
Fd openBlob(const Layout& layout, const Digest& digest);             // throws Kind::notFound
// A document: read whole and re-hashed (M4). Throws Kind::corrupt with code "digest-mismatch".
// `limit` 0: IMG_LIMIT_JSON_BYTES, 4 MiB unless set (security.md L1).
std::string readBlob(const Layout& layout, const Digest& digest, size_t limit = 0);
// One of any size: throws as readBlob does when its bytes are not what its name says.
void checkBlob(const Layout& layout, const Digest& digest);

// The limit NAME of security.md L1 from the environment; 0 there means none.
std::uint64_t limitFromEnvironment(const char* name, std::uint64_t fallback);
size_t documentLimit();

}  // namespace img::store
