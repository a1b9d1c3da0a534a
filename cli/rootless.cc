#include "cli/rootless.h"

#include <linux/capability.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "base/fs.h"
#include "base/log.h"
#include "base/sys.h"
#include "base/text.h"
#include "cli/command.h"
#include "runtime/chroot_run.h"
#include "store/union_copy.h"

namespace img::cli {
namespace {

// What the process has entered is a fact about the process, as its working folder is.
struct Entered {
  std::string registry;  // the folder; empty: nothing, or a namespace nobody else joins
  std::optional<runtime::Registration> registration;
};
Entered& entered() {
  static Entered state;
  return state;
}

constexpr std::string_view kTold = "told";

// The same reason is told once per boot, not by every command.
void tellOneId(Context& context, const std::string& folder, const std::string& why) {
  const auto dir = sys::tryOpenat(AT_FDCWD, folder, O_RDONLY | O_DIRECTORY);
  if (!dir || fs::tryReadFile(dir->get(), std::string{kTold}) == why) return;
  context.warn(
      Error{Kind::denied, "only one user id is there for containers"}.code("idmap").why(why).hint(
          "other owners are recorded, so images come out the same, but commands that "
          "change users or owners (apt, su, USER) fail"));
  fs::replaceFile(dir->get(), std::string{kTold}, why, 0600, fs::Sync::none);
}

void checkRanges(Isolation wanted, std::string_view why) {
  if (wanted != Isolation::userns || runtime::contiguousIds(runtime::currentUidMap()) > 1) return;
  throw Error{Kind::denied, "--isolation userns: there are no subordinate ids"}.code("idmap").why(
      std::string{why});
}

void joinOrMake(Context& context, Isolation wanted) {
  const runtime::NamespaceRegistry registry{context.runRoot() + "/userns"};
  const FileLock lock = registry.lock();
  if (const auto space = registry.findLive(::geteuid())) {
    runtime::joinUserNamespace(space->get());
    checkRanges(wanted, "another command of this user has begun without them");
  } else {
    const std::string why = runtime::makeUserNamespace(runtime::planIds(true));
    checkRanges(wanted, why);
    if (!why.empty()) tellOneId(context, registry.folder(), why);
  }
  entered().registry = registry.folder();
  entered().registration.emplace(registry.folder());
}

ino_t userNamespace() {
  struct stat info {};
  return ::stat("/proc/self/ns/user", &info) == 0 ? info.st_ino : 0;
}

// unshare(2) itself was refused, to root of an unprivileged container. In a new namespace, whose
// rights a security module has taken away, there is no way back.
bool mayWorkInChroot(const Error& error, ino_t before) {
  return error.code() == "userns-denied" && userNamespace() == before && runtime::hasChrootRights();
}

void workWithoutMounts() {
  // Another namespace's root has the capability and not the attributes (xattr(7)).
  store::copyUnions(runtime::canAdminister() && runtime::isInitialUserNamespace());
  log::info("isolation: {}", isolationName());
}

}  // namespace

Isolation parseIsolation(std::string_view option, std::string_view value) {
  static constexpr std::array<std::pair<std::string_view, Isolation>, 10> kNames{
      {{"auto", Isolation::automatic},
       {"root", Isolation::root},
       {"userns", Isolation::userns},
       {"userns1", Isolation::userns1},
       {"chroot", Isolation::chroot},
       // docker's and buildah's
       {"default", Isolation::automatic},
       {"process", Isolation::automatic},
       {"hyperv", Isolation::automatic},
       {"oci", Isolation::automatic},
       {"rootless", Isolation::automatic}}};
  const std::string lower = text::lower(value);
  const auto* const found = std::find_if(kNames.begin(), kNames.end(),
                                         [&](const auto& name) { return name.first == lower; });
  if (found != kNames.end()) return found->second;
  throw Error::make(Kind::usage,
                    "invalid value {} for {}: expected auto, root, userns, userns1 or chroot",
                    text::quote(value), option);
}

std::string isolationName() {
  if (store::copiesUnions()) return "chroot";
  if (runtime::isInitialUserNamespace()) return "root";
  const bool hasMore = runtime::contiguousIds(runtime::currentUidMap()) > 1 &&
                       runtime::contiguousIds(runtime::currentGidMap()) > 1;
  return hasMore ? "userns" : "userns1";
}

void enterIsolation(Context& context, Isolation wanted) {
  const bool hasRights = runtime::canAdminister();
  if (wanted == Isolation::chroot) {
    runtime::checkChrootRights();
    return workWithoutMounts();
  }
  if (wanted == Isolation::root && !hasRights) {
    throw Error{Kind::denied, "--isolation root: this process may not administer the machine"}.why(
        "CAP_SYS_ADMIN is missing");
  }
  if (hasRights && wanted != Isolation::userns && wanted != Isolation::userns1) return;
  if (hasRights && runtime::isInitialUserNamespace()) {
    // Its store's layers carry marks that a user namespace does not see.
    throw Error{Kind::usage, "root works without a user namespace"}.hint(
        "run the command as an ordinary user, or without --isolation");
  }
  if (wanted == Isolation::userns1) {
    std::ignore = runtime::makeUserNamespace(runtime::planIds(false));
  } else {
    const ino_t before = userNamespace();
    try {
      joinOrMake(context, wanted);
    } catch (const Error& error) {
      if (wanted != Isolation::automatic || !mayWorkInChroot(error, before)) throw;
      return workWithoutMounts();
    }
  }
  log::info("isolation: {}", isolationName());
}

void tellWithoutNamespaces(Context& context) {
  if (!store::copiesUnions()) return;
  std::string lacks = "no /proc and no /sys";
  if (!runtime::hasCapability(CAP_MKNOD)) lacks += ", and of /dev only a plain file null";
  context.warn(Error{Kind::denied, "steps run in a chroot: there are no namespaces and mounts here"}
                   .code("isolation-chroot")
                   .why("they share processes, network, host name and limits with this program, "
                        "and have " +
                        lacks)
                   .hint("build only what you trust as much as this container"));
}

void requireNamespaces() {
  if (!store::copiesUnions()) return;
  throw Error{Kind::denied, "containers cannot be run here"}
      .code("userns-denied")
      .why("isolation chroot: this process has neither mounts nor namespaces")
      .hint("images can be built, loaded and saved; `img doctor` shows what is missing")
      .exitCode(125);
}

std::optional<runtime::Registration> stayInNamespace() {
  if (entered().registry.empty()) return std::nullopt;
  return runtime::Registration{entered().registry};
}

}  // namespace img::cli
