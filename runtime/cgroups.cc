#include "runtime/cgroups.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <set>

#include "base/fs.h"
#include "base/log.h"
#include "base/sys.h"
#include "base/text.h"
#include "runtime/cgroup_files.h"
#include "runtime/cgroup_limits.h"

namespace img::runtime {
namespace {

constexpr const char* kParent = "img";
constexpr const char* kOwnLeaf = "self";  // where we go when our own folder has to be empty
// Devices are last: without rules (runtime/device_rules.h) there is no group of them.
constexpr const char* kV1Hierarchies[] = {"freezer", "memory", "cpu",    "cpuset",
                                          "blkio",   "pids",   "devices"};

int tryMakeFolder(const std::string& path) {
  return ::mkdir(path.c_str(), 0755) == 0 || errno == EEXIST ? 0 : errno;
}

// Delegated to us: the folder is ours, and so is the file that admits processes (cgroups(7)).
bool isOurs(const std::string& folder) {
  struct stat st {};
  return ::stat(folder.c_str(), &st) == 0 && st.st_uid == ::geteuid() &&
         ::access(folder.c_str(), W_OK) == 0 &&
         ::access((folder + "/cgroup.procs").c_str(), W_OK) == 0;
}

bool hasWord(const std::string& list, std::string_view word, char separator) {
  const std::vector<std::string> words = text::split(text::trim(list), separator);
  return std::find(words.begin(), words.end(), word) != words.end();
}

// The path in the line of /proc/PID/cgroup that names the controller; "" asks for version 2. The
// lines are "hierarchy:controllers:path".
std::string pathFor(const std::string& text, const std::string& controller) {
  for (const std::string& line : text::split(text, '\n')) {
    const size_t first = line.find(':');
    const size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string names = line.substr(first + 1, second - first - 1);
    const bool isIt = controller.empty() ? names.empty() : hasWord(names, controller, ',');
    if (isIt) return line.substr(second + 1);
  }
  return {};
}

struct GroupPath {
  std::string start;                 // exists already: the folder it begins at
  std::vector<std::string> folders;  // below it, outermost first; the last one is the group
};

// Where the group of that name lies in a hierarchy.
GroupPath groupPath(const std::string& mount, const std::string& base, const std::string& name) {
  GroupPath path;
  const bool isAbsolute = name.starts_with('/');
  path.start = isAbsolute ? mount : base;
  std::string folder = path.start;
  if (name.find('/') == std::string::npos) {
    folder += std::string{"/"} + kParent;
    path.folders.push_back(folder);
  }
  for (const std::string& word : text::split(name, '/')) {
    if (word.empty()) continue;
    folder += "/" + word;
    path.folders.push_back(folder);
  }
  return path;
}

void add(Cgroup& group, const std::string& folder, bool isV2) {
  group.folders.push_back(folder);
  if (isV2) {
    group.into = sys::openat(AT_FDCWD, folder, O_PATH | O_DIRECTORY);
  } else {
    group.entries.push_back(sys::openat(AT_FDCWD, folder + "/cgroup.procs", O_WRONLY));
  }
}

bool hasFolder(const Cgroup& group, const std::string& folder) {
  return std::find(group.folders.begin(), group.folders.end(), folder) != group.folders.end();
}

}  // namespace

CgroupTree::CgroupTree(std::string root, std::optional<std::string> self)
    : root_(std::move(root)), self_(std::move(self)) {
  for (const std::string& candidate : {root_, root_ + "/unified"}) {
    if (!pathExists(candidate + "/cgroup.controllers")) continue;
    unified_ = candidate;
    controllers_ =
        text::split(std::string{text::trim(readText(candidate + "/cgroup.controllers"))}, ' ');
    break;
  }
}

std::string CgroupTree::ownPath(const std::string& controller) const {
  if (!self_) self_ = readText("/proc/self/cgroup");
  return pathFor(*self_, controller);
}

// The highest folder on the way to our own one that is ours.
std::string CgroupTree::baseIn(const std::string& mount, const std::string& ownPath) const {
  if (isOurs(mount)) return mount;
  std::string folder = mount;
  for (const std::string& word : text::split(ownPath, '/')) {
    if (word.empty() || word == "..") continue;
    folder += "/" + word;
    if (isOurs(folder)) return folder;
  }
  return {};
}

CgroupTree::Hierarchy CgroupTree::unified() const {
  if (unified_.empty()) return {};
  return {unified_, isOurs(unified_) ? unified_ : baseIn(unified_, ownPath("")), true};
}

// The hierarchy that has the controller: version 2 or one of version 1.
CgroupTree::Hierarchy CgroupTree::hierarchyOf(const std::string& controller) const {
  if (std::find(controllers_.begin(), controllers_.end(), controller) != controllers_.end())
    return unified();
  const std::string v1 = versionOneName(controller);
  const std::string mount = root_ + "/" + v1;
  if (unified_ == root_ || !pathExists(mount + "/cgroup.procs")) return {};
  return {mount, isOurs(mount) ? mount : baseIn(mount, ownPath(v1)), false};
}

std::vector<CgroupTree::Hierarchy> CgroupTree::all() const {
  std::vector<Hierarchy> found;
  if (!unified_.empty()) found.push_back(unified());
  if (unified_ == root_) return found;
  for (const char* v1 : kV1Hierarchies) {
    Hierarchy one = hierarchyOf(v1 == std::string_view{"blkio"} ? "io" : v1);
    if (!one.mount.empty() && !one.isV2) found.push_back(std::move(one));
  }
  return found;
}

// Makes the group in one hierarchy, once; "" when it cannot be written to.
std::string CgroupTree::enter(Cgroup& group, const Hierarchy& where) const {
  const bool isAbsolute = group.name.starts_with('/');
  if (where.mount.empty() || (where.base.empty() && !isAbsolute)) return {};
  const GroupPath path = groupPath(where.mount, where.base, group.name);
  const std::string& folder = path.folders.back();
  if (hasFolder(group, folder)) return folder;
  for (const std::string& part : path.folders) {
    const int errnum = tryMakeFolder(part);
    if (errnum == 0) continue;
    log::debug("{}", Error::fromErrno(errnum, "make the cgroup " + part).cause());
    return {};
  }
  add(group, folder, where.isV2);
  return folder;
}

// A version 2 group with processes passes no controllers on ("no internal process constraint",
// cgroup-v2.rst). When it is our own group, we move into a leaf below; false: others are in it too,
// and they are not ours to move.
bool CgroupTree::makeRoomIn(const std::string& folder) const {
  if (folder != unified_ + ownPath("")) return false;
  const std::string leaf = folder + "/" + kParent + "/" + kOwnLeaf;
  if (tryMakeFolder(folder + "/" + kParent) != 0 || tryMakeFolder(leaf) != 0) return false;
  if (tryWriteText(leaf + "/cgroup.procs", "0") != 0) return false;
  self_.reset();
  return true;
}

// Passes a version 2 controller down to the group. What prevents it, "" when nothing does.
std::string CgroupTree::enableController(const Hierarchy& where, const std::string& folder,
                                         const std::string& controller) const {
  const std::string parent = folder.substr(0, folder.rfind('/'));
  const bool isBelowBase = !where.base.empty() && parent.starts_with(where.base);
  std::string at = isBelowBase ? where.base : where.mount;
  for (;;) {
    const std::string file = at + "/cgroup.subtree_control";
    if (!hasWord(readText(file), controller, ' ')) {
      int errnum = tryWriteText(file, "+" + controller);
      if (errnum == EBUSY && makeRoomIn(at)) errnum = tryWriteText(file, "+" + controller);
      if (errnum == EBUSY) return at + " holds other processes, and passes no controllers on";
      if (errnum != 0) return Error::fromErrno(errnum, "write " + file).cause();
    }
    if (at == parent) return {};
    at = parent.substr(0, parent.find('/', at.size() + 1));
  }
}

void CgroupTree::addController(Cgroup& group, const std::string& controller, bool isAsked,
                               const Limits& limits) const {
  const Hierarchy where = hierarchyOf(controller);
  if (where.mount.empty()) {
    if (!isAsked) return;
    throw missingController(controller, root_);
  }
  if (where.isV2 && !where.base.empty() && where.base != where.mount &&
      !hasWord(readText(where.base + "/cgroup.controllers"), controller, ' ')) {
    if (!isAsked) return;
    throw undelegatedController(controller, where.base);
  }
  const std::string folder = enter(group, where);
  if (folder.empty()) {
    if (!isAsked) return;
    throw cannotLimit(controller, fmt::format("no cgroup below {} can be written to", where.mount),
                      "run as root, or have a cgroup delegated (systemd-run --user --scope -p "
                      "Delegate=yes img ...); --cgroups=disabled runs it without limits");
  }
  if (where.isV2) {
    const std::string why = enableController(where, folder, controller);
    if (!why.empty()) {
      if (!isAsked) return;
      throw cannotLimit(controller, why,
                        "start img in a cgroup of its own (systemd-run --scope -p Delegate=yes "
                        "img ...); --cgroups=disabled runs it without limits");
    }
  }
  if (!isAsked && !pathExists(folder + "/pids.max")) return;
  if (controller == "cpuset" && !where.isV2) {
    const GroupPath path = groupPath(where.mount, where.base, group.name);
    std::string above = path.start;
    for (const std::string& part : path.folders) {
      fillCpuset(above, part);
      above = part;
    }
  }
  applyLimits(controller, folder, where.isV2, limits);
}

std::optional<Cgroup> CgroupTree::create(const std::string& name, const Limits& limits) const {
  Cgroup group;
  group.name = name;
  group.isUnified = unified_ == root_;
  try {
    if (enter(group, unified()).empty()) std::ignore = enter(group, hierarchyOf("freezer"));
    for (const WantedController& want : wantedControllers(limits)) {
      // Our own limit on processes: where it costs nothing, or the cost is paid already.
      const bool isFree =
          limits.any() || limits.defaultPids ||
          std::find(controllers_.begin(), controllers_.end(), "pids") != controllers_.end();
      const bool isDefault = want.name == std::string_view{"pids"} && isFree && !limits.pids;
      if (want.isAsked || isDefault) addController(group, want.name, want.isAsked, limits);
    }
  } catch (...) {
    Error error = currentError();
    try {
      group.remove();
    } catch (const Error& second) {
      error.addStep(second.cause());
    }
    throw error;
  }
  if (group.folders.empty()) {
    log::info("no cgroup can be written to: the container runs without limits and pause");
    return std::nullopt;
  }
  return group;
}

std::string CgroupTree::enterDevices(Cgroup& group) const {
  return enter(group, hierarchyOf("devices"));
}

Cgroup CgroupTree::find(const std::string& name) const {
  Cgroup group;
  group.name = name;
  group.isUnified = unified_ == root_;
  if (name.empty()) return group;
  for (const Hierarchy& where : all()) {
    if (where.base.empty() && !name.starts_with('/')) continue;
    const std::string folder = groupPath(where.mount, where.base, name).folders.back();
    if (pathExists(folder + "/cgroup.procs")) add(group, folder, where.isV2);
  }
  return group;
}

// A process is somewhere in every hierarchy. Entering version 1 groups costs time, and those of the
// caller are no business of the container: only where it has a group of the same name as the one
// that every container has.
Cgroup CgroupTree::groupsOf(pid_t pid) const {
  Cgroup group;
  group.isUnified = unified_ == root_;
  const std::string theirs = readText(fmt::format("/proc/{}/cgroup", pid));
  const auto nameIn = [](const std::string& path) { return path.substr(path.rfind('/') + 1); };
  const std::string basic = pathFor(theirs, unified_.empty() ? "freezer" : "");
  const std::string name = basic.empty() ? "" : nameIn(basic);
  if (name.empty()) return group;
  group.name = name;
  const auto enterAs = [&](const std::string& mount, const std::string& controller, bool isV2) {
    const std::string path = pathFor(theirs, controller);
    const std::string folder = mount + path;
    if (path.empty() || nameIn(path) != name || path == ownPath(controller)) return;
    if (::access((folder + "/cgroup.procs").c_str(), W_OK) == 0) add(group, folder, isV2);
  };
  if (!unified_.empty()) enterAs(unified_, "", true);
  if (group.isUnified) return group;
  for (const char* v1 : kV1Hierarchies) enterAs(root_ + "/" + v1, v1, false);
  return group;
}

// What forks while we look comes up in a later round.
void CgroupTree::moveProcesses(const Cgroup& group, const std::string& folder) const {
  const std::string entry = folder + "/cgroup.procs";
  for (int round = 0; round < 100; ++round) {
    std::set<pid_t> left;
    for (const pid_t pid : group.processes()) left.insert(pid);
    for (const std::string& line : text::split(readText(entry), '\n')) {
      if (const auto pid = text::parseUnsigned(line)) left.erase(static_cast<pid_t>(*pid));
    }
    if (left.empty()) return;
    for (const pid_t pid : left) {
      const int errnum = tryWriteText(entry, std::to_string(pid));
      if (errnum != 0 && errnum != ESRCH)
        throw Error::fromErrno(errnum, "move a process to " + folder).code("cgroup");
    }
  }
  throw Error::make(Kind::busy, "the processes of {} do not stop forking", group.name)
      .code("cgroup");
}

Cgroup CgroupTree::update(const std::string& name, const Limits& limits) const {
  Cgroup group = find(name);
  for (const WantedController& want : wantedControllers(limits)) {
    const bool isUnlimited = want.name == std::string_view{"pids"} && limits.pids;
    if (!want.isAsked && !isUnlimited) continue;
    const size_t before = group.folders.size();
    addController(group, want.name, true, limits);
    if (group.folders.size() == before || before == 0) continue;
    if (group.folders.back().starts_with(unified_ + "/") && !unified_.empty()) continue;
    moveProcesses(group, group.folders.back());
  }
  return group;
}

std::vector<std::string> CgroupTree::names() const {
  // The hierarchy that create() begins with and remove() ends with.
  Hierarchy where = unified();
  if (where.base.empty()) where = hierarchyOf("freezer");
  std::vector<std::string> found;
  if (where.base.empty()) return found;
  const auto dir = sys::tryOpenat(AT_FDCWD, where.base + "/" + kParent, O_RDONLY | O_DIRECTORY);
  if (!dir) return found;
  for (fs::Entry& entry : fs::listSorted(dir->get())) {
    if (entry.type == DT_DIR) found.push_back(std::move(entry.name));
  }
  return found;
}

void CgroupTree::removeStale(const std::string& prefix, long long ageSeconds) const {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  for (const std::string& name : names()) {
    if (!name.starts_with(prefix)) continue;
    for (const std::string& folder : find(name).folders) {
      struct stat st {};
      const bool isOld = ::stat(folder.c_str(), &st) == 0 && now.tv_sec - st.st_mtime >= ageSeconds;
      // A group with processes says EBUSY.
      if (isOld) ::rmdir(folder.c_str());
    }
  }
}

Cgroup openCgroup(const std::vector<std::string>& folders) {
  Cgroup group;
  for (const std::string& folder : folders) {
    if (!pathExists(folder + "/cgroup.procs")) continue;
    group.name = folder.substr(folder.rfind('/') + 1);
    group.folders.push_back(folder);
  }
  return group;
}

void freeze(const std::string& cgroupName) {
  CgroupTree{}.find(cgroupName).freeze();
}
void thaw(const std::string& cgroupName) {
  CgroupTree{}.find(cgroupName).thaw();
}
void killAll(const std::string& cgroupName) {
  CgroupTree{}.find(cgroupName).killAll();
}
std::vector<pid_t> processesOf(const std::string& cgroupName) {
  return CgroupTree{}.find(cgroupName).processes();
}
void removeCgroup(const std::string& cgroupName) {
  CgroupTree{}.find(cgroupName).remove();
}

void checkCgroupParent(const std::string& path) {
  const auto words = text::split(path.starts_with('/') ? path.substr(1) : path, '/');
  const bool isBad = std::any_of(words.begin(), words.end(), [](const std::string& word) {
    return word.empty() || word == "." || word == ".." || word.find('\n') != std::string::npos;
  });
  if (path.empty() || path == "/" || isBad) {
    throw Error::make(Kind::usage, "--cgroup-parent: {} is not the path of a cgroup",
                      text::quote(path))
        .hint(
            "for example /builds/ci, below the root of the hierarchies, or builds, below where "
            "you may make groups");
  }
}

}  // namespace img::runtime
