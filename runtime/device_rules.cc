#include "runtime/device_rules.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <optional>
#include <string>

#include "base/fd.h"
#include "base/log.h"
#include "base/sys.h"
#include "base/text.h"

namespace img::runtime {
namespace {

constexpr std::uint64_t kStrong = std::uint64_t{1} << CAP_SYS_ADMIN | std::uint64_t{1} << CAP_MKNOD;

struct Rule {
  char type = 'c';
  unsigned major = 0;
  std::optional<unsigned> minor;  // nullopt: every one
  std::string access;
};

// Linux Documentation/admin-guide/devices.txt; 136 to 143 are the slaves of pseudo terminals.
std::vector<Rule> rulesOf(const Spec& spec) {
  std::vector<Rule> rules;
  for (const unsigned minor : {3U, 5U, 7U, 8U, 9U}) rules.push_back({'c', 1, minor, "rwm"});
  for (const unsigned minor : {0U, 1U, 2U}) rules.push_back({'c', 5, minor, "rwm"});
  for (unsigned major = 136; major <= 143; ++major) rules.push_back({'c', major, {}, "rwm"});
  for (const DeviceNode& node : spec.devices) {
    if (!S_ISCHR(node.type) && !S_ISBLK(node.type)) continue;
    rules.push_back(
        {S_ISBLK(node.type) ? 'b' : 'c', major(node.device), minor(node.device), node.access});
  }
  return rules;
}

bool isRestricted(const DeviceNode& node) {
  return node.access.find('r') == std::string::npos || node.access.find('w') == std::string::npos;
}

// linux/bpf.h has the fields, and the macros for them only inside the kernel.
bpf_insn instruction(unsigned code, unsigned target, unsigned source, int offset, int value) {
  bpf_insn one{};
  one.code = static_cast<__u8>(code);
  one.dst_reg = target & 0xf;
  one.src_reg = source & 0xf;
  one.off = static_cast<__s16>(offset);
  one.imm = value;
  return one;
}

enum Register : unsigned { kResult, kContext, kType, kAccess, kMajor, kMinor, kExcess };

int accessBits(const std::string& access) {
  int bits = 0;
  for (const char letter : access) {
    if (letter == 'm') bits |= BPF_DEVCG_ACC_MKNOD;
    if (letter == 'r') bits |= BPF_DEVCG_ACC_READ;
    if (letter == 'w') bits |= BPF_DEVCG_ACC_WRITE;
  }
  return bits;
}

void addVerdict(std::vector<bpf_insn>& program, bool isAllowed) {
  program.push_back(instruction(BPF_ALU64 | BPF_MOV | BPF_K, kResult, 0, 0, isAllowed ? 1 : 0));
  program.push_back(instruction(BPF_JMP | BPF_EXIT, 0, 0, 0, 0));
}

// Allowed when all of it fits; else on to what follows.
void addRule(std::vector<bpf_insn>& program, const Rule& rule) {
  const int type = rule.type == 'b' ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR;
  const int minorTest = rule.minor ? 1 : 0;
  const auto skipUnless = [&](unsigned reg, int value, int left) {
    program.push_back(instruction(BPF_JMP | BPF_JNE | BPF_K, reg, 0, left, value));
  };
  skipUnless(kType, type, 6 + minorTest);
  program.push_back(instruction(BPF_ALU64 | BPF_MOV | BPF_X, kExcess, kAccess, 0, 0));
  program.push_back(
      instruction(BPF_ALU64 | BPF_AND | BPF_K, kExcess, 0, 0, ~accessBits(rule.access)));
  skipUnless(kExcess, 0, 3 + minorTest);
  skipUnless(kMajor, static_cast<int>(rule.major), 2 + minorTest);
  if (rule.minor) skipUnless(kMinor, static_cast<int>(*rule.minor), 2);
  addVerdict(program, true);
}

long bpf(int command, bpf_attr& attributes) {
  return ::syscall(SYS_bpf, command, &attributes, sizeof attributes);
}

// 0, or the errno.
int attachProgram(int group, const Spec& spec) {
  const std::vector<bpf_insn> program = deviceProgram(spec);
  const char license[] = "Apache-2.0";
  bpf_attr load{};
  load.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
  load.insn_cnt = static_cast<__u32>(program.size());
  load.insns = reinterpret_cast<std::uintptr_t>(program.data());
  load.license = reinterpret_cast<std::uintptr_t>(license);
  const Fd loaded{static_cast<int>(bpf(BPF_PROG_LOAD, load))};  // close-on-exec, bpf(2)
  if (!loaded) return errno;
  const Fd folder = sys::reopen(group, O_RDONLY | O_DIRECTORY);
  bpf_attr attach{};
  attach.target_fd = static_cast<__u32>(folder.get());
  attach.attach_bpf_fd = static_cast<__u32>(loaded.get());
  attach.attach_type = BPF_CGROUP_DEVICE;
  attach.attach_flags = BPF_F_ALLOW_MULTI;
  return bpf(BPF_PROG_ATTACH, attach) == 0 ? 0 : errno;
}

void writeRule(const std::string& file, const std::string& rule) {
  writeAll(sys::openat(AT_FDCWD, file, O_WRONLY).get(), rule, file);
}

// Linux Documentation/admin-guide/cgroup-v1/devices.rst.
void writeRules(const std::string& folder, const Spec& spec) {
  writeRule(folder + "/devices.deny", "a");
  for (const char* nodes : {"c *:* m", "b *:* m"}) writeRule(folder + "/devices.allow", nodes);
  for (const Rule& rule : rulesOf(spec)) {
    const std::string minor = rule.minor ? std::to_string(*rule.minor) : "*";
    writeRule(folder + "/devices.allow",
              fmt::format("{} {}:{} {}", rule.type, rule.major, minor, rule.access));
  }
}

}  // namespace

bool needsDeviceRules(const Spec& spec) {
  if (spec.privileged) return false;
  return (spec.capabilities & kStrong) != 0 ||
         std::any_of(spec.devices.begin(), spec.devices.end(), isRestricted);
}

std::vector<bpf_insn> deviceProgram(const Spec& spec) {
  std::vector<bpf_insn> program;
  const auto loadWord = [&](unsigned reg, int offset) {
    program.push_back(instruction(BPF_LDX | BPF_MEM | BPF_W, reg, kContext, offset, 0));
  };
  // struct bpf_cgroup_dev_ctx: access in the upper half of the first word, type in the lower.
  loadWord(kType, 0);
  loadWord(kMajor, 4);
  loadWord(kMinor, 8);
  program.push_back(instruction(BPF_ALU64 | BPF_MOV | BPF_X, kAccess, kType, 0, 0));
  program.push_back(instruction(BPF_ALU64 | BPF_RSH | BPF_K, kAccess, 0, 0, 16));
  program.push_back(instruction(BPF_ALU64 | BPF_AND | BPF_K, kType, 0, 0, 0xffff));
  program.push_back(instruction(BPF_JMP | BPF_JNE | BPF_K, kAccess, 0, 2, BPF_DEVCG_ACC_MKNOD));
  addVerdict(program, true);
  for (const Rule& rule : rulesOf(spec)) addRule(program, rule);
  addVerdict(program, false);
  return program;
}

void applyDeviceRules(Cgroup& group, const Spec& spec) {
  if (!needsDeviceRules(spec)) return;
  std::string why = "there is neither a version 2 group nor the devices hierarchy of version 1";
  if (group.into) {
    const int errnum = attachProgram(group.into.get(), spec);
    if (errnum == 0) return;
    why = Error::fromErrno(errnum, "attach a program to its cgroup").cause();
  }
  const std::string folder = CgroupTree{}.enterDevices(group);
  if (!folder.empty()) return writeRules(folder, spec);
  if (std::any_of(spec.devices.begin(), spec.devices.end(), isRestricted)) {
    throw Error{Kind::unsupported, "cannot restrict the access to a device"}.code("cgroup").why(
        why);
  }
  log::warn("the capabilities of this container open devices of the host: {}", why);
}

}  // namespace img::runtime
