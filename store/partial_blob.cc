#include "store/partial_blob.h"

#include <fcntl.h>
#include <sys/file.h>

#include "base/fs.h"
#include "base/log.h"
#include "base/sys.h"
#include "store/blobs.h"

namespace img::store {
namespace {

constexpr char kPartialFolder[] = "partial";  // Layout::recover() knows it

bool tryLock(int fd) {
  while (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) return false;
    if (errno != EINTR) throw Error::fromErrno(errno, "lock a download");
  }
  return true;
}

}  // namespace

PartialBlob::PartialBlob(const Layout& layout, const Digest& digest,
                         const std::function<void()>& onWait)
    : layout_(layout),
      digest_(digest),
      folder_(fs::makeDirs(layout.ingest(), kPartialFolder)),
      space_(folder_.get(), "write the download of " + digest.str()) {
  for (;;) {
    fd_ = sys::openat(folder_.get(), digest.hex(), O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
    if (!tryLock(fd_.get())) {
      if (onWait) onWait();
      sys::check([&] { return ::flock(fd_.get(), LOCK_EX); }, "lock the download of {}",
                 digest.str());
    }
    // Who had it before may have made it the blob, or removed it: then this is not its file.
    const struct stat own = sys::fstat(fd_.get());
    const auto named = sys::tryFstatat(folder_.get(), digest.hex());
    if (!named || named->st_ino != own.st_ino || !S_ISREG(own.st_mode)) continue;
    size_ = writtenBack_ = static_cast<std::uint64_t>(own.st_size);
    return;
  }
}

PartialBlob::~PartialBlob() {
  if (!fd_ || size_ > 0) return;
  try {
    sys::tryUnlinkat(folder_.get(), digest_.hex(), 0);
  } catch (const std::exception& error) {
    log::info("ingest/partial/{}: {}", digest_.hex(), error.what());
  }
}

void PartialBlob::append(std::span<const std::byte> bytes) try {
  constexpr std::uint64_t kPiece = 8 << 20;
  space_.use(bytes.size());
  size_t done = 0;
  while (done < bytes.size()) {
    done += static_cast<size_t>(sys::check(
        [&] {
          return ::pwrite(fd_.get(), bytes.data() + done, bytes.size() - done,
                          static_cast<off_t>(size_ + done));
        },
        "write the download of {}", digest_.str()));
  }
  size_ += bytes.size();
  if (!isDurable() || size_ - writtenBack_ < kPiece) return;
  // A hint, so that the fsync at the end is short; errors surface there, too.
  ::sync_file_range(fd_.get(), static_cast<off64_t>(writtenBack_),
                    static_cast<off64_t>(size_ - writtenBack_), SYNC_FILE_RANGE_WRITE);
  writtenBack_ = size_;
} catch (Error& error) {
  addSpaceHint(error, layout_);
  throw;
}

void PartialBlob::clear() {
  sys::ftruncate(fd_.get(), 0);
  size_ = writtenBack_ = 0;
}

void PartialBlob::sync() const {
  if (isDurable()) sys::fsync(fd_.get(), "the download of " + digest_.str());
}

void PartialBlob::publish() {
  adoptBlob(layout_, folder_.get(), digest_.hex(), digest_, size_);
  ::flock(fd_.get(), LOCK_UN);  // a process forked meanwhile would keep it by its descriptor
  fd_.close("a download");
}

}  // namespace img::store
