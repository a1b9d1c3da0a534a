#include "runtime/user_namespace.h"

#include <linux/capability.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <tuple>
#include <utility>

#include "base/fs.h"
#include "base/log.h"
#include "base/own_namespace.h"
#include "base/process.h"
#include "base/sys.h"
#include "base/text.h"

namespace img::runtime {
namespace {

constexpr ino_t kInitialUserNamespace = 0xEFFFFFFD;
constexpr const char* kHelperFolders[] = {"/usr/bin", "/bin", "/usr/local/bin", "/usr/sbin",
                                          "/run/wrappers/bin"};

std::uint64_t effectiveCapabilitiesOfCaller() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};
  sys::check([&] { return ::syscall(SYS_capget, &header, data); }, "read capabilities");
  return data[0].effective | std::uint64_t{data[1].effective} << 32;
}

// proc_pid_stat(5): field 22, counted after the command's name, which may hold anything.
std::optional<std::string> startTicks(pid_t pid) {
  const auto stat = fs::tryReadFile(AT_FDCWD, fmt::format("/proc/{}/stat", pid), 4096);
  if (!stat) return std::nullopt;
  const size_t end = stat->rfind(')');
  if (end == std::string::npos) return std::nullopt;
  const std::vector<std::string> fields = text::split(std::string_view{*stat}.substr(end + 1), ' ');
  constexpr size_t kStartTime = 20;
  if (fields.size() <= kStartTime || fields[1] == "Z" || fields[1] == "X") return std::nullopt;
  return fields[kStartTime];
}

void writeProc(const char* path, std::string_view text) {
  writeAll(sys::openat(AT_FDCWD, path, O_WRONLY).get(), text, path);
}

std::string kernelForm(const IdMap& map) {
  std::string text;
  for (const IdRange& line : map) {
    text += fmt::format("{} {} {}\n", line.inside, line.outside, line.count);
  }
  return text;
}

// --- The ids ---

// Everything this process's namespace has, as it is there: root stays root.
IdMap sameIds(const IdMap& current) {
  IdMap map;
  for (const IdRange& line : current) map.push_back({line.inside, line.inside, line.count});
  return map;
}

std::string missingRange(const char* file, const std::string& user) {
  return fmt::format("{} has no range of ids for {}: add the line {}:100000:65536", file, user,
                     user);
}

// What stays outside and writes the maps once the namespace is there. One process for each map, so
// that the two programs run at the same time.
Child spawnMapper(const std::string& program, const IdMap& map, int start) {
  const pid_t target = ::getpid();
  return Child::fork([&] {
    char byte = 0;
    if (::read(start, &byte, 1) != 1) return std::string{"the namespace was not made"};
    std::vector<std::string> argv{program, std::to_string(target)};
    for (std::string& word : idMapWords(map)) argv.push_back(std::move(word));
    const Output output = runProgram(Program{argv, {}, {}, {}, false});
    if (output.status.code == 0) return std::string{};
    const std::string said{text::trim(output.err)};
    return said.empty() ? fmt::format("{} ended with status {}", program, output.status.code)
                        : said;
  });
}

Child spawnWriter(const char* file, const IdMap& map, int start) {
  const std::string path = fmt::format("/proc/{}/{}", ::getpid(), file);
  return Child::fork([path, start, text = kernelForm(map)] {
    char byte = 0;
    if (::read(start, &byte, 1) != 1) return std::string{"the namespace was not made"};
    try {
      writeProc(path.c_str(), text);
    } catch (const Error& error) {
      return error.cause();
    }
    return std::string{};
  });
}

// Without a right in the outer namespace only oneself can be mapped, and groups cannot be set
// (user_namespaces(7), "Defining user and group ID mappings").
void mapSingle(const IdPlan& plan, bool uids, bool gids) {
  if (uids) writeProc("/proc/self/uid_map", kernelForm({plan.uids.front()}));
  if (!gids) return;
  writeProc("/proc/self/setgroups", "deny");
  writeProc("/proc/self/gid_map", kernelForm({plan.gids.front()}));
}

void enterBoth() {
  if (::unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) throw explainDenied(errno);
  userNamespaceChanged();
}

// Mounts of ours stay ours. Where a security module takes the capabilities in the new namespace
// away, this is the first thing that fails.
void cutPropagation() {
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) throw explainDenied(errno);
}

}  // namespace

bool isInitialUserNamespace() {
  struct stat info {};
  return ::stat("/proc/self/ns/user", &info) != 0 || info.st_ino == kInitialUserNamespace;
}

bool hasCapability(unsigned number) {
  return (effectiveCapabilitiesOfCaller() >> number & 1) != 0;
}

bool canAdminister() {
  return hasCapability(CAP_SYS_ADMIN);
}

