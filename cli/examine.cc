#include "cli/examine.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/mount.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>

#include "base/fs.h"
#include "base/json.h"
#include "base/process.h"
#include "base/sys.h"
#include "base/text.h"
#include "cli/rootless.h"
#include "network/programs.h"
#include "network/user_stack.h"
#include "runtime/cgroups.h"
#include "runtime/chroot_run.h"
#include "runtime/mounts.h"
#include "runtime/user_namespace.h"
#include "store/layer_view.h"
#include "store/overlay.h"

namespace img::cli {
namespace {

using State = Finding::State;

constexpr char kDegraded = '~';
constexpr std::uint64_t kLittleSpace = std::uint64_t{1} << 30;
constexpr std::uint64_t kFewInodes = 10'000;

std::string degraded(const std::string& instead) {
  return kDegraded + instead;
}

// The cure first: that is what a reader of the list wants.
std::string cureOf(const Error& error) {
  std::string text;
  for (const std::string& hint : error.hints()) {
    if (hint.find("img doctor") == std::string::npos) text += (text.empty() ? "" : "; ") + hint;
  }
  const std::string reason = error.why().empty() ? error.cause() : error.why();
  return text.empty() ? reason : fmt::format("{} ({})", text, reason);
}

// `work` gives the detail, degraded(...), or throws what is missing.
Finding probe(const std::string& name, bool isNeeded, const std::function<std::string()>& work) {
  Finding finding{name, State::ok, "", isNeeded};
  try {
    finding.detail = Child::fork(work).finish();
    if (finding.detail.starts_with(kDegraded)) {
      finding.state = State::degraded;
      finding.detail.erase(0, 1);
    }
  } catch (const Error& error) {
    finding.state = State::missing;
    finding.detail = cureOf(error);
  }
  return finding;
}

// In the child: the rights that a build would have.
std::string getRights() {
  if (runtime::canAdminister()) {
    sys::unshare(CLONE_NEWNS);
    sys::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr);
    return {};
  }
  return runtime::makeUserNamespace(runtime::planIds(true));
}

std::string probeRights() {
  if (runtime::canAdminister()) return "root";
  const bool mayChroot = runtime::hasChrootRights();  // a new namespace has rights of its own
  try {
    getRights();
  } catch (const Error& error) {
    if (!mayChroot) throw;
    return degraded("uses a chroot for the steps of builds, and runs no containers; " +
                    cureOf(error));
  }
  return "a user namespace";
}

std::string probeIds() {
  const std::string why = getRights();
  const auto count = runtime::contiguousIds(runtime::currentUidMap());
  if (runtime::isInitialUserNamespace()) return "all of the machine";
  if (count > 1) return fmt::format("{} user ids", count);
  return degraded("uses one id, other owners are recorded; " + why);
}

// On the file system of the store, or where it would be.
std::string probeOverlay(const std::string& storeRoot) {
  std::filesystem::path place{storeRoot};
  while (!std::filesystem::exists(place) && place.has_relative_path()) place = place.parent_path();
  const fs::TempDir scratch{place.string()};
  getRights();
  // Opened in the new mount namespace: the union is made of its mounts.
  const Fd folder = sys::openDirectory(AT_FDCWD, scratch.path());
  for (const char* name : {"lower", "upper", "work"}) sys::mkdirat(folder.get(), name, 0700);
  const Fd lower = sys::openDirectory(folder.get(), "lower");
  const Fd upper = sys::openDirectory(folder.get(), "upper");
  const Fd work = sys::openDirectory(folder.get(), "work");
  store::OverlaySpec spec;
  spec.lowers = {lower.get()};
  spec.upper = upper.get();
  spec.work = work.get();
  const Fd root = store::mountOverlay(spec);
  sys::mkdirat(root.get(), "made", 0755);
  return "on " + place.string();
}

std::string probeLayerView(const std::string& storeRoot) {
  std::filesystem::path place{storeRoot};
  while (!std::filesystem::exists(place) && place.has_relative_path()) place = place.parent_path();
  const fs::TempDir scratch{place.string()};
  const auto missing = store::whyNoErofsViews(scratch.fd());
  if (missing) return degraded("unpacks layers into folders; for EROFS: " + *missing);
  return "EROFS, straight from tars";
}

std::string probeNamespaces() {
  getRights();
  sys::unshare(CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP);
  return "pid, net, ipc, uts, cgroup";
}

// A new /proc shows the pid namespace of the process that mounts it, which only a child is in.
std::string probeProc() {
  getRights();
  sys::unshare(CLONE_NEWPID);
  const pid_t pid = sys::check([] { return ::fork(); }, "fork");
  if (pid == 0) {
    try {
      std::ignore = runtime::makeMount("proc", MOUNT_ATTR_NOSUID);
    } catch (...) {
      ::_exit(1);
    }
    ::_exit(0);
  }
  if (waitFor(pid).code == 0) return {};
  throw Error{Kind::denied, "the kernel gives no new /proc"}
      .why("parts of /proc are covered here, as in a container")
      .hint("podman: --security-opt unmask=ALL; docker: --security-opt systempaths=unconfined");
}

std::string probeMountApi() {
  getRights();
  const Fd scratch = runtime::makeMount("tmpfs", MOUNT_ATTR_NOSUID, {{"source", "img"}});
  sys::mountSetattr(scratch.get(), "", 0, MOUNT_ATTR_RDONLY, 0);
  return "fsopen, mount_setattr";
}

std::string probeCgroups() {
  const auto group =
      runtime::CgroupTree{}.create(fmt::format("doctor-{}", ::getpid()), runtime::Limits{});
  if (!group)
    return degraded("uses no groups: no limits, no pause; delegate one (systemd: Delegate=yes)");
  runtime::Cgroup made = runtime::openCgroup(group->folders);
  const std::string where = made.folders.empty() ? "" : made.folders.front();
  made.remove();
  return where;
}

std::string probeSeccomp() {
  sock_filter allow{BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW};
  const sock_fprog program{1, &allow};
  sys::check([] { return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); }, "set no_new_privs");
  try {
    sys::check([&] { return ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program); },
               "load a filter");
  } catch (Error& error) {
    error.hint("a kernel with CONFIG_SECCOMP_FILTER");
    throw;
  }
  return {};
}

