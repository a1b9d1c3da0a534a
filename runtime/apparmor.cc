#include "runtime/apparmor.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/vfs.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/sys.h"
#include "base/text.h"

namespace img::runtime {
namespace {

bool isEnabled() {
  return fs::tryReadFile(AT_FDCWD, "/sys/module/apparmor/parameters/enabled")
      .value_or("")
      .starts_with('Y');
}

}  // namespace

void checkAppArmor(const std::string& profile) {
  if (!isEnabled()) {
    throw Error::make(Kind::unsupported, "cannot run under the AppArmor profile {}",
                      text::quote(profile))
        .why("this kernel has no AppArmor, or it is switched off")
        .hint("apparmor=unconfined runs the container without a profile")
        .exitCode(125);
  }
  // "NAME (enforce)" in each line. Who may not read the list learns it from the kernel at exec.
  const auto loaded = fs::tryReadFile(AT_FDCWD, "/sys/kernel/security/apparmor/profiles");
  if (!loaded) return;
  for (const std::string& line : text::split(*loaded, '\n')) {
    if (line.starts_with(profile + " (")) return;
  }
  throw Error::make(Kind::notFound, "the AppArmor profile {} is not loaded", text::quote(profile))
      .hint("load it with apparmor_parser(8)")
      .exitCode(125);
}

void enterAppArmorOnExec(const std::string& profile) {
  if (profile.empty()) return;
  checkAppArmor(profile);
  // The folder apparmor/ is of Linux 5.1 (Documentation/admin-guide/LSM/apparmor.rst).
  std::optional<Fd> file =
      sys::tryOpenat(AT_FDCWD, "/proc/thread-self/attr/apparmor/exec", O_WRONLY);
  if (!file) file = sys::openat(AT_FDCWD, "/proc/thread-self/attr/exec", O_WRONLY);
  if (sys::fstatfs(file->get(), "/proc/thread-self/attr").f_type != PROC_SUPER_MAGIC) {
    throw Error{Kind::denied, "/proc is not the kernel's own: the AppArmor profile cannot be set"};
  }
  writeAll(file->get(), "exec " + profile, "the AppArmor profile");
}

}  // namespace img::runtime
