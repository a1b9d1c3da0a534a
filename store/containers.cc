#include "store/containers.h"

#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/random.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <ctime>
#include <tuple>

#include "base/fs.h"
#include "base/log.h"
#include "base/sys.h"
#include "base/text.h"
#include "store/container_json.h"
#include "store/container_names.h"
#include "store/failpoint.h"

namespace img::store {
namespace {

constexpr char kNames[] = "containers/.names";
constexpr char kAuto[] = "containers/.auto";
constexpr char kParts[] = "containers/.part";
constexpr char kLock[] = "locks/containers";  // held while a name is claimed or given back
constexpr char kStateLock[] = "state.lock";
constexpr char kStop[] = "stop";
constexpr char kLateGroups[] = "late-groups";

std::string under(const char* folder, const std::string& name) {
  return std::string{folder} + "/" + name;
}

std::string recordPath(const std::string& id) {
  return under("containers", id);
}

// ext4 does not give an inode number out again for a minute or more after a deletion, and looks at
// each such number on the way to a free one (recently_deleted() in fs/ext4/ialloc.c): many
// short-lived containers in one block group make every new file slower. As the top of a hierarchy
// (chattr +T) a folder has its children spread over the groups.
void spreadChildren(int root, const char* folder) {
  const Fd dir = sys::openDirectory(root, folder);
  try {
    int flags = 0;
    sys::ioctl(dir.get(), FS_IOC_GETFLAGS, &flags, folder);
    flags |= FS_TOPDIR_FL;
    sys::ioctl(dir.get(), FS_IOC_SETFLAGS, &flags, folder);
  } catch (const Error& error) {
    log::debug("{}: {}", folder, error.cause());  // a file system without this flag, or without any
  }
}

// The helper folders are made when they are first needed.
template <class Make>
void makeIn(int root, const char* folder, Make&& make) {
  try {
    make();
  } catch (const Error& error) {
    if (error.errnum() != ENOENT) throw;
    sys::tryMkdirat(root, folder, 0700);
    if (folder == kParts) spreadChildren(root, folder);
    make();
  }
}

std::vector<fs::Entry> listIfPresent(int root, const char* folder) {
  const auto dir = sys::tryOpenat(root, folder, O_RDONLY | O_DIRECTORY);
  return dir ? fs::list(dir->get()) : std::vector<fs::Entry>{};
}

// The lock file of a record holds its id, and its name is a hard link to that file: no inode of its
// own to allocate and free, which is what making and removing a small file costs on ext4.
std::optional<std::string> readName(int root, const std::string& name) {
  auto id = fs::tryReadFile(root, under(kNames, name), 4096);
  if (id && !isContainerId(*id)) id.emplace();  // the power went before the id was written
  return id;
}

// Somebody else may be removing the same tree (recovery of two commands at once).
void removeShared(int root, const std::string& path) {
  for (int attempt = 0;; ++attempt) {
    try {
      return fs::removeTree(root, path);
    } catch (const Error& error) {
      const bool raced = error.errnum() == ENOENT || error.errnum() == ENOTEMPTY;
      if (!raced || attempt == 3) throw;
    }
  }
}

// Looks without leaving a lock file in a folder that is being removed. Mode::shared: two commands
// that look at the same time do not take each other for the keeper.
bool isLocked(int dir, FileLock::Mode mode) {
  const auto fd = sys::tryOpenat(dir, "lock", O_RDWR);
  if (!fd) return false;
  return ::flock(fd->get(), (mode == FileLock::Mode::shared ? LOCK_SH : LOCK_EX) | LOCK_NB) != 0 &&
         errno == EWOULDBLOCK;
}

void writeNew(int dir, const char* name, std::string_view content, bool durable) {
  Fd fd = sys::openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
  writeAll(fd.get(), content, name);
  if (durable) sys::fdatasync(fd.get(), name);
  fd.close(name);
}

bool isSameProcess(const ContainerState& state) {
  return state.pid > 0 && state.bootId == bootId() &&
         processStartTicks(state.pid) == state.startTicks;
}

// What is left of a container whose keeper is gone (reliability.md 8 and 9).
ContainerState lost(ContainerState state) {
  const bool rebooted = state.bootId != bootId();
  state.status = ContainerState::Status::exited;
  state.error = rebooted ? "host restarted" : "monitor lost";
  state.exitCode = rebooted ? 255 : 137;  // a keeper's death takes the container along: SIGKILL
  state.pid = 0;
  if (state.finishedAt.empty()) state.finishedAt = state.startedAt;
  return state;
}

Error nameInUse(const std::string& name, const std::string& holder) {
  Error error = Error::make(Kind::exists, "the container name {} is in use by container {}",
                            text::quote(name), holder.substr(0, 12));
  error.code("name-in-use")
      .hint(fmt::format("remove it (img rm {}) or use another name; --replace does both",
                        holder.substr(0, 12)));
  return error;
}

}  // namespace

std::optional<std::uint64_t> processStartTicks(pid_t pid) {
  const auto stat = [pid]() -> std::optional<std::string> {
    try {
      return fs::tryReadFile(AT_FDCWD, fmt::format("/proc/{}/stat", pid));
    } catch (const Error& error) {
      if (error.errnum() != ESRCH) throw;
      return std::nullopt;  // it ended between the open and the read
    }
  }();
  if (!stat) return std::nullopt;
  // The name in field 2 may hold blanks and parentheses: count from the last one (proc(5)).
  const size_t name = stat->rfind(')');
  if (name == std::string::npos) return std::nullopt;
  const std::vector<std::string> fields =
      text::split(std::string_view{*stat}.substr(name + 2), ' ');
  if (fields.size() < 20 || fields[0] == "Z" || fields[0] == "X") return std::nullopt;
  return text::parseUnsigned(fields[19]);
}

std::string timestampNow() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return text::formatTime(now.tv_sec, now.tv_nsec);
}

