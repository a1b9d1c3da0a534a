#include "store/lease.h"

#include <sys/file.h>
#include <unistd.h>

#include <array>

#include "base/fs.h"
#include "base/log.h"
#include "base/sys.h"
#include "base/text.h"
#include "store/failpoint.h"

namespace img::store {
namespace {

constexpr char kFolder[] = "leases";
constexpr char kGate[] = "locks/gc";

// The gate for one write: collections are short and few, so this hardly ever waits.
class Passage {
 public:
  explicit Passage(int gate) : gate_(gate) {
    sys::check([&] { return ::flock(gate_, LOCK_SH); }, "lock {}", kGate);
  }
  Passage(const Passage&) = delete;
  Passage& operator=(const Passage&) = delete;
  ~Passage() { ::flock(gate_, LOCK_UN); }

 private:
  int gate_;
};

// Another process's store, or one on a read-only file system: nothing can be removed there, or
// nothing can be done about it.
bool isNotForWriting(const Error& error) {
  return error.errnum() == EROFS || error.errnum() == EACCES;
}

}  // namespace

Lease::~Lease() {
  // A child that ends by leaving its scopes does not end what its parent still has.
  if (name_.empty() || owner_ != ::getpid()) return;
  try {
    sys::tryUnlinkat(root_, name_, 0);
  } catch (const std::exception& error) {
    log::info("{}: {}", name_, error.what());  // its lock goes with us: the next one removes it
  }
}

bool Lease::open() {
  if (file_) return true;
  if (isReadOnly_) return false;
  try {
    for (;;) {
      const std::string name = std::string{kFolder} + "/" + fs::randomHex(16);
      constexpr int kFlags = O_WRONLY | O_APPEND | O_CREAT | O_EXCL | O_NOFOLLOW;
      auto file = sys::tryOpenat(root_, name, kFlags, 0600);
      if (!file) {
        sys::tryMkdirat(root_, kFolder, 0700);
        continue;
      }
      // Somebody may have taken it for a dead one's before the lock was ours: try again.
      if (!sys::tryFlock(file->get(), true) || sys::fstat(file->get()).st_nlink == 0) continue;
      file_ = std::move(*file);
      name_ = name;
      owner_ = ::getpid();
      return true;
    }
  } catch (const Error& error) {
    if (!isNotForWriting(error)) throw;
    isReadOnly_ = true;
    return false;
  }
}

void Lease::begin() {
  const std::lock_guard guard{mutex_};
  open();
}

void Lease::append(const std::string& lines) {
  if (!gate_ || gateOwner_ != ::getpid()) {
    gate_ = sys::openat(root_, kGate, O_RDWR | O_CREAT, 0600);
    gateOwner_ = ::getpid();
  }
  const Passage passage{gate_.get()};
  writeAll(file_.get(), lines, name_);
}

void Lease::pin(std::span<const Digest> digests) {
  const std::lock_guard guard{mutex_};
  std::string lines;
  for (const Digest& digest : digests) {
    if (!pinned_.contains(digest)) lines += digest.hex() + "\n";
  }
  if (lines.empty() || !open()) return;
  append(lines);
  pinned_.insert(digests.begin(), digests.end());
  failpoint("lease.pinned");
}

void pin(const Layout& layout, std::span<const Digest> digests) {
  if (const auto lease = layout.lease()) lease->pin(digests);
}

void pin(const Layout& layout, const Digest& digest) {
  pin(layout, std::span{&digest, 1});
}

void pin(const Layout& layout, const Digest& first, const Digest& second) {
  pin(layout, std::array{first, second});
}

std::set<Digest> readLeases(const Layout& layout) {
  std::set<Digest> pinned;
  const auto folder = sys::tryOpenat(layout.fd(), kFolder, O_RDONLY | O_DIRECTORY);
  if (!folder) return pinned;
  for (const fs::Entry& entry : fs::list(folder->get())) {
    const auto file = sys::tryOpenat(folder->get(), entry.name, O_RDONLY | O_NOFOLLOW);
    if (!file) continue;  // it has just ended: what it made has its names by now
    if (sys::tryFlock(file->get(), true)) {
      sys::tryUnlinkat(folder->get(), entry.name, 0);
      continue;
    }
    for (const std::string& line : text::split(readAll(file->get(), entry.name), '\n')) {
      if (const auto digest = Digest::tryParseHex(line)) pinned.insert(*digest);
    }
  }
  return pinned;
}

StoreUse::StoreUse(const Layout& layout) : lease_(layout.lease()) {
  if (lease_) return;  // of a caller, whose it is to end it
  lease_ = std::make_shared<Lease>(layout.fd());
  lease_->begin();
  layout.setLease(lease_);
}

}  // namespace img::store
