#include "runtime/seccomp_profile.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/audit.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <cerrno>
#include <ostream>

#include "base/error.h"
#include "base/fs.h"
#include "runtime/seccomp.h"
#include "runtime/security.h"
#include "tests/runtime/filter_evaluator.h"
#include "tests/runtime/sandbox.h"

namespace img::runtime::test {
namespace {

#if defined(__x86_64__)

struct Call {
  std::uint32_t arch = AUDIT_ARCH_X86_64;
  long number = 0;
  std::uint64_t first = 0, second = 0;
};

std::uint32_t verdict(const std::string& profile, const Call& call,
                      std::uint64_t capabilities = kDefaultCapabilities) {
  seccomp_data data{};
  data.arch = call.arch;
  data.nr = static_cast<int>(call.number);
  data.args[0] = call.first;
  data.args[1] = call.second;
  return evaluate(compileSeccompProfile(profile, capabilities), data);
}

std::uint32_t refused(int errnum) {
  return SECCOMP_RET_ERRNO | static_cast<std::uint32_t>(errnum);
}

// A profile whose only entry, beside one that allows everyday calls, is `entry`.
std::string with(const std::string& entry, const std::string& more = "") {
  return R"({"defaultAction": "SCMP_ACT_ERRNO", )" + more + R"("syscalls": [
    {"names": ["read", "write", "landlock_restrict_self"], "action": "SCMP_ACT_ALLOW"}, )" +
         entry + "]}";
}

TEST(SeccompProfile, AllowsWhatItNamesAndRefusesTheRest) {
  const std::string profile = with(R"({"name": "mkdir", "action": "SCMP_ACT_ALLOW"})");
  EXPECT_EQ(verdict(profile, {.number = SYS_read}), SECCOMP_RET_ALLOW);
  EXPECT_EQ(verdict(profile, {.number = SYS_mkdir}), SECCOMP_RET_ALLOW);
  EXPECT_EQ(verdict(profile, {.number = SYS_mount}), refused(EPERM));
}

TEST(SeccompProfile, CanRefuseWhatItNamesInstead) {
  const std::string profile = R"({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
    {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28},
    {"names": ["mount"], "action": "SCMP_ACT_KILL_PROCESS"},
    {"names": ["reboot"], "action": "SCMP_ACT_TRAP"}]})";
  EXPECT_EQ(verdict(profile, {.number = SYS_mkdir}), refused(ENOSPC));
  EXPECT_EQ(verdict(profile, {.number = SYS_mkdirat}), refused(ENOSPC));
  EXPECT_EQ(verdict(profile, {.number = SYS_mount}), SECCOMP_RET_KILL_PROCESS);
  EXPECT_EQ(verdict(profile, {.number = SYS_reboot}), SECCOMP_RET_TRAP);
  EXPECT_EQ(verdict(profile, {.number = SYS_read}), SECCOMP_RET_ALLOW);
  EXPECT_EQ(verdict(profile, {.number = 1000}), SECCOMP_RET_ALLOW);
}

TEST(SeccompProfile, HasAnErrorOfItsOwnForTheDefault) {
  const std::string profile =
      R"({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "syscalls": []})";
  EXPECT_EQ(verdict(profile, {.number = SYS_mount}), refused(ENOSYS));
}

TEST(SeccompProfile, KnowsNoCallNewerThanItsNewest) {
  const std::string profile = with(R"({"name": "mkdir", "action": "SCMP_ACT_ALLOW"})");
  EXPECT_EQ(verdict(profile, {.number = SYS_landlock_restrict_self}), SECCOMP_RET_ALLOW);
  EXPECT_EQ(verdict(profile, {.number = SYS_landlock_restrict_self + 1}), refused(ENOSYS));
  EXPECT_EQ(verdict(profile, {.number = 1000}), refused(ENOSYS));
}

TEST(SeccompProfile, NeverLetsX32In) {
  const std::string profile = with(R"({"name": "mkdir", "action": "SCMP_ACT_ALLOW"})",
                                   R"("architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X32"], )");
  EXPECT_EQ(verdict(profile, {.number = 0x40000000L | SYS_read}), refused(ENOSYS));
  const std::string open = R"({"defaultAction": "SCMP_ACT_ALLOW"})";
  EXPECT_EQ(verdict(open, {.number = 0x40000000L | SYS_read}), refused(ENOSYS));
}