std::string sortableTime(const std::string& rfc3339) {
  const size_t dot = rfc3339.find('.');
  std::string fraction = dot == std::string::npos ? "" : rfc3339.substr(dot + 1);
  fraction.erase(std::min(fraction.find('Z'), fraction.size()));
  fraction.resize(9, '0');
  return rfc3339.substr(0, rfc3339.find_first_of(".Z")) + fraction;
}

void Containers::claimName(ContainerConfig& config, const std::string& folder) const {
  const bool generated = config.name.empty();
  for (int attempt = 0;; ++attempt) {
    if (generated) {
      std::uint64_t random = 0;
      sys::check([&] { return ::getrandom(&random, sizeof random, 0); }, "read random bytes");
      config.name = containerNameFor(random, attempt);
    }
    const auto holder = readName(layout_.fd(), config.name);
    // A link to a record that is nowhere was left by a process that died.
    const bool taken = holder && !holder->empty() &&
                       (sys::tryFstatat(layout_.fd(), recordPath(*holder)) ||
                        sys::tryFstatat(layout_.fd(), under(kParts, *holder)));
    if (taken && generated && attempt < 100) continue;
    if (taken) throw nameInUse(config.name, *holder);
    if (holder) sys::tryUnlinkat(layout_.fd(), under(kNames, config.name), 0);
    makeIn(layout_.fd(), kNames, [&] {
      sys::linkat(layout_.fd(), folder + "/lock", layout_.fd(), under(kNames, config.name), 0);
    });
    return;
  }
}

ContainerConfig Containers::create(ContainerConfig config) const {
  return createHeld(std::move(config)).config;
}

Containers::Held Containers::createHeld(ContainerConfig config) const try {
  if (!config.name.empty() && !isValidContainerName(config.name)) {
    throw Error::make(Kind::usage,
                      "invalid container name {}: only [a-zA-Z0-9][a-zA-Z0-9_.-]* is allowed",
                      text::quote(config.name));
  }
  if (config.id.empty()) config.id = fs::randomHex(64);
  if (config.createdAt.empty()) config.createdAt = timestampNow();
  const int root = layout_.fd();
  const std::string part = under(kParts, config.id);
  // Recovery, which takes the same lock, so never sees a folder in .part whose owner has not locked
  // it yet.
  std::optional<FileLock> names = FileLock::acquire(root, kLock, FileLock::Mode::exclusive);
  makeIn(root, kParts, [&] { sys::mkdirat(root, part, 0700); });
  const Fd dir = sys::openDirectory(root, part);
  FileLock lock = FileLock::acquire(dir.get(), "lock", FileLock::Mode::exclusive);
  writeAll(lock.fd(), config.id, "lock");
  // A --rm container does not outlive its keeper, let alone a power cut.
  const bool durable = !config.autoRemove && isDurable();
  try {
    claimName(config, part);
    names.reset();
    for (const char* folder : {"upper", "work"}) sys::mkdirat(dir.get(), folder, 0755);
    sys::fchmodat(dir.get(), "upper", 0755);  // whatever the umask: it is the container's "/"
    writeNew(dir.get(), "config.json", toJson(config), durable);
    failpoint("containers.beforeRename");
    sys::renameat(root, part, root, recordPath(config.id));
    failpoint("containers.afterRename");
  } catch (...) {
    if (readName(root, config.name) == config.id)
      sys::tryUnlinkat(root, under(kNames, config.name), 0);
    fs::removeTree(root, part);
    throw;
  }
  if (durable) sys::fsync(sys::openDirectory(root, "containers").get(), "containers");
  return {std::move(config), std::move(lock)};
} catch (Error& error) {
  const bool expected = error.kind() == Kind::exists || error.kind() == Kind::usage;
  if (!expected) error.during("making the container's record");
  throw;
}