IdMap readIdMap(int dir, const std::string& path) {
  return parseIdMap(fs::tryReadFile(dir, path).value_or(""));
}
IdMap currentUidMap() {
  return readIdMap(AT_FDCWD, "/proc/self/uid_map");
}
IdMap currentGidMap() {
  return readIdMap(AT_FDCWD, "/proc/self/gid_map");
}

std::string findPrivilegedProgram(const std::string& name, std::string& why) {
  for (const char* folder : kHelperFolders) {
    const std::string path = fmt::format("{}/{}", folder, name);
    struct stat info {};
    if (::stat(path.c_str(), &info) != 0 || !S_ISREG(info.st_mode)) continue;
    if (::access(path.c_str(), X_OK) != 0) {
      why = path + " may not be executed by this user";
      continue;
    }
    struct statvfs place {};
    const bool isIgnored = ::statvfs(path.c_str(), &place) == 0 && (place.f_flag & ST_NOSUID) != 0;
    const bool isSetuid = (info.st_mode & S_ISUID) != 0;
    const bool hasFileCapabilities =
        ::getxattr(path.c_str(), "security.capability", nullptr, 0) > 0;
    if (isIgnored) {
      why = path + " lies on a file system that is mounted nosuid";
    } else if (isSetuid || hasFileCapabilities) {
      return path;
    } else {
      why = path + " is neither set-user-id root nor has file capabilities";
    }
  }
  if (why.empty()) why = name + " is not installed (Debian: package uidmap)";
  return {};
}

IdPlan planIds(bool wantsRanges) {
  IdPlan plan;
  const uid_t uid = ::geteuid();
  const gid_t gid = ::getegid();
  plan.uids = {{0, uid, 1}};
  plan.gids = {{0, gid, 1}};
  if (!wantsRanges) return plan;
  if (hasCapability(CAP_SETUID) && hasCapability(CAP_SETGID)) {
    plan.source = IdPlan::Source::direct;
    plan.uids = uid == 0 ? sameIds(currentUidMap()) : plan.uids;
    plan.gids = gid == 0 ? sameIds(currentGidMap()) : plan.gids;
    return plan;
  }
  if (::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1) {
    plan.why = "this process may not gain privileges (no_new_privs), so newuidmap has none";
    return plan;
  }
  const std::string user = nameOfUser(uid);
  const std::string shown = user.empty() ? std::to_string(uid) : user;
  // Groups have lines of the user's name too (subgid(5)).
  const auto uids = readSubordinateIds("/etc/subuid", user, uid);
  const auto gids = readSubordinateIds("/etc/subgid", user, uid);
  plan.newuidmap = findPrivilegedProgram("newuidmap", plan.why);
  if (!plan.newuidmap.empty()) plan.newgidmap = findPrivilegedProgram("newgidmap", plan.why);
  if (plan.newuidmap.empty() || plan.newgidmap.empty()) return plan;
  if (uids.empty()) plan.why = missingRange("/etc/subuid", shown);
  if (!uids.empty() && gids.empty()) plan.why = missingRange("/etc/subgid", shown);
  if (uids.empty() || gids.empty()) return plan;
  plan.source = IdPlan::Source::helpers;
  plan.uids = makeIdMap(uid, uids, "/etc/subuid");
  plan.gids = makeIdMap(gid, gids, "/etc/subgid");
  return plan;
}

std::string makeUserNamespace(const IdPlan& plan) {
  if (plan.source == IdPlan::Source::single) {
    enterBoth();
    mapSingle(plan, true, true);
    cutPropagation();
    return plan.why;
  }
  Pipe start = Pipe::make();
  const bool usesHelpers = plan.source == IdPlan::Source::helpers;
  Child uids = usesHelpers ? spawnMapper(plan.newuidmap, plan.uids, start.read.get())
                           : spawnWriter("uid_map", plan.uids, start.read.get());
  Child gids = usesHelpers ? spawnMapper(plan.newgidmap, plan.gids, start.read.get())
                           : spawnWriter("gid_map", plan.gids, start.read.get());
  enterBoth();
  writeAll(start.write.get(), "gg", "the start of the id maps");
  const std::string badUids = uids.finish();
  const std::string badGids = gids.finish();
  mapSingle(plan, !badUids.empty(), !badGids.empty());
  cutPropagation();
  return badUids.empty() ? badGids : badUids;
}

void joinUserNamespace(int fd) {
  sys::setns(fd, CLONE_NEWUSER, "the user namespace");
  sys::unshare(CLONE_NEWNS);
  cutPropagation();
}

// --- Registry ---

