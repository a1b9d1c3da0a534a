#include "runtime/security.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/digest.h"
#include "base/sys.h"
#include "base/text.h"
#include "tests/runtime/sandbox.h"

namespace img::runtime::test {
namespace {

class Security : public Sandbox {};

TEST_F(Security, GivesRootTheElevenCapabilitiesAndNothingToInherit) {
  const std::string status = run("cat /proc/self/status").out;
  EXPECT_EQ(field(status, "CapInh:"), "0000000000000000");
  EXPECT_EQ(field(status, "CapPrm:"), "00000000800405fb");
  EXPECT_EQ(field(status, "CapEff:"), "00000000800405fb");
  EXPECT_EQ(field(status, "CapBnd:"), "00000000800405fb");
  EXPECT_EQ(field(status, "CapAmb:"), "0000000000000000");
  EXPECT_EQ(field(status, "NoNewPrivs:"), "0");
  EXPECT_EQ(field(status, "Seccomp:"), "2");
  EXPECT_EQ(field(status, "Groups:"), "0 50");
}

TEST_F(Security, GivesOtherUsersNoCapabilities) {
  Spec one = shell("cat /proc/self/status");
  one.user = "app";
  const std::string status = run(one).out;
  for (const char* set : {"CapInh:", "CapPrm:", "CapEff:", "CapAmb:"}) {
    EXPECT_EQ(field(status, set), "0000000000000000") << set;
  }
  EXPECT_EQ(field(status, "CapBnd:"), "00000000800405fb");
  EXPECT_EQ(field(status, "Uid:"), "1000\t1000\t1000\t1000");
  EXPECT_EQ(field(status, "Gid:"), "1000\t1000\t1000\t1000");
  EXPECT_EQ(field(status, "Groups:"), "10 50 1000");
}

TEST_F(Security, RaisesAddedCapabilitiesForOtherUsersToo) {
  Spec one = shell("cat /proc/self/status");
  one.user = "1000";
  one.addedCapabilities = parseCapability("net_raw");
  one.capabilities |= one.addedCapabilities;
  const std::string status = run(one).out;
  for (const char* set : {"CapInh:", "CapPrm:", "CapEff:", "CapAmb:"}) {
    EXPECT_EQ(field(status, set), "0000000000002000") << set;
  }
}

TEST_F(Security, SetsNoNewPrivilegesWhenAsked) {
  Spec one = shell("cat /proc/self/status");
  one.noNewPrivs = true;
  one.user = "app";
  const std::string status = run(one).out;
  EXPECT_EQ(field(status, "NoNewPrivs:"), "1");
  EXPECT_EQ(field(status, "Seccomp:"), "2");
}

TEST_F(Security, LeavesTheFilterOutWhenUnconfined) {
  Spec one = shell("cat /proc/self/status");
  one.seccomp = Seccomp::unconfined;
  EXPECT_EQ(field(run(one).out, "Seccomp:"), "0");
}

struct UserCase {
  const char* user;
  const char* result;  // "uid:gid groups home" or the error
};
void PrintTo(const UserCase& c, std::ostream* out) {
  *out << text::quote(c.user);
}

class ResolveUser : public Sandbox, public testing::WithParamInterface<UserCase> {};

TEST_P(ResolveUser, FollowsTheImagesFiles) {
  std::string got;
  try {
    const Identity who = resolveUser(root(), GetParam().user, {});
    got = fmt::format("{}:{}", who.uid, who.gid);
    for (const gid_t group : who.groups) got += fmt::format(" {}", group);
    got += " " + who.home;
  } catch (const Error& error) {
    got = error.what();
  }
  EXPECT_EQ(got, GetParam().result);
}

INSTANTIATE_TEST_SUITE_P(
    Users, ResolveUser,
    testing::Values(
        UserCase{"", "0:0 0 50 /root"}, UserCase{"root", "0:0 0 50 /root"},
        UserCase{"app", "1000:1000 10 50 1000 /home/app"},
        UserCase{"1000", "1000:1000 10 50 1000 /home/app"},
        UserCase{"+1000", "1000:1000 10 50 1000 /home/app"}, UserCase{"4242", "4242:0 0 /"},
        UserCase{"4242:7", "4242:7 7 /"}, UserCase{"app:staff", "1000:50 50 /home/app"},
        UserCase{"app:0", "1000:0 0 /home/app"}, UserCase{"2147483647", "2147483647:0 0 /"},
        UserCase{"2147483648", "user id \"2147483648\" is out of range (0 to 2147483647)"},
        UserCase{"4294967296", "user id \"4294967296\" is out of range (0 to 2147483647)"},
        UserCase{"-1", "user id \"-1\" is out of range (0 to 2147483647)"},
        UserCase{"1:4294967296", "group id \"4294967296\" is out of range (0 to 2147483647)"},
        UserCase{"ghost", "unable to find user \"ghost\": no matching entries in passwd file"},
        UserCase{"wrapped", "unable to find user \"wrapped\": no matching entries in passwd file"},
        UserCase{"app:ghosts",
                 "unable to find group \"ghosts\": no matching entries in group file"},
        UserCase{":50", "invalid user \":50\""}, UserCase{"app:", "invalid user \"app:\""},
        UserCase{" app", "invalid user \" app\""}, UserCase{"app\n", "invalid user \"app\\x0a\""}));

class ResolveUserFiles : public Sandbox {};

TEST_F(ResolveUserFiles, AddsTheGroupsThatWereAskedFor) {
  const Identity who = resolveUser(root(), "app:app", {"wheel", "77"});
  EXPECT_EQ(who.groups, (std::vector<gid_t>{10, 77, 1000}));
}

TEST_F(ResolveUserFiles, WorksWithoutAnyAccountFile) {
  sys::unlinkat(root(), "etc/passwd", 0);
  sys::unlinkat(root(), "etc/group", 0);
  EXPECT_EQ(resolveUser(root(), "5:6", {}).gid, 6U);
  EXPECT_EQ(resolveUser(root(), "", {}).home, "/");
  EXPECT_THROW(resolveUser(root(), "root", {}), Error);
}

TEST_F(ResolveUserFiles, DoesNotHangOnAFifoOrReadOutsideTheRoot) {
  sys::unlinkat(root(), "etc/passwd", 0);
  sys::mknodat(root(), "etc/passwd", S_IFIFO | 0644, 0);
  EXPECT_THROW(resolveUser(root(), "daemon", {}), Error);
  sys::unlinkat(root(), "etc/passwd", 0);
  sys::symlinkat("/../../../../etc/passwd", root(), "etc/passwd");
  EXPECT_THROW(resolveUser(root(), "daemon", {}), Error) << "the host's file has that user";
}

TEST_F(Security, ReportsAnUnknownUserAsASetupFailure) {
  Spec one = shell("true");
  one.user = "ghost";
  const Error error = failure(one);
  EXPECT_EQ(error.exitCode(), 125);
  EXPECT_NE(std::string{error.what()}.find("no matching entries in passwd file"),
            std::string::npos);
}

TEST(Capabilities, AreParsedInAnySpelling) {
  EXPECT_EQ(parseCapability("net_raw"), std::uint64_t{1} << 13);
  EXPECT_EQ(parseCapability("CAP_NET_RAW"), std::uint64_t{1} << 13);
  EXPECT_EQ(parseCapability("Cap_Checkpoint_Restore"), std::uint64_t{1} << 40);
  EXPECT_EQ(parseCapability("all"), (std::uint64_t{1} << 41) - 1);
  EXPECT_THROW(parseCapability("NET_ROW"), Error);
  EXPECT_THROW(parseCapability(""), Error);
}

TEST(Capabilities, DropBeforeTheyAdd) {
  EXPECT_EQ(capabilitySet(kDefaultCapabilities, {"CHOWN"}, {"ALL"}), 1U);
  EXPECT_EQ(capabilitySet(kDefaultCapabilities, {}, {"CHOWN"}),
            kDefaultCapabilities & ~std::uint64_t{1});
}

// The entry point is a script whose interpreter is /proc/self/exe, which was `img` itself in other
// engines, while it tries to open every program in sight for writing (CVE-2019-5736).
TEST_F(Security, KeepsItsOwnBinaryOutOfReach) {
  const std::string before = fs::readFile(AT_FDCWD, "/proc/self/exe");
  write("bin/evil", "#!/proc/self/exe\n", 0755);
  Spec trick = spec({"/bin/evil"});
  trick.capabilities |= parseCapability("SYS_PTRACE");
  // Whatever becomes of it: what runs is the sealed program.
  run(trick);
  Spec keeper = shell(
      "while true; do for f in /proc/[0-9]*/exe; do (echo x > $f) 2>/dev/null && echo written; "
      "done; done");
  Pipe out = Pipe::make();
  keeper.standardOutput = out.write.get();
  Container container = start(keeper);
  out.write.reset();
  for (int i = 0; i < 20; ++i) run(trick);
  container.kill(9);
  container.wait();
  EXPECT_EQ(Digest::of(fs::readFile(AT_FDCWD, "/proc/self/exe")), Digest::of(before));
}

}  // namespace
}  // namespace img::runtime::test