std::vector<std::string> Containers::ids() const {
  std::vector<std::string> found;
  for (fs::Entry& entry : listIfPresent(layout_.fd(), "containers")) {
    if (isContainerId(entry.name)) found.push_back(std::move(entry.name));
  }
  return found;
}

std::optional<ContainerRecord> Containers::load(const std::string& id, bool withImage) const {
  const auto dir = sys::tryOpenat(layout_.fd(), recordPath(id), O_RDONLY | O_DIRECTORY);
  if (!dir) return std::nullopt;
  const auto config = fs::tryReadFile(dir->get(), "config.json");
  if (!config) return std::nullopt;
  ContainerRecord record;
  record.config = parseContainerConfig(*config, recordPath(id) + "/config.json", withImage);
  const auto readState = [&] {
    const auto text = fs::tryReadFile(dir->get(), "state.json");
    record.state =
        text ? parseContainerState(*text, recordPath(id) + "/state.json") : ContainerState{};
    return record.state.isAlive();
  };
  // A keeper writes the end down a moment after the process is gone: wait for that moment, but not
  // for a keeper that is stopped.
  for (int tries = 0; readState(); ++tries) {
    const bool held = isHeld(id);
    const bool waits = record.state.status == ContainerState::Status::restarting;
    if (held && (waits || isSameProcess(record.state))) break;
    if (!held && !readState()) break;  // written between the two looks
    if (!held || tries == 20) {
      record.state = lost(std::move(record.state));
      break;
    }
    const timespec pause{0, 1'000'000};
    ::nanosleep(&pause, nullptr);
  }
  return record;
}

std::vector<ContainerRecord> Containers::list() const {
  std::vector<ContainerRecord> records;
  for (const std::string& id : ids()) {
    if (auto record = load(id, false)) records.push_back(std::move(*record));
  }
  std::vector<std::pair<std::string, size_t>> order;
  for (size_t i = 0; i < records.size(); ++i)
    order.emplace_back(sortableTime(records[i].config.createdAt), i);
  std::sort(order.rbegin(), order.rend());
  std::vector<ContainerRecord> sorted;
  sorted.reserve(records.size());
  for (const auto& [key, index] : order) sorted.push_back(std::move(records[index]));
  return sorted;
}

std::optional<ContainerRecord> Containers::find(std::string_view argument) const {
  if (argument.starts_with('/')) argument.remove_prefix(1);
  const std::string word{argument};
  if (isContainerId(word)) return load(word, true);
  if (!isValidContainerName(word)) return std::nullopt;
  if (const auto id = readName(layout_.fd(), word)) {
    if (auto record = load(*id, true)) return record;
  }
  if (word.find_first_not_of("0123456789abcdef") != std::string::npos) return std::nullopt;
  std::vector<std::string> matches;
  for (std::string& id : ids()) {
    if (id.starts_with(word)) matches.push_back(std::move(id));
  }
  if (matches.empty()) return std::nullopt;
  if (matches.size() == 1) return load(matches.front(), true);
  for (std::string& match : matches) match.resize(12);
  throw Error::make(Kind::usage, "container id {} is ambiguous: {}", text::quote(word),
                    text::join(matches, ", "))
      .exitCode(1);
}

ContainerRecord Containers::get(std::string_view argument) const {
  if (auto record = find(argument)) return std::move(*record);
  throw Error::make(Kind::notFound, "no such container: {}", text::escape(argument))
      .code("container-not-found");
}

