#include "runtime/namespaces.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/magic.h>
#include <linux/mount.h>
#include <linux/nsfs.h>
#include <linux/sched.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/own_namespace.h"
#include "base/process.h"
#include "base/sys.h"
#include "base/text.h"
#include "runtime/mounts.h"
#include "runtime/privileges.h"

namespace img::runtime {
namespace {

constexpr long kPipeMagic = 0x50495045;  // PIPEFS_MAGIC, linux/magic.h

bool isJoined(const Namespace& one) {
  return one.from == Namespace::From::other;
}

bool hasTimeOffsets(const Spec& spec) {
  return spec.monotonicOffset || spec.boottimeOffset;
}

void join(const Namespace& one, int type, const char* what) {
  if (isJoined(one)) sys::setns(one.fd, type, what);
}

// The kernel takes the offsets until the first process is in the namespace (time_namespaces(7)).
void makeTimeNamespace(const Spec& spec) {
  sys::unshare(CLONE_NEWTIME);
  std::string text;
  if (spec.monotonicOffset) text += fmt::format("monotonic {} 0\n", *spec.monotonicOffset);
  if (spec.boottimeOffset) text += fmt::format("boottime {} 0\n", *spec.boottimeOffset);
  const Fd file = sys::openat(AT_FDCWD, "/proc/self/timens_offsets", O_WRONLY);
  try {
    writeAll(file.get(), text, "the offsets of the clocks");
  } catch (Error& error) {
    // The clock would start before zero, or pass the end of what the kernel can count.
    if (error.errnum() == ERANGE) error.why("a clock of the container would be out of its range");
    throw;
  }
}

std::string mapText(const std::vector<IdRange>& ranges) {
  std::string text;
  for (const IdRange& range : ranges) {
    text += fmt::format("{} {} {}\n", range.inside, range.outside, range.count);
  }
  return text;
}

// One write with all lines; the kernel takes no second one (user_namespaces(7)).
void writeMap(pid_t pid, const char* file, const std::vector<IdRange>& ranges) {
  const Fd map = sys::openat(AT_FDCWD, fmt::format("/proc/{}/{}", pid, file), O_WRONLY);
  const std::string text = mapText(ranges);
  if (::write(map.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size())) return;
  const int errnum = errno;
  Error error = Error::fromErrno(errnum, "map the ids of the container");
  error.code("idmap");
  if (errnum == EPERM) {
    error.why(fmt::format("{}: an outside id is none that this user may give away",
                          text::join(text::split(std::string{text::trim(text)}, '\n'), ", ")));
    error.hint("`img doctor` shows which ids there are");
  } else if (errnum == EINVAL) {
    error.why("two ranges overlap, or there are more than the kernel takes (340)");
  }
  throw error;
}

// What 0 inside is outside, by a line of /proc/PID/uid_map read in our own namespace.
unsigned outsideOfZero(pid_t pid, const char* file) {
  const std::string map = fs::readFile(AT_FDCWD, fmt::format("/proc/{}/{}", pid, file));
  for (const std::string& line : text::split(map, '\n')) {
    std::vector<std::string> numbers = text::split(line, ' ');
    std::erase(numbers, "");
    if (numbers.size() == 3 && numbers[0] == "0") {
      return static_cast<unsigned>(text::parseUnsigned(numbers[1]).value_or(0));
    }
  }
  return 0;
}

}  // namespace

std::uint64_t namespaceFlags(const Spec& spec, bool hasCgroup) {
  using From = Namespace::From;
  std::uint64_t flags = CLONE_NEWNS;
  if (spec.userNamespace.isOwn()) flags |= CLONE_NEWUSER;
  if (spec.pid.from == From::own) flags |= CLONE_NEWPID;
  if (spec.ipc.from == From::own) flags |= CLONE_NEWIPC;
  if (spec.uts.from == From::own) flags |= CLONE_NEWUTS;
  if (spec.network == Network::none) flags |= CLONE_NEWNET;
  // With a cgroup of its own the child makes the cgroup namespace after it has moved in.
  if (!hasCgroup && spec.cgroup.from == From::own) flags |= CLONE_NEWCGROUP;
  return flags;
}

bool needsJoiner(const Spec& spec) {
  const bool joins = isJoined(spec.ipc) || isJoined(spec.uts) || spec.network == Network::join;
  return isJoined(spec.pid) || hasTimeOffsets(spec) || spec.userNamespace.fd >= 0 ||
         (spec.userNamespace.isOwn() && joins);
}

void joinAfterClone(const Spec& spec) {
  if (spec.network == Network::join) {
    sys::setns(spec.networkNamespace, CLONE_NEWNET, "the network namespace");
  }
  join(spec.ipc, CLONE_NEWIPC, "the ipc namespace");
  join(spec.uts, CLONE_NEWUTS, "the uts namespace");
}

void joinBeforeClone(const Spec& spec) {
  joinAfterClone(spec);
  join(spec.pid, CLONE_NEWPID, "the pid namespace");
  if (hasTimeOffsets(spec)) makeTimeNamespace(spec);
  if (spec.userNamespace.fd < 0) return;
  // Last: from here on there are no rights outside of it.
  checkOwner(spec.userNamespace.fd);
  sys::setns(spec.userNamespace.fd, CLONE_NEWUSER, "the user namespace");
}

void writeIdMaps(pid_t pid, const UserNamespace& user) {
  writeMap(pid, "uid_map", user.uids);
  writeMap(pid, "gid_map", user.gids);
}

void becomeNamespaceRoot() {
  userNamespaceChanged();  // since the clone
  // Where the namespace around ours denies it (one id), there are no groups to let go of, and
  // becomeUser() says what is asked for and cannot be had.
  if (::setgroups(0, nullptr) != 0 && errno != EPERM) {
    throw Error::fromErrno(errno, "let go of the groups");
  }
  sys::check([] { return ::setresgid(0, 0, 0); }, "become group 0 of the user namespace");
  sys::check([] { return ::setresuid(0, 0, 0); }, "become root of the user namespace");
  dieWithParent();  // the change of ids has undone it (prctl(2), PR_SET_PDEATHSIG)
}

OutsideRoot outsideRootOf(pid_t pid) {
  return {outsideOfZero(pid, "uid_map"), outsideOfZero(pid, "gid_map")};
}

Fd openNamespace(pid_t pid, const std::string& name) {
  return sys::openat(AT_FDCWD, fmt::format("/proc/{}/ns/{}", pid, name), O_RDONLY);
}

bool isOtherNamespace(pid_t pid, const std::string& name) {
  return sys::readlinkat(AT_FDCWD, fmt::format("/proc/{}/ns/{}", pid, name)) !=
         sys::readlinkat(AT_FDCWD, "/proc/self/ns/" + name);
}

void checkOwner(int userNamespace) {
  uid_t owner = static_cast<uid_t>(-1);
  sys::ioctl(userNamespace, NS_GET_OWNER_UID, &owner, "ask for the owner of a user namespace");
  if (owner == ::geteuid()) return;
  throw Error{Kind::denied, "the user namespace of the container belongs to another user"};
}

Fd cloneSharedMemory(pid_t pid) {
  auto [ours, theirs] = sys::socketPair();
  const Fd mounts = openNamespace(pid, "mnt");
  Child child = Child::fork([&] {
    // The user namespace stays ours, so that its processes get no hold of this one.
    sys::setns(mounts.get(), CLONE_NEWNS, "the mount namespace of the other container");
    const Fd root = sys::openat(AT_FDCWD, "/", O_PATH | O_DIRECTORY);
    const Fd folder = sys::openBeneath(root.get(), "dev/shm", O_PATH | O_DIRECTORY);
    if (sys::fstatfs(folder.get(), "/dev/shm").f_type != TMPFS_MAGIC) {
      throw Error{Kind::denied, "/dev/shm of the other container is not shared memory"};
    }
    const Fd tree = cloneMount(folder.get(), "");
    sys::sendFd(theirs.get(), tree.get());
    return std::string{};
  });
  child.finish();
  return sys::receiveFd(ours.get());
}

void giveStreams(const Spec& spec, const OutsideRoot& root) {
  for (const int fd : {spec.standardInput, spec.standardOutput, spec.standardError}) {
    if (fd < 0 || !S_ISFIFO(sys::fstat(fd).st_mode)) continue;
    if (sys::fstatfs(fd, "a stream").f_type != kPipeMagic) continue;
    // One that is not this user's stays as it is: it can be used, but not opened anew.
    if (::fchown(fd, root.uid, root.gid) != 0 && errno != EPERM && errno != EINVAL) {
      throw Error::fromErrno(errno, "give a pipe to the container");
    }
  }
}

}  // namespace img::runtime