TEST(SeccompProfile, CoversOnlyTheArchitecturesItNames) {
  const std::string native = with(R"({"name": "mkdir", "action": "SCMP_ACT_ALLOW"})");
  EXPECT_EQ(verdict(native, {.arch = AUDIT_ARCH_I386, .number = 3}), refused(ENOSYS)) << "read";
  for (const char* arches :
       {R"("architectures": ["SCMP_ARCH_X86"], )",
        R"("archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
           {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]}], )"}) {
    const std::string both = with(R"({"name": "mkdir", "action": "SCMP_ACT_ALLOW"})", arches);
    EXPECT_EQ(verdict(both, {.arch = AUDIT_ARCH_I386, .number = 3}), SECCOMP_RET_ALLOW) << "read";
    EXPECT_EQ(verdict(both, {.arch = AUDIT_ARCH_I386, .number = 21}), refused(EPERM)) << "mount";
    EXPECT_EQ(verdict(both, {.arch = AUDIT_ARCH_ARM, .number = 3}), refused(ENOSYS));
  }
}

TEST(SeccompProfile, LooksAtArguments) {
  const std::string clone = with(R"({"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": [
    {"index": 0, "value": 2114060288, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]})");
  EXPECT_EQ(verdict(clone, {.number = SYS_clone, .first = CLONE_VM}), SECCOMP_RET_ALLOW);
  EXPECT_EQ(verdict(clone, {.number = SYS_clone, .first = CLONE_NEWUSER}), refused(EPERM));

  const std::string both = with(R"({"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [
    {"index": 0, "value": 2, "op": "SCMP_CMP_EQ"}, {"index": 1, "value": 1, "op": "SCMP_CMP_EQ"}]})");
  EXPECT_EQ(verdict(both, {.number = SYS_socket, .first = AF_INET, .second = SOCK_STREAM}),
            SECCOMP_RET_ALLOW);
  EXPECT_EQ(verdict(both, {.number = SYS_socket, .first = AF_INET, .second = SOCK_DGRAM}),
            refused(EPERM));
}