void Containers::setState(const std::string& id, const ContainerState& state) const {
  const Fd dir = folder(id);
  // Only the end must survive a power cut: a running container does not.
  const auto sync = state.status == ContainerState::Status::exited && isDurable() ? fs::Sync::data
                                                                                  : fs::Sync::none;
  fs::replaceFile(dir.get(), "state.json", toJson(state), 0600, sync);
}

void Containers::changeState(const std::string& id, const StateChange& change) const {
  const Fd dir = folder(id);
  const FileLock lock = FileLock::acquire(dir.get(), kStateLock, FileLock::Mode::exclusive);
  const auto text = fs::tryReadFile(dir.get(), "state.json");
  ContainerState state = text ? parseContainerState(*text, "state.json") : ContainerState{};
  if (change(state)) setState(id, state);
}

void Containers::setConfig(const ContainerConfig& config) const {
  const FileLock names = FileLock::acquire(layout_.fd(), kLock, FileLock::Mode::exclusive);
  ContainerConfig written = config;
  if (const auto now = load(config.id, false)) written.name = now->config.name;
  fs::replaceFile(folder(config.id).get(), "config.json", toJson(written), 0600, fs::Sync::full);
}

void Containers::requestStop(const std::string& id) const {
  const Fd made = sys::openat(folder(id).get(), kStop, O_WRONLY | O_CREAT | O_NOFOLLOW, 0600);
}

void Containers::forgetStop(const std::string& id) const {
  sys::tryUnlinkat(folder(id).get(), kStop, 0);
}

bool Containers::isStopRequested(const std::string& id) const {
  const auto dir = sys::tryOpenat(layout_.fd(), recordPath(id), O_RDONLY | O_DIRECTORY);
  return !dir || sys::tryFstatat(dir->get(), kStop);
}

void Containers::announceLateGroups(const std::string& id) const {
  const Fd made = sys::openat(folder(id).get(), kLateGroups, O_WRONLY | O_CREAT | O_NOFOLLOW, 0600);
}

bool Containers::mayHaveLateGroups(const std::string& id) const {
  const auto dir = sys::tryOpenat(layout_.fd(), recordPath(id), O_RDONLY | O_DIRECTORY);
  return !dir || sys::tryFstatat(dir->get(), kLateGroups);
}

void Containers::rename(const ContainerRecord& record, const std::string& name) const {
  if (!isValidContainerName(name)) {
    throw Error::make(Kind::usage,
                      "invalid container name {}: only [a-zA-Z0-9][a-zA-Z0-9_.-]* is allowed",
                      text::quote(name));
  }
  const FileLock names = FileLock::acquire(layout_.fd(), kLock, FileLock::Mode::exclusive);
  // Read again: somebody else may have renamed it before we had the lock.
  const auto now = load(record.config.id, true);
  if (!now) throw Error::make(Kind::notFound, "container {} was removed", record.config.name);
  ContainerConfig config = now->config;
  config.name = name;
  claimName(config, recordPath(config.id));
  fs::replaceFile(folder(config.id).get(), "config.json", toJson(config), 0600, fs::Sync::full);
  sys::tryUnlinkat(layout_.fd(), under(kNames, now->config.name), 0);
}

FileLock Containers::hold(const std::string& id) const {
  return FileLock::acquire(folder(id).get(), "lock", FileLock::Mode::exclusive);
}

std::optional<FileLock> Containers::tryHold(const std::string& id) const {
  const Fd dir = folder(id);
  try {
    return FileLock::tryAcquire(dir.get(), "lock", FileLock::Mode::exclusive);
  } catch (const Error& error) {
    if (error.errnum() == ENOENT) std::ignore = folder(id);  // removed meanwhile: says so
    throw;
  }
}

bool Containers::isHeld(const std::string& id) const {
  const auto dir = sys::tryOpenat(layout_.fd(), recordPath(id), O_RDONLY | O_DIRECTORY);
  return dir && isLocked(dir->get(), FileLock::Mode::shared);
}

void Containers::markAutoRemove(const std::string& id) const {
  const int root = layout_.fd();
  if (sys::tryFstatat(root, under(kAuto, id))) return;
  makeIn(root, kAuto,
         [&] { sys::linkat(root, recordPath(id) + "/lock", root, under(kAuto, id), 0); });
}

void Containers::unmarkAutoRemove(const std::string& id) const {
  sys::tryUnlinkat(layout_.fd(), under(kAuto, id), 0);
}

