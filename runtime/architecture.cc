#include "runtime/architecture.h"

#include <elf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <vector>

#include "base/fs.h"
#include "base/sys.h"
#include "base/text.h"
#include "runtime/command.h"

namespace img::runtime {
namespace {

struct Machine {
  std::string_view name;      // Go's, as images have it
  std::string_view qemuName;  // in the handlers' names of qemu-user (qemu-aarch64)
  unsigned number;            // e_machine
  unsigned char size, order;  // EI_CLASS, EI_DATA
};

constexpr std::array<Machine, 14> kMachines = {{
    {"amd64", "x86_64", EM_X86_64, ELFCLASS64, ELFDATA2LSB},
    {"arm64", "aarch64", EM_AARCH64, ELFCLASS64, ELFDATA2LSB},
    {"arm", "arm", EM_ARM, ELFCLASS32, ELFDATA2LSB},
    {"386", "i386", EM_386, ELFCLASS32, ELFDATA2LSB},
    {"ppc64le", "ppc64le", EM_PPC64, ELFCLASS64, ELFDATA2LSB},
    {"ppc64", "ppc64", EM_PPC64, ELFCLASS64, ELFDATA2MSB},
    {"s390x", "s390x", EM_S390, ELFCLASS64, ELFDATA2MSB},
    {"riscv64", "riscv64", EM_RISCV, ELFCLASS64, ELFDATA2LSB},
    {"mips64le", "mips64el", EM_MIPS, ELFCLASS64, ELFDATA2LSB},
    {"mips64", "mips64", EM_MIPS, ELFCLASS64, ELFDATA2MSB},
    {"mipsle", "mipsel", EM_MIPS, ELFCLASS32, ELFDATA2LSB},
    {"mips", "mips", EM_MIPS, ELFCLASS32, ELFDATA2MSB},
    {"loong64", "loongarch64", 258 /* EM_LOONGARCH */, ELFCLASS64, ELFDATA2LSB},
    {"riscv32", "riscv32", EM_RISCV, ELFCLASS32, ELFDATA2LSB},
}};

constexpr int kNotExecutable = 126;
// As the kernel: a script's interpreter may be a script (exec.c, bprm->recursion).
constexpr int kMaxScripts = 5;

std::string headOf(int file) {
  std::string head(256, '\0');
  const ssize_t size = ::pread(file, head.data(), head.size(), 0);
  head.resize(size > 0 ? static_cast<size_t>(size) : 0);
  return head;
}

// The begin of the program `path` of the container; "" when there is no such program.
std::string headInRoot(int root, const std::string& path) {
  try {
    const auto file = sys::tryOpenInRoot(root, path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
    if (!file) return {};
    const struct stat info = sys::fstat(file->get());
    const bool isProgram = S_ISREG(info.st_mode) && (info.st_mode & 0111) != 0;
    return isProgram ? headOf(file->get()) : std::string{};
  } catch (const Error&) {
    return {};  // only an explanation is at stake
  }
}

// Where findCommand looks, seen from outside the container.
std::vector<std::string> candidates(const Spec& spec) {
  const std::string& name = spec.argv.front();
  if (name.starts_with('/')) return {name};
  if (name.find('/') != std::string::npos) return {spec.cwd + "/" + name};
  std::string path{kDefaultPath};
  for (const std::string& entry : spec.env) {
    if (entry.starts_with("PATH=") && entry.size() > 5) path = entry.substr(5);
  }
  std::vector<std::string> found;
  for (const std::string& folder : text::split(path, ':'))
    found.push_back(folder.starts_with('/') ? fmt::format("{}/{}", folder, name)
                                            : fmt::format("{}/{}/{}", spec.cwd, folder, name));
  return found;
}

}  // namespace

std::string scriptInterpreter(std::string_view head) {
  if (!head.starts_with("#!")) return {};
  const std::string_view line = text::trim(head.substr(2, head.find('\n') - 2));
  return std::string{line.substr(0, line.find_first_of(" \t"))};
}

std::optional<std::string> elfArchitecture(std::string_view head) {
  // e_machine lies at the same place in both classes (elf(5)).
  constexpr size_t kMachineAt = offsetof(Elf64_Ehdr, e_machine);
  static_assert(kMachineAt == offsetof(Elf32_Ehdr, e_machine));
  if (head.size() < kMachineAt + 2 || !head.starts_with(ELFMAG)) return std::nullopt;
  const auto byte = [&](size_t at) -> unsigned { return static_cast<unsigned char>(head[at]); };
  const bool isBig = byte(EI_DATA) == ELFDATA2MSB;
  const unsigned number = byte(kMachineAt) << (isBig ? 8 : 0) | byte(kMachineAt + 1)
                                                                    << (isBig ? 0 : 8);
  for (const Machine& machine : kMachines) {
    if (machine.number == number && machine.size == byte(EI_CLASS) &&
        machine.order == byte(EI_DATA))
      return std::string{machine.name};
  }
  return fmt::format("ELF machine {}", number);
}

std::string hostArchitecture() {
  utsname names{};
  if (::uname(&names) != 0) return "unknown";
  const std::string_view machine = names.machine;
  for (const Machine& known : kMachines) {
    if (known.qemuName == machine) return std::string{known.name};
  }
  // uname(2) names the 32-bit ARM machines armv6l, armv7l, and PCs i386 to i686.
  if (machine.starts_with("armv")) return "arm";
  if (machine.size() == 4 && machine.ends_with("86")) return "386";
  return std::string{machine};
}

bool hasBinfmtHandler(const std::string& architecture, const std::string& handlers) {
  const auto found = std::find_if(kMachines.begin(), kMachines.end(), [&](const Machine& machine) {
    return machine.name == architecture;
  });
  const std::string name = found == kMachines.end() ? architecture : std::string{found->qemuName};
  // Kernel admin-guide/binfmt-misc.rst: the first line of a handler's file says enabled or
  // disabled.
  const auto text = fs::tryReadFile(AT_FDCWD, handlers + "/qemu-" + name, size_t{64} << 10);
  return text && text->starts_with("enabled");
}

Error foreignError(std::string_view what, const std::string& architecture,
                   const std::string& handlers) {
  const std::string wanted = text::escape(architecture);
  Error error = Error::make(Kind::unsupported, "{} linux/{}, this machine is linux/{}", what,
                            wanted, hostArchitecture());
  error.code("arch").exitCode(kNotExecutable);
  if (hasBinfmtHandler(architecture, handlers))
    return error.why(
        fmt::format("binfmt_misc has a handler for {}, which does not take the program", wanted));
  return error.why(fmt::format("binfmt_misc has no handler for {}", wanted))
      .hint("install a handler (on Debian the packages qemu-user-static and binfmt-support)");
}

Error explainForeign(const Error& error, int root, const Spec& spec, const std::string& handlers) {
  if (error.errnum() != ENOEXEC) return error;
  for (std::string path : candidates(spec)) {
    std::string head = headInRoot(root, path);
    if (head.empty()) continue;
    for (int i = 0; i < kMaxScripts && head.starts_with("#!"); ++i) {
      path = scriptInterpreter(head);
      head = headInRoot(root, path);
    }
    const auto architecture = elfArchitecture(head);
    if (!architecture || *architecture == hostArchitecture()) return error;
    return foreignError(text::quote(path) + " is a program for", *architecture, handlers);
  }
  return error;
}

}  // namespace img::runtime