std::string probeNetwork() {
  const bool isRoot = runtime::canAdminister() && runtime::isInitialUserNamespace();
  if (isRoot) {
    if (network::findHostProgram("nft")) return "bridge";
    return degraded("uses the bridge without a way out; install nftables");
  }
  const auto stack = network::UserStack::find();
  // Both programs open it; udev makes it everybody's (mode 0666).
  const Fd tun{::open("/dev/net/tun", O_RDWR | O_CLOEXEC)};
  if (stack && !tun) {
    return degraded("uses --net none or host only; as root: chmod 0666 /dev/net/tun");
  }
  if (stack) return stack->path;
  return degraded("uses --net none or host only; install passt or slirp4netns");
}

std::string probeFuse() {
  const Fd device{::open("/dev/fuse", O_RDWR | O_CLOEXEC)};
  if (device) return "/dev/fuse";
  return degraded("uses none: containers have no FUSE; load the module fuse");
}

std::string probeForeign() {
  const auto folder = sys::tryOpenat(AT_FDCWD, "/proc/sys/fs/binfmt_misc", O_RDONLY | O_DIRECTORY);
  std::vector<std::string> names;
  if (folder) {
    for (const fs::Entry& entry : fs::listSorted(folder->get())) {
      if (entry.name.starts_with("qemu-")) names.push_back(entry.name.substr(5));
    }
  }
  if (!names.empty()) return text::join(names, " ");
  return degraded("uses this machine's architecture only; install qemu-user-static");
}

std::string probeDisk(const std::string& storeRoot) {
  std::filesystem::path place{storeRoot};
  while (!std::filesystem::exists(place) && place.has_relative_path()) place = place.parent_path();
  struct statvfs info {};
  sys::check([&] { return ::statvfs(place.c_str(), &info); }, "ask for the free space");
  const std::uint64_t bytes = std::uint64_t{info.f_bavail} * info.f_frsize;
  const bool countsInodes = info.f_files > 0;
  const std::string text =
      fmt::format("{} MiB, {} free", bytes >> 20,
                  countsInodes ? fmt::format("{} inodes", info.f_favail) : "inodes as needed");
  const bool isLow = bytes < kLittleSpace || (countsInodes && info.f_favail < kFewInodes);
  return isLow ? degraded("uses what is there: " + text) : text;
}

// A clock before the program was written makes certificates and ages wrong.
std::string probeClock() {
  constexpr std::time_t kNewYear2024 = 1704067200;
  if (std::time(nullptr) > kNewYear2024) return {};
  return degraded("uses a clock that is years behind: set it");
}

std::string_view stateName(State state) {
  switch (state) {
    case State::ok: return "ok";
    case State::degraded: return "degraded";
    default: return "missing";
  }
}

}  // namespace

std::vector<Finding> examineMachine(const std::string& storeRoot) {
  std::vector<Finding> findings;
  findings.push_back(probe("rights", true, probeRights));
  // Without them nothing that follows says anything new.
  if (findings.back().state == State::ok) {
    findings.push_back(probe("user ids", false, probeIds));
    findings.push_back(probe("mounts", true, probeMountApi));
    findings.push_back(probe("overlay", true, [&] { return probeOverlay(storeRoot); }));
    findings.push_back(probe("layer view", false, [&] { return probeLayerView(storeRoot); }));
    findings.push_back(probe("namespaces", true, probeNamespaces));
    findings.push_back(probe("proc", true, probeProc));
  }
  findings.push_back(probe("seccomp", true, probeSeccomp));
  findings.push_back(probe("cgroups", false, probeCgroups));
  findings.push_back(probe("network", false, probeNetwork));
  findings.push_back(probe("fuse", false, probeFuse));
  findings.push_back(probe("other architectures", false, probeForeign));
  findings.push_back(probe("disk", true, [&] { return probeDisk(storeRoot); }));
  findings.push_back(probe("clock", false, probeClock));
  return findings;
}

bool canWork(const std::vector<Finding>& findings) {
  return std::none_of(findings.begin(), findings.end(), [](const Finding& finding) {
    return finding.isNeeded && finding.state == State::missing;
  });
}

std::string findingsText(const std::vector<Finding>& findings) {
  std::string out;
  for (const Finding& finding : findings) {
    out += fmt::format("{}: {}", finding.name, stateName(finding.state));
    const std::string detail = text::escape(finding.detail, 1000);
    if (!detail.empty()) {
      out += finding.state == State::ok ? " (" + detail + ")" : ": " + detail;
    }
    out += '\n';
  }
  return out;
}

std::string findingsJson(const std::vector<Finding>& findings) {
  Json list = Json::array();
  for (const Finding& finding : findings) {
    list.push_back({{"name", finding.name},
                    {"state", stateName(finding.state)},
                    {"detail", finding.detail},
                    {"needed", finding.isNeeded}});
  }
  return dumpJson(list) + "\n";
}

}  // namespace img::cli
