#include "cli/mount_owner.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/fs.h"
#include "base/sys.h"
#include "base/text.h"

namespace img::cli {
namespace {

// With another owner in these nobody could log in any more, or everybody could. podman has nearly
// the same list (containers/common, pkg/chown).
constexpr std::string_view kSystemFolders[] = {
    "/",    "/bin",     "/boot",    "/dev",       "/etc", "/home",    "/lib",    "/lib64", "/media",
    "/mnt", "/opt",     "/proc",    "/root",      "/run", "/sbin",    "/srv",    "/sys",   "/tmp",
    "/usr", "/usr/bin", "/usr/lib", "/usr/local", "/var", "/var/lib", "/var/log"};

void refuseSystemFolder(const Fd& source) {
  const std::string path = sys::readlinkat(AT_FDCWD, sys::procPath(source.get()));
  const bool isSystem = std::find(std::begin(kSystemFolders), std::end(kSystemFolders), path) !=
                            std::end(kSystemFolders) ||
                        path.starts_with("/proc/") || path.starts_with("/sys/") ||
                        path.starts_with("/dev/");
  if (!isSystem) return;
  throw Error::make(Kind::denied, "{} is not given to the user of a container", text::quote(path))
      .hint("mount a folder below it, or leave the option U out");
}

// A name in `folder`, or with an empty name what the descriptor itself stands for.
void give(int folder, const std::string& name, const struct stat& st, uid_t uid, gid_t gid) {
  if (st.st_uid == uid && st.st_gid == gid) return;  // chown(2) would take set-user-id bits away
  const int flags = AT_SYMLINK_NOFOLLOW | (name.empty() ? AT_EMPTY_PATH : 0);
  if (::fchownat(folder, name.c_str(), uid, gid, flags) == 0 || errno == ENOENT) return;
  throw Error::fromErrno(errno, fmt::format("give {} to {}:{}", text::quote(name), uid, gid));
}

void giveBelow(int folder, dev_t device, uid_t uid, gid_t gid) {
  for (const fs::Entry& entry : fs::list(folder)) {
    const auto st = sys::tryFstatat(folder, entry.name);
    if (!st || st->st_dev != device) continue;
    if (S_ISDIR(st->st_mode)) {
      const auto below = sys::tryOpenat(folder, entry.name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
      if (below && sys::fstat(below->get()).st_dev == device) {
        giveBelow(below->get(), device, uid, gid);
      }
    }
    give(folder, entry.name, *st, uid, gid);
  }
}

}  // namespace

void giveMountSource(const Fd& source, uid_t uid, gid_t gid) {
  refuseSystemFolder(source);
  const struct stat st = sys::fstat(source.get());
  if (S_ISDIR(st.st_mode)) {
    giveBelow(sys::openDirectory(source.get(), ".").get(), st.st_dev, uid, gid);
  }
  give(source.get(), "", st, uid, gid);
}

}  // namespace img::cli
