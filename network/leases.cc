#include "network/leases.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

#include "base/fs.h"
#include "base/sys.h"
#include "base/text.h"

namespace img::network {
namespace {

constexpr size_t kLongestLease = 64 << 10;
constexpr size_t kLongestName = 253;  // RFC 1035, 2.3.4

struct flock wholeFile(short type) {
  struct flock lock {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  return lock;
}

// False: somebody else has a lock that stands against it.
bool tryLock(int file, short type) {
  struct flock lock = wholeFile(type);
  if (::fcntl(file, F_OFD_SETLK, &lock) == 0) return true;
  if (errno == EAGAIN || errno == EACCES) return false;
  throw Error::fromErrno(errno, "lock an address");
}

bool isLocked(int file) {
  struct flock lock = wholeFile(F_WRLCK);
  sys::check([&] { return ::fcntl(file, F_OFD_GETLK, &lock); }, "look at the lock of an address");
  return lock.l_type != F_UNLCK;
}

// A line each: the id, then the names.
std::string leaseText(const Tenant& tenant) {
  return tenant.id + "\n" + text::join(tenant.names, "\n") + "\n";
}

Tenant parseLease(Ipv4 address, const std::string& content) {
  Tenant tenant;
  tenant.address = address;
  std::vector<std::string> lines = text::split(content, '\n');
  tenant.id = lines.front();
  lines.erase(lines.begin());
  std::erase_if(lines, [](const std::string& line) { return !isHostName(line); });
  tenant.names = std::move(lines);
  return tenant;
}

// One write: a reader sees the old or the new content, or an empty file between.
void writeLease(int file, const Tenant& tenant) {
  sys::ftruncate(file, 0);
  const std::string content = leaseText(tenant);
  sys::check([&] { return ::pwrite(file, content.data(), content.size(), 0); }, "write a lease");
}

}  // namespace

bool isHostName(std::string_view name) {
  if (name.empty() || name.size() > kLongestName) return false;
  return std::all_of(name.begin(), name.end(), [](char c) {
    const bool isLetter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    return isLetter || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_';
  });
}

Lease::~Lease() {
  if (!file_) return;
  // The last one takes the names away at once; a holder that is killed leaves them without a lock.
  struct flock lock = wholeFile(F_WRLCK);
  if (::fcntl(file_.get(), F_OFD_SETLK, &lock) != 0) return;
  if (::ftruncate(file_.get(), 0) != 0) return;  // the lock is what counts
}

std::optional<Lease> Leases::tryTake(Ipv4 address, const Tenant& tenant) const {
  Fd file = sys::openat(folder_, address.str(), O_RDWR | O_CREAT, 0600);
  if (!tryLock(file.get(), F_WRLCK)) return std::nullopt;
  writeLease(file.get(), tenant);
  // Converting a lock of one's own never waits for others: nobody else has one.
  tryLock(file.get(), F_RDLCK);
  return Lease{address, std::move(file)};
}

Lease Leases::take(const Tenant& tenant) const {
  for (Ipv4 address = subnet_.first(); address <= subnet_.last(); ++address.value) {
    // Looked at without the right to write: closing that would wake every keeper (names.h).
    const auto known = sys::tryOpenat(folder_, address.str(), O_RDONLY);
    if (known && isLocked(known->get())) continue;
    if (auto lease = tryTake(address, tenant)) return std::move(*lease);
  }
  throw Error::make(Kind::failed, "no address is free in {}", subnet_.str())
      .code("addresses")
      .hint("stop a container, or choose a larger subnet with IMG_BRIDGE_SUBNET");
}

Lease Leases::takeAddress(Ipv4 address, const Tenant& tenant) const {
  if (!subnet_.canLease(address)) {
    throw Error::make(Kind::usage, "--ip: {} is not an address for containers of {}", address.str(),
                      subnet_.str())
        .hint(fmt::format("choose one from {} to {}", subnet_.first().str(), subnet_.last().str()));
  }
  if (auto lease = tryTake(address, tenant)) return std::move(*lease);
  Error error = Error::make(Kind::busy, "the address {} is in use", address.str());
  for (const Tenant& other : list()) {
    if (other.address == address && !other.names.empty()) {
      error.why(fmt::format("container {} has it", text::quote(other.names.front())));
    }
  }
  throw error.code("addresses");
}

std::optional<Lease> Leases::share(Ipv4 address) const {
  auto file = sys::tryOpenat(folder_, address.str(), O_RDWR);
  if (!file || !isLocked(file->get())) return std::nullopt;
  if (!tryLock(file->get(), F_RDLCK)) return std::nullopt;
  return Lease{address, std::move(*file)};
}

std::vector<Tenant> Leases::list() const {
  std::vector<Tenant> tenants;
  for (const fs::Entry& entry : fs::list(folder_)) {
    const auto address = Ipv4::parse(entry.name);
    if (!address || !subnet_.canLease(*address)) continue;
    const auto file = sys::tryOpenat(folder_, entry.name, O_RDONLY);
    if (!file || !isLocked(file->get())) continue;
    tenants.push_back(parseLease(*address, readAll(file->get(), "a lease", kLongestLease)));
  }
  std::sort(tenants.begin(), tenants.end(),
            [](const Tenant& a, const Tenant& b) { return a.address < b.address; });
  return tenants;
}

void Leases::rename(const Tenant& tenant) const {
  const auto file = sys::tryOpenat(folder_, tenant.address.str(), O_RDWR);
  if (!file || !isLocked(file->get())) return;
  const std::string now = readAll(file->get(), "a lease", kLongestLease);
  if (parseLease(tenant.address, now).id == tenant.id) writeLease(file->get(), tenant);
}

}  // namespace img::network
