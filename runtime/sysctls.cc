#include "runtime/sysctls.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

#include "base/error.h"
#include "base/sys.h"
#include "base/text.h"

namespace img::runtime {
namespace {

// ipc_namespaces(7). kernel/shm_rmid_forced and the rest are written in ipc/ipc_sysctl.c.
constexpr std::string_view kIpc[] = {
    "kernel/msgmax", "kernel/msgmnb", "kernel/msgmni",          "kernel/sem",
    "kernel/shmall", "kernel/shmmax", "kernel/shm_rmid_forced", "kernel/shmmni"};

bool isOwn(const Spec& spec, std::string_view space) {
  using From = Namespace::From;
  if (space == "net") return spec.network == Network::none;
  if (space == "ipc") return spec.ipc.from == From::own;
  if (space == "uts") return spec.uts.from == From::own;
  return space == "user" && spec.userNamespace.isOwn();
}

}  // namespace

std::string sysctlPath(std::string_view key) {
  std::string path{key};
  const size_t first = path.find_first_of("./");
  if (first == std::string::npos || path[first] == '/') return path;
  for (char& letter : path) {
    if (letter == '.') {
      letter = '/';
    } else if (letter == '/') {
      letter = '.';
    }
  }
  return path;
}

std::string_view namespaceOfSysctl(std::string_view key) {
  const std::string path = sysctlPath(key);
  // "net/../vm/swappiness" is none of the network's.
  for (const std::string& part : text::split(path, '/')) {
    if (part.empty() || part == "." || part == "..") return "";
  }
  if (path.starts_with("net/")) return "net";
  if (path.starts_with("user/")) return "user";
  // The host name has an option of its own, and what the container is called is known outside.
  if (path == "kernel/domainname") return "uts";
  const bool isIpc = path.starts_with("fs/mqueue/") ||
                     std::find(std::begin(kIpc), std::end(kIpc), path) != std::end(kIpc);
  return isIpc ? "ipc" : "";
}

void checkSysctls(const Spec& spec) {
  for (const auto& [name, value] : spec.sysctls) {
    const std::string_view space = namespaceOfSysctl(name);
    if (!space.empty() && isOwn(spec, space)) continue;
    Error error = Error::make(Kind::usage, "cannot set sysctl {}", text::quote(name));
    if (space.empty()) {
      error.why("it is a setting of the whole machine, of no namespace");
    } else {
      error.why(fmt::format("the container has no {} namespace of its own", space));
    }
    throw error;
  }
}

void applySysctls(int proc, const Spec& spec) {
  for (const auto& [name, value] : spec.sysctls) {
    try {
      // The file belongs to root of the machine, also in a user namespace.
      if (sysctlPath(name) == "kernel/domainname") {
        sys::check([&] { return ::setdomainname(value.data(), value.size()); }, "setdomainname");
        continue;
      }
      const Fd file = sys::openBeneath(proc, "sys/" + sysctlPath(name), O_WRONLY);
      writeAll(file.get(), value, name);
    } catch (Error& error) {
      throw Error::make(Kind::failed, "cannot set sysctl {} to {}", text::quote(name),
                        text::quote(value))
          .why(error.errnum() == ENOENT ? "this kernel has no such setting" : error.cause());
    }
  }
}

}  // namespace img::runtime
