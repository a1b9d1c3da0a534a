#include "store/blobs.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "base/environment.h"
#include "base/interruption.h"
#include "base/log.h"
#include "base/sys.h"
#include "base/text.h"
#include "store/failpoint.h"
#include "store/lease.h"
#include "store/unsynced.h"

namespace img::store {
namespace {

constexpr std::uint64_t kDefaultDocumentLimit = 4U << 20;
// Of a blob that need not be cached: most layers are smaller, and are pushed or read next.
constexpr std::uint64_t kCachedBytes = 64U << 20;

std::string fileName(const Digest& digest) {
  return digest.hex();
}

[[noreturn]] void failMismatch(const Digest& expected, const Digest& actual, std::uint64_t size) {
  throw Error::make(Kind::corrupt, "the content does not have the digest {}", expected.str())
      .why(fmt::format("its {} bytes have the digest {}", size, actual.str()))
      .code("digest-mismatch");
}

[[noreturn]] void failDamaged(const Layout& layout, const Digest& expected, const Digest& actual,
                              std::uint64_t size) {
  throw Error::make(Kind::corrupt, "blob {} is damaged", expected.str())
      .why(fmt::format("the {} bytes of the file {}/{} have the digest {}", size,
                       text::escape(layout.root()), layout.blobPath(expected), actual.str()))
      .hint(
          "`img verify --repair` removes what it belongs to; then load, import or build that again")
      .code("digest-mismatch");
}

Error missing(const Digest& digest) {
  return Error::make(Kind::notFound, "blob {} is not in the store", digest.str());
}

// reliability.md S-1: the bytes are durable before the name is. Without fsync the write permission
// stays, and tells so (unsynced.h).
void sealFile(const Layout& layout, int fd, const std::string& what, bool isSynced) {
  if (!isSynced || !isDurable()) {
    noteUnsynced(layout, isDurable() ? Unsynced::blobs : Unsynced::names);
    return sys::fchmod(fd, 0644);
  }
  sys::fchmod(fd, 0444);
  failpoint("blobs.beforeFsync");
  sys::fsync(fd, what);
}

// The blob that is there already wins, unless its size is wrong. Its bytes are not read again: it
// was, or will be, synced or read once (unsynced.h), and what a disk does to it later `img verify`
// finds.
void publishFile(const Layout& layout, int dir, const std::string& file, const Digest& digest,
                 std::uint64_t size) {
  const std::string name = fileName(digest);
  pin(layout, digest);
  failpoint("blobs.beforeRename");
  if (sys::renameNoReplace(dir, file, layout.blobs(), name)) return failpoint("blobs.afterRename");
  const auto existing = sys::tryFstatat(layout.blobs(), name);
  if (existing && S_ISREG(existing->st_mode) &&
      static_cast<std::uint64_t>(existing->st_size) == size) {
    sys::tryUnlinkat(dir, file, 0);
    return;
  }
  log::info("replacing the damaged blob {}", digest.str());
  sys::renameat(dir, file, layout.blobs(), name);
}

}  // namespace

BlobWriter::BlobWriter(const Layout& layout, Caching caching)
    : layout_(layout), blocks_(-1), isCached_(caching == Caching::kept) {
  for (;;) {
    name_ = fs::randomHex(16);
    fd_ = sys::openat(layout.ingest(), name_, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
    // recover() of another process may have taken the file for litter before the lock was ours: try
    // again.
    if (sys::tryFlock(fd_.get(), true) && sys::fstat(fd_.get()).st_nlink == 1) break;
  }
  blocks_ = Preallocation{fd_.get()};
}

BlobWriter::~BlobWriter() {
  if (name_.empty()) return;
  try {
    sys::tryUnlinkat(layout_.ingest(), name_, 0);
  } catch (const std::exception& error) {
    log::info("ingest/{}: {}", name_, error.what());  // the next recover() removes it
  }
}

void BlobWriter::write(std::span<const std::byte> bytes) try {
  throwIfInterrupted();
  hasher_.start(bytes);
  blocks_.grow(size_, size_ + bytes.size());
  append(bytes);
  hasher_.wait();  // the bytes are the caller's again
  size_ += bytes.size();
  startWriteback(fd_.get(), size_, writtenBack_);
} catch (Error& error) {
  hasher_.wait();
  addSpaceHint(error, layout_);
  throw;
}

void BlobWriter::append(std::span<const std::byte> bytes) {
  if (!isCached_ && size_ >= kCachedBytes) {
    if (writeUncached(fd_.get(), bytes, "a blob")) return;
    isCached_ = true;
  }
  writeAll(fd_.get(), bytes, "a blob");
}

void startWriteback(int fd, std::uint64_t size, std::uint64_t& writtenBack) {
  constexpr std::uint64_t kPiece = 8 << 20;
  if (!isDurable() || size - writtenBack < kPiece) return;
  ::sync_file_range(fd, static_cast<off64_t>(writtenBack), static_cast<off64_t>(size - writtenBack),
                    SYNC_FILE_RANGE_WRITE);
  writtenBack = size;
}

Descriptor BlobWriter::commit(const std::string& mediaType, const std::optional<Digest>& expected,
                              Durability durability) try {
  const Digest digest = hasher_.finish();
  if (expected && *expected != digest) failMismatch(*expected, digest, size_);
  blocks_.trim(size_);
  sealFile(layout_, fd_.get(), "a blob", durability != Durability::withName);
  publishFile(layout_, layout_.ingest(), name_, digest, size_);
  name_.clear();
  fd_.close("a blob");
  if (durability == Durability::now) syncBlobs(layout_);
  Descriptor descriptor;
  descriptor.mediaType = mediaType;
  descriptor.digest = digest;
  descriptor.size = size_;
  return descriptor;
} catch (Error& error) {
  addSpaceHint(error, layout_);
  throw;
}

namespace {

// An unchanged rebuild makes the same documents again: reading one costs less than its fsync.
bool hasSameBlob(const Layout& layout, const Digest& digest, std::string_view bytes) {
  pin(layout, digest);
  const auto fd =
      sys::tryOpenat(layout.blobs(), fileName(digest), O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  if (!fd) return false;
  const struct stat st = sys::fstat(fd->get());
  const bool isSameSize =
      S_ISREG(st.st_mode) && static_cast<std::uint64_t>(st.st_size) == bytes.size();
  if (isSameSize && readAll(fd->get(), digest.str(), bytes.size()) == bytes) return true;
  log::info("replacing the damaged blob {}", digest.str());
  sys::tryUnlinkat(layout.blobs(), fileName(digest), 0);
  return false;
}

}  // namespace

namespace {

struct FileContent {
  const Digest& digest;
  std::uint64_t size;
};

void adoptFile(const Layout& layout, int dir, const std::string& file, const FileContent& content,
               BlobWriter::Durability durability) {
  const Fd fd = sys::openat(dir, file, O_RDONLY | O_NOFOLLOW);
  sealFile(layout, fd.get(), file, durability != BlobWriter::Durability::withName);
  publishFile(layout, dir, file, content.digest, content.size);
}

}  // namespace

Descriptor putBlob(const Layout& layout, std::string_view bytes, const std::string& mediaType,
                   BlobWriter::Durability durability) {
  const Digest digest = Digest::of(bytes);
  if (bytes.size() <= kDefaultDocumentLimit && hasSameBlob(layout, digest, bytes)) {
    if (durability == BlobWriter::Durability::now) syncBlobs(layout);
    return {mediaType, digest, bytes.size(), {}, {}, {}};
  }
  BlobWriter writer{layout};
  writer.write(asBytes(bytes));
  return writer.commit(mediaType, {}, durability);
}

void adoptBlob(const Layout& layout, const IngestDir& from, const std::string& file,
               const Digest& digest, std::uint64_t size, BlobWriter::Durability durability) {
  adoptFile(layout, from.fd(), file, {digest, size}, durability);
}

void adoptBlob(const Layout& layout, int dir, const std::string& file, const Digest& digest,
               std::uint64_t size) {
  adoptFile(layout, dir, file, {digest, size}, BlobWriter::Durability::later);
}

void syncBlobs(const Layout& layout) {
  if (isDurable()) sys::fsync(layout.blobs(), "blobs/sha256");
}

bool hasBlob(const Layout& layout, const Digest& digest) {
  pin(layout, digest);
  const auto st = sys::tryFstatat(layout.blobs(), fileName(digest));
  return st && S_ISREG(st->st_mode);
}

std::uint64_t blobSize(const Layout& layout, const Digest& digest) {
  const auto st = sys::tryFstatat(layout.blobs(), fileName(digest));
  if (!st) throw missing(digest);
  return static_cast<std::uint64_t>(st->st_size);
}

Fd openBlob(const Layout& layout, const Digest& digest) {
  auto fd = sys::tryOpenat(layout.blobs(), fileName(digest), O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  if (!fd) throw missing(digest);
  if (!S_ISREG(sys::fstat(fd->get()).st_mode)) {
    throw Error::make(Kind::corrupt, "blob {} is not a regular file", digest.str());
  }
  return std::move(*fd);
}

std::string readBlob(const Layout& layout, const Digest& digest, size_t limit) {
  const Fd fd = openBlob(layout, digest);
  std::string bytes = readAll(fd.get(), digest.str(), limit == 0 ? documentLimit() : limit);
  const Digest actual = Digest::of(bytes);
  if (actual != digest) failDamaged(layout, digest, actual, bytes.size());
  return bytes;
}

void checkBlob(const Layout& layout, const Digest& digest) {
  FdSource bytes{openBlob(layout, digest), digest.str()};
  HashingSource hashed{bytes};
  std::vector<std::byte> buffer(size_t{64} << 10);
  while (hashed.read(buffer) > 0) {
  }
  const Digest actual = hashed.digest();
  if (actual != digest) failDamaged(layout, digest, actual, hashed.size());
}

std::uint64_t limitFromEnvironment(const char* name, std::uint64_t fallback) {
  const std::string value = variableOrEmpty(name);
  if (value.empty()) return fallback;
  const auto number = text::parseUnsigned(value);
  if (!number) throw Error::make(Kind::usage, "{}={} is not a number", name, text::quote(value));
  return *number == 0 ? std::numeric_limits<std::uint64_t>::max() : *number;
}

size_t documentLimit() {
  return static_cast<size_t>(
      std::min<std::uint64_t>(limitFromEnvironment("IMG_LIMIT_JSON_BYTES", kDefaultDocumentLimit),
                              std::numeric_limits<std::int64_t>::max()));
}

}  // namespace img::store