// `probable`: what the container was called when the caller looked. Only when somebody has renamed
// it since, its record has to be read again.
void Containers::giveNameBack(const std::string& id, const std::string& probable) const {
  const int root = layout_.fd();
  const FileLock names = FileLock::acquire(root, kLock, FileLock::Mode::exclusive);
  const auto giveBack = [&](const std::string& name) {
    if (name.empty() || readName(root, name) != id) return false;
    return sys::tryUnlinkat(root, under(kNames, name), 0);
  };
  if (giveBack(probable)) return;
  const std::string path = under(kParts, id) + "/config.json";
  const auto text = fs::tryReadFile(root, path);
  if (text) giveBack(parseContainerConfig(*text, path, false).name);
}

void Containers::remove(const std::string& id, const std::string& name) const {
  const int root = layout_.fd();
  const std::string part = under(kParts, id);
  try {
    sys::renameat(root, recordPath(id), root, part);
    failpoint("containers.removing");
  } catch (const Error& error) {
    if (error.errnum() != ENOENT) throw;
    return removeShared(root, part);
  }
  giveNameBack(id, name);
  removeShared(root, part);
  sys::tryUnlinkat(root, under(kAuto, id), 0);
}

Fd Containers::folder(const std::string& id) const {
  auto dir = sys::tryOpenat(layout_.fd(), recordPath(id), O_RDONLY | O_DIRECTORY);
  if (!dir)
    throw Error::make(Kind::notFound, "no such container: {}", id.substr(0, 12))
        .code("container-not-found");
  return std::move(*dir);
}

namespace {

// nullopt too when somebody else has just removed the record: its folder takes no new lock file.
std::optional<FileLock> tryLockRecord(int dir) {
  try {
    return FileLock::tryAcquire(dir, "lock", FileLock::Mode::exclusive);
  } catch (const Error& error) {
    if (error.errnum() == ENOENT) return std::nullopt;
    throw;
  }
}

// The name of a record that was never finished, or not removed to the end: the hard link to its
// lock.
void dropNameOf(int root, int dir) {
  const auto lock = sys::tryFstatat(dir, "lock");
  if (!lock || lock->st_nlink < 2) return;
  for (const fs::Entry& entry : listIfPresent(root, kNames)) {
    const auto link = sys::tryFstatat(root, under(kNames, entry.name));
    if (link && link->st_ino == lock->st_ino) {
      sys::tryUnlinkat(root, under(kNames, entry.name), 0);
    }
  }
}

}  // namespace

void Containers::recoverParts() const {
  const int root = layout_.fd();
  const std::vector<fs::Entry> parts = listIfPresent(root, kParts);
  if (parts.empty()) return;
  std::optional<FileLock> names = FileLock::acquire(root, kLock, FileLock::Mode::exclusive);
  std::vector<std::string> dead;
  for (const fs::Entry& entry : parts) {
    const auto dir = sys::tryOpenat(root, under(kParts, entry.name), O_RDONLY | O_DIRECTORY);
    if (!dir || isLocked(dir->get(), FileLock::Mode::exclusive)) continue;
    dropNameOf(root, dir->get());
    dead.push_back(entry.name);
  }
  names.reset();
  for (const std::string& name : dead) {
    log::info("removing the unfinished container {}", name.substr(0, 12));
    removeShared(root, under(kParts, name));
    sys::tryUnlinkat(root, under(kAuto, name), 0);
  }
}

std::vector<ContainerConfig> Containers::recover(const DropRest& dropRest) const {
  recoverParts();
  const int root = layout_.fd();
  std::vector<ContainerConfig> removed;
  for (const fs::Entry& entry : listIfPresent(root, kAuto)) {
    const auto dir = sys::tryOpenat(root, recordPath(entry.name), O_RDONLY | O_DIRECTORY);
    if (!dir) {  // its owner is at it, or was
      if (!sys::tryFstatat(root, under(kParts, entry.name))) {
        sys::tryUnlinkat(root, under(kAuto, entry.name), 0);
      }
      continue;
    }
    const auto lock = tryLockRecord(dir->get());
    if (!lock) continue;
    // Since the list was read its maker may have finished it, and taken the mark back.
    if (!sys::tryFstatat(root, under(kAuto, entry.name))) continue;
    log::info("removing container {}, whose keeper died", entry.name.substr(0, 12));
    if (const auto text = fs::tryReadFile(dir->get(), "config.json")) {
      removed.push_back(parseContainerConfig(*text, recordPath(entry.name), false));
      if (dropRest) dropRest(removed.back());
    }
    remove(entry.name);
  }
  return removed;
}

}  // namespace img::store
