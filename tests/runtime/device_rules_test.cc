#include "runtime/device_rules.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/fs.h"
#include "runtime/security.h"
#include "tests/runtime/sandbox.h"

namespace img::runtime::test {
namespace {

DeviceNode kernelLog(const char* access) {
  DeviceNode node;
  node.path = "/dev/kmsg";
  node.type = S_IFCHR | 0600;
  node.device = makedev(1, 11);
  node.access = access;
  return node;
}

TEST(DeviceRules, AreNeededWhereNodevIsNotEnough) {
  Spec spec;
  spec.capabilities = kDefaultCapabilities;
  EXPECT_FALSE(needsDeviceRules(spec));
  spec.devices = {kernelLog("rwm")};
  EXPECT_FALSE(needsDeviceRules(spec));
  spec.devices = {kernelLog("r")};
  EXPECT_TRUE(needsDeviceRules(spec));
  spec.devices.clear();
  for (const char* name : {"MKNOD", "SYS_ADMIN"}) {
    spec.capabilities = kDefaultCapabilities | parseCapability(name);
    EXPECT_TRUE(needsDeviceRules(spec)) << name;
  }
  spec.privileged = true;
  EXPECT_FALSE(needsDeviceRules(spec));
}

// What the kernel would answer (only the instructions of our own program).
bool isAllowed(const Spec& spec, unsigned type, unsigned access, unsigned major, unsigned minor) {
  const std::vector<bpf_insn> program = deviceProgram(spec);
  const std::uint32_t context[3] = {access << 16 | type, major, minor};
  std::int64_t registers[10] = {};
  for (size_t at = 0; at < program.size(); ++at) {
    const bpf_insn& one = program[at];
    std::int64_t& target = registers[one.dst_reg];
    switch (one.code) {
      case BPF_LDX | BPF_MEM | BPF_W: target = context[one.off / 4]; break;
      case BPF_ALU64 | BPF_MOV | BPF_X: target = registers[one.src_reg]; break;
      case BPF_ALU64 | BPF_MOV | BPF_K: target = one.imm; break;
      case BPF_ALU64 | BPF_AND | BPF_K: target &= one.imm; break;
      case BPF_ALU64 | BPF_RSH | BPF_K: target >>= one.imm; break;
      case BPF_JMP | BPF_JNE | BPF_K: at += target != one.imm ? one.off : 0; break;
      case BPF_JMP | BPF_EXIT: return registers[0] != 0;
      default: ADD_FAILURE() << "unexpected instruction " << int{one.code}; return true;
    }
  }
  ADD_FAILURE() << "the program does not end";
  return true;
}

TEST(DeviceRules, AllowTheStandardNodesAndWhatWasAskedFor) {
  constexpr unsigned kRead = BPF_DEVCG_ACC_READ;
  constexpr unsigned kWrite = BPF_DEVCG_ACC_WRITE;
  constexpr unsigned kMake = BPF_DEVCG_ACC_MKNOD;
  Spec spec;
  spec.devices = {kernelLog("r")};
  for (const unsigned minor : {3U, 5U, 7U, 8U, 9U})
    EXPECT_TRUE(isAllowed(spec, BPF_DEVCG_DEV_CHAR, kRead | kWrite, 1, minor)) << minor;
  EXPECT_TRUE(isAllowed(spec, BPF_DEVCG_DEV_CHAR, kRead | kWrite, 5, 2)) << "ptmx";
  EXPECT_TRUE(isAllowed(spec, BPF_DEVCG_DEV_CHAR, kRead | kWrite, 136, 4)) << "a pseudo terminal";
  EXPECT_FALSE(isAllowed(spec, BPF_DEVCG_DEV_CHAR, kRead, 1, 1)) << "mem";
  EXPECT_FALSE(isAllowed(spec, BPF_DEVCG_DEV_BLOCK, kRead, 1, 3)) << "a block device";
  EXPECT_FALSE(isAllowed(spec, BPF_DEVCG_DEV_BLOCK, kRead, 8, 0));
  EXPECT_TRUE(isAllowed(spec, BPF_DEVCG_DEV_BLOCK, kMake, 8, 0))
      << "inert without the right to use it";
  EXPECT_FALSE(isAllowed(spec, BPF_DEVCG_DEV_BLOCK, kMake | kRead, 8, 0));
  EXPECT_TRUE(isAllowed(spec, BPF_DEVCG_DEV_CHAR, kRead, 1, 11));
  EXPECT_FALSE(isAllowed(spec, BPF_DEVCG_DEV_CHAR, kRead | kWrite, 1, 11));
}

class DeviceRulesInside : public Sandbox {
 protected:
  Result runInGroup(Spec& one) const {
    one.cgroupName = "test-" + fs::randomHex(8);
    return run(one);
  }
};

TEST_F(DeviceRulesInside, KeepDevicesFromAContainerThatMountsThem) {
  Spec one = shell(
      "mkdir /d && mount -t devtmpfs none /d && for n in kmsg mem; do test -c /d/$n && "
      "head -c1 < /d/$n && echo opened $n; done; : > /d/null && head -c1 /d/zero | wc -c");
  one.capabilities |= parseCapability("SYS_ADMIN");
  const Result result = runInGroup(one);
  EXPECT_EQ(result.out, "1\n") << result.err;
  EXPECT_NE(result.err.find("Operation not permitted"), std::string::npos) << result.err;
}

TEST_F(DeviceRulesInside, RestrictTheAccessToADevice) {
  Spec one = shell(": > /dev/kmsg && echo written; head -c1 < /dev/kmsg && echo read");
  one.devices = {kernelLog("w")};
  const Result result = runInGroup(one);
  EXPECT_EQ(result.out, "written\n") << result.err;
}

}  // namespace
}  // namespace img::runtime::test