TEST(SeccompProfile, TakesTestsOfOneArgumentAsAlternatives) {
  const std::string either =
      with(R"({"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [
    {"index": 0, "value": 0, "op": "SCMP_CMP_EQ"}, {"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}]})");
  for (const std::uint64_t allowed : {0, 8})
    EXPECT_EQ(verdict(either, {.number = SYS_personality, .first = allowed}), SECCOMP_RET_ALLOW);
  EXPECT_EQ(verdict(either, {.number = SYS_personality, .first = 4}), refused(EPERM));
}

struct Condition {
  const char* name;
  const char* text;  // members of the entry
  std::uint64_t capabilities;
  bool isAllowed;
};
void PrintTo(const Condition& one, std::ostream* out) {
  *out << one.name;
}
class SeccompProfileCondition : public testing::TestWithParam<Condition> {};

TEST_P(SeccompProfileCondition, DecidesWhetherAnEntryCounts) {
  const std::string profile = with(
      std::string{R"({"names": ["mount"], "action": "SCMP_ACT_ALLOW", )"} + GetParam().text + "}");
  EXPECT_EQ(verdict(profile, {.number = SYS_mount}, GetParam().capabilities),
            GetParam().isAllowed ? SECCOMP_RET_ALLOW : refused(EPERM));
}

constexpr std::uint64_t kAdmin = std::uint64_t{1} << 21;
INSTANTIATE_TEST_SUITE_P(
    All, SeccompProfileCondition,
    testing::Values(
        Condition{"Without", R"("includes": {}, "excludes": {})", 0, true},
        Condition{"CapHeld", R"("includes": {"caps": ["CAP_SYS_ADMIN"]})", kAdmin, true},
        Condition{"CapMissing", R"("includes": {"caps": ["CAP_SYS_ADMIN"]})", 0, false},
        Condition{"OneOfTwoCaps", R"("includes": {"caps": ["CAP_SYS_ADMIN", "CAP_BPF"]})", kAdmin,
                  false},
        Condition{"ExcludedCap", R"("excludes": {"caps": ["CAP_SYS_ADMIN"]})", kAdmin, false},
        Condition{"ExcludedCapMissing", R"("excludes": {"caps": ["CAP_SYS_ADMIN"]})", 0, true},
        Condition{"ThisArch", R"("includes": {"arches": ["arm64", "amd64"]})", 0, true},
        Condition{"OtherArch", R"("includes": {"arches": ["s390x"]})", 0, false},
        Condition{"ExcludedArch", R"("excludes": {"arches": ["amd64"]})", 0, false},
        Condition{"OldKernel", R"("includes": {"minKernel": "4.8"})", 0, true},
        Condition{"NewKernel", R"("includes": {"minKernel": "99.1"})", 0, false},
        Condition{"ExcludedKernel", R"("excludes": {"minKernel": "4.8"})", 0, false}),
    [](const auto& one) { return std::string{one.param.name}; });

struct Broken {
  const char* name;
  const char* profile;
  const char* message;
};
void PrintTo(const Broken& one, std::ostream* out) {
  *out << one.name;
}
class BrokenSeccompProfile : public testing::TestWithParam<Broken> {};

TEST_P(BrokenSeccompProfile, IsRefusedWithItsPlace) {
  try {
    compileSeccompProfile(GetParam().profile, 0);
    FAIL() << "it was taken";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), Kind::usage);
    EXPECT_NE(error.cause().find(GetParam().message), std::string::npos) << error.cause();
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, BrokenSeccompProfile,
    testing::Values(
        Broken{"NotJson", "{", "the seccomp profile"}, Broken{"AList", "[]", "/: not an object"},
        Broken{"Empty", "{}", "/defaultAction: missing"},
        Broken{"BadAction", R"({"defaultAction": "ALLOW"})", R"(unknown action "ALLOW")"},
        Broken{"TypingError", R"({"defaultAction": "SCMP_ACT_ALLOW", "syscals": []})",
               "/syscals: unknown member"},
        Broken{"WrongType", R"({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": {}})",
               "/syscalls: not a list"},
        Broken{"NoNames",
               R"({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"action": "SCMP_ACT_LOG"}]})",
               "/syscalls/0/names: missing"},
        Broken{
            "BothNames",
            R"({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"name": "a", "names": ["b"], "action": "SCMP_ACT_LOG"}]})",
            "/syscalls/0/name: cannot be given"},
        Broken{
            "BadCap",
            R"({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"name": "read", "action": "SCMP_ACT_LOG", "includes": {"caps": ["CAP_NONE"]}}]})",
            "/syscalls/0/includes/caps: unknown capability"},
        Broken{
            "BadOperator",
            R"({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"name": "read", "action": "SCMP_ACT_LOG", "args": [{"index": 0, "op": "EQ"}]}]})",
            R"(/syscalls/0/args/0/op: unknown comparison "EQ")"},
        Broken{
            "BadIndex",
            R"({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"name": "read", "action": "SCMP_ACT_LOG", "args": [{"index": 6, "op": "SCMP_CMP_EQ"}]}]})",
            "6 arguments"},
        Broken{"Negative", R"({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": -1})",
               "/defaultErrnoRet: not a number"},
        Broken{"BadArch", R"({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["amd64"]})",
               R"(unknown architecture "amd64")"},
        Broken{"Notify", R"({"defaultAction": "SCMP_ACT_NOTIFY"})", "nobody listens"},
        Broken{
            "BadKernel",
            R"({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"name": "read", "action": "SCMP_ACT_LOG", "includes": {"minKernel": "new"}}]})",
            "not a kernel version"}),
    [](const auto& one) { return std::string{one.param.name}; });

TEST(SeccompProfile, OfAPeerIsUnderstood) {
  const auto text = fs::tryReadFile(AT_FDCWD, "/usr/share/containers/seccomp.json");
  if (!text) GTEST_SKIP() << "needs the package golang-github-containers-common";
  EXPECT_EQ(verdict(*text, {.number = SYS_openat}), SECCOMP_RET_ALLOW);
  EXPECT_EQ(verdict(*text, {.number = SYS_init_module}), refused(EPERM));
  EXPECT_EQ(verdict(*text, {.number = 1000}), refused(ENOSYS));
  EXPECT_EQ(verdict(*text, {.number = SYS_init_module}, parseCapability("SYS_MODULE")),
            SECCOMP_RET_ALLOW);
  EXPECT_EQ(verdict(*text, {.arch = AUDIT_ARCH_I386, .number = 5}), SECCOMP_RET_ALLOW) << "open";
}

using ContainerProfile = Sandbox;

TEST_F(ContainerProfile, RulesWhatTheContainerMayCall) {
  Spec one = shell("mkdir /tmp/made; echo $?; grep Seccomp: /proc/self/status");
  one.seccomp = Seccomp::profile;
  one.seccompFilter = compileSeccompProfile(
      R"({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
          {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}]})",
      one.capabilities);
  const Result result = run(one);
  EXPECT_NE(result.err.find("No space left on device"), std::string::npos) << result.err;
  EXPECT_EQ(result.out, "1\nSeccomp:\t2\n");
}

#endif

}  // namespace
}  // namespace img::runtime::test