NamespaceRegistry::NamespaceRegistry(std::string folder) : folder_(std::move(folder)) {
  std::ignore = fs::makeDirs(AT_FDCWD, folder_, 0700);
  dir_ = sys::openDirectory(AT_FDCWD, folder_);
  const struct stat info = sys::fstat(dir_.get());
  if (info.st_uid != ::geteuid() || (info.st_mode & 022) != 0) {
    throw Error::make(Kind::denied, "{} belongs to somebody else, or others may write to it",
                      folder_)
        .hint("remove it, or name another folder with --runroot");
  }
}

FileLock NamespaceRegistry::lock() const {
  return FileLock::acquire(dir_.get(), "lock", FileLock::Mode::exclusive);
}

namespace {

// security.md U4: its owner is asked before anybody enters.
std::optional<Fd> openNamespaceOf(pid_t pid, const std::string& ticks, uid_t owner) {
  const int fd = ::open(fmt::format("/proc/{}/ns/user", pid).c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return std::nullopt;
  Fd space{fd};
  uid_t actual = static_cast<uid_t>(-1);
  if (::ioctl(fd, NS_GET_OWNER_UID, &actual) != 0 || actual != owner) return std::nullopt;
  // The process that the entry speaks of was there all the time: its pid has not been given away.
  return startTicks(pid) == ticks ? std::optional<Fd>{std::move(space)} : std::nullopt;
}

}  // namespace

std::optional<Fd> NamespaceRegistry::findLive(uid_t owner) const {
  for (const fs::Entry& entry : fs::list(dir_.get())) {
    const size_t dot = entry.name.find('.');
    if (dot == std::string::npos) continue;
    const auto pid = text::parseUnsigned(std::string_view{entry.name}.substr(0, dot));
    if (!pid) continue;
    const std::string ticks = entry.name.substr(dot + 1);
    auto space = openNamespaceOf(static_cast<pid_t>(*pid), ticks, owner);
    if (space) return space;
    sys::tryUnlinkat(dir_.get(), entry.name, 0);
  }
  return std::nullopt;
}

Registration::Registration(const std::string& folder)
    : dir_(sys::openDirectory(AT_FDCWD, folder)), pid_(::getpid()) {
  name_ = fmt::format("{}.{}", pid_, startTicks(pid_).value_or("0"));
  std::ignore = sys::openat(dir_.get(), name_, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
}

Registration::Registration(Registration&& other) noexcept
    : dir_(std::move(other.dir_)), name_(std::exchange(other.name_, {})), pid_(other.pid_) {}

Registration::~Registration() {
  if (!name_.empty() && pid_ == ::getpid()) ::unlinkat(dir_.get(), name_.c_str(), 0);
}

// --- What forbids it ---

namespace {

std::optional<unsigned long long> setting(const std::string& root, const char* path) {
  const auto text = fs::tryReadFile(AT_FDCWD, root + path, 64);
  return text ? text::parseUnsigned(text::trim(*text)) : std::nullopt;
}

bool hasSeccomp(const std::string& root) {
  const auto status = fs::tryReadFile(AT_FDCWD, root + "/proc/self/status");
  return status && status->find("\nSeccomp:\t2") != std::string::npos;
}

}  // namespace

Error explainDenied(int errnum, const std::string& root) {
  Error error = Error::fromErrno(errnum, "make a user namespace");
  Error plain{Kind::denied, error.cause()};  // without ENOSPC's words about a disk
  plain.code("userns-denied");
  const char* const doctor = "`img doctor` shows what works here";
  if (setting(root, "/proc/sys/user/max_user_namespaces") == 0U) {
    plain.why("user.max_user_namespaces is 0");
    plain.hint("as root: sysctl user.max_user_namespaces=15000");
  } else if (setting(root, "/proc/sys/kernel/unprivileged_userns_clone") == 0U) {
    plain.why("kernel.unprivileged_userns_clone is 0");
    plain.hint("as root: sysctl kernel.unprivileged_userns_clone=1");
  } else if (setting(root, "/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == 1U) {
    plain.why("AppArmor restricts them: kernel.apparmor_restrict_unprivileged_userns is 1");
    plain.hint(
        "as root: sysctl kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile "
        "for this program with the line `userns,`");
  } else if (errnum == ENOSPC || errnum == EUSERS) {
    plain.why("the limit user.max_user_namespaces is reached, or they are nested 32 deep");
    plain.hint("as root: raise user.max_user_namespaces");
  } else if (errnum == EINVAL || errnum == ENOSYS) {
    plain.why("this kernel has none (CONFIG_USER_NS)");
  } else if (hasSeccomp(root)) {
    plain.why("a seccomp filter of the container around this program refuses unshare(2)");
    plain.hint(
        "start that container with --security-opt seccomp=unconfined, or build with "
        "--isolation chroot");
  } else {
    plain.why("this process runs in a chroot, or a security module refuses it");
  }
  plain.hint(doctor);
  return plain;
}

}  // namespace img::runtime
