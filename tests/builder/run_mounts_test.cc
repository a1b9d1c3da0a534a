// RUN --mount end to end inside the builder: what the steps see, what stays, what counts for the
// key, and every message of dockerfile.md 3.6.
#include "builder/run_mounts.h"

#include <gtest/gtest.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "base/json.h"
#include "base/lock.h"
#include "base/process.h"
#include "base/sys.h"
#include "builder/cache_mount.h"
#include "store/blobs.h"
#include "store/layers.h"
#include "tests/builder/support.h"

namespace img::builder {
namespace {

class MountTest : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root: containers are started";
    const auto busybox = fs::tryReadFile(AT_FDCWD, "/bin/busybox");
    if (!busybox) GTEST_SKIP() << "needs the package busybox-static";
    writeFile(context(), "busybox", *busybox, 0755);
  }
  int context() { return fixture_.context.get(); }
  // Builds the shell's stage and these instructions, and returns what the steps printed.
  std::string output(const std::string& instructions) {
    fixture_.progress.output.clear();
    image_ = fixture_.build(kWithShell + instructions);
    return fixture_.progress.output;
  }
  Error failure(const std::string& instructions) {
    return fixture_.failure(kWithShell + instructions);
  }
  // Entries of the newest layer's tar.
  std::string newestEntries() {
    const Fd layer = store::Layers{fixture_.layout}.open(image_.config.diffIds.back());
    std::string names;
    for (const fs::Entry& entry : fs::listSorted(sys::openDirectory(layer.get(), ".").get()))
      names += entry.name + " ";
    return names;
  }
  bool isCached(const std::string& instructions) {
    output(instructions);
    return fixture_.progress.started.empty();
  }
  StepOptions& options() { return fixture_.request.step; }
  std::vector<std::string>& warnings() { return fixture_.progress.warnings; }

  BuildFixture fixture_;
  store::Image image_;
};

TEST_F(MountTest, LeavesNothingOfMountTargetsInTheLayer) {
  writeFile(context(), "f", "1");
  options().secrets = {{"s", "value of it"}};
  output(
      "RUN --mount=target=/new/deep --mount=type=cache,target=/cache/x "
      "--mount=type=tmpfs,target=/t "
      "--mount=type=secret,id=s --mount=target=/single,source=f true\n");
  EXPECT_EQ(newestEntries(), "");
  // A file that the step itself makes beside a target has its parents, and nothing else.
  output("RUN --mount=type=secret,id=s touch /run/secrets/own\n");
  EXPECT_EQ(newestEntries(), "run ");
  const Fd layer = store::Layers{fixture_.layout}.open(image_.config.diffIds.back());
  EXPECT_EQ(fs::list(sys::openDirectory(layer.get(), "run/secrets").get()).size(), 1U);
}

TEST_F(MountTest, KeepsTheTimesOfTheFoldersThatTargetsLieIn) {
  EXPECT_EQ(output("RUN mkdir -m 1711 /d && touch -d @1000 /d\n"
                   "RUN --mount=type=tmpfs,target=/d/x stat -c '%a %Y' /d\n"
                   "RUN stat -c '%a %Y' /d; ls /d\n"),
            "1711 1000\n1711 1000\n");
}

TEST_F(MountTest, BindsTheContextReadOnlyWithItsIgnoreRules) {
  writeFile(context(), "src/a", "A\n");
  writeFile(context(), "src/secret.key", "K");
  writeFile(context(), "logs/x.log", "L");
  sys::mknodat(context(), "pipe", S_IFIFO | 0644, 0);
  fixture_.request.ignoreName = ".dockerignore";
  fixture_.request.ignoreText = "**/*.key\nlogs\n";
  EXPECT_EQ(output("RUN --mount=target=/ctx cat /ctx/src/a; ls /ctx /ctx/src; "
                   "touch /ctx/new 2>/dev/null || echo refused\n"),
            "A\n/ctx:\nbusybox\nsrc\n\n/ctx/src:\na\nrefused\n");
  EXPECT_EQ(failure("RUN --mount=target=/x,source=logs true\n").code(), "copy-source-ignored");
}

TEST_F(MountTest, ShowsFilesOfTheContextAsRoots) {
  writeFile(context(), "d/f", "1");
  for (const char* path : {"d", "d/f", "busybox"}) sys::lchownat(context(), path, 1234, 1234);
  sys::fchown(context(), 1234, 1234);
  const std::string step = "RUN --mount=target=/c stat -c %u:%g /c /c/d /c/d/f\n";
  EXPECT_EQ(output(step), "0:0\n0:0\n0:0\n");
  fixture_.request.ignoreName = ".dockerignore";
  fixture_.request.ignoreText = "no-such-file\nbusy\n";
  EXPECT_EQ(output("RUN --mount=target=/c,rw touch /c/d/new; stat -c %u:%g /c /c/d /c/d/f\n"),
            "0:0\n0:0\n0:0\n");
  sys::lchownat(context(), "d/f", 77, 77);  // several owners
  EXPECT_EQ(output("RUN --mount=target=/c2 stat -c %u:%g /c2 /c2/d /c2/d/f; "
                   "touch /c2/x 2>/dev/null || echo refused\n"),
            "0:0\n0:0\n0:0\nrefused\n");
  EXPECT_EQ(output("RUN --mount=target=/f,source=d/f stat -c %u:%g /f; cat /f\n"), "0:0\n1");
}

TEST_F(MountTest, ThrowsWritesToABindAway) {
  writeFile(context(), "f", "1");
  EXPECT_EQ(output("RUN --mount=target=/c,rw echo 2 > /c/f && cat /c/f && rm /c/busybox\n"
                   "RUN --mount=target=/g,source=f,rw echo 3 > /g && cat /g\n"
                   "RUN --mount=target=/c cat /c/f && ls /c\n"),
            "2\n3\n1busybox\nf\n");
  EXPECT_EQ(fs::readFile(context(), "f"), "1");
}

TEST_F(MountTest, BindsFromAnotherStage) {
  const std::string other = "FROM scratch AS data\nCOPY f /dir/f\n";
  writeFile(context(), "f", "from a stage\n");
  fixture_.build(other + kWithShell +
                 "RUN --mount=from=data,source=dir,target=/d cat /d/f; "
                 "touch /d/x 2>/dev/null || echo refused\n"
                 "RUN --mount=from=0,source=/dir/f,target=/f,rw cat /f; echo new > /f; cat /f\n"
                 "RUN --mount=from=data,target=/all cat /all/dir/f\n");
  EXPECT_EQ(fixture_.progress.output, "from a stage\nrefused\nfrom a stage\nnew\nfrom a stage\n");
}

TEST_F(MountTest, KeepsLinksInsideTheSource) {
  writeFile(context(), "in/f", "inside\n");
  sys::symlinkat("/in", context(), "absolute");
  sys::symlinkat("/etc/passwd", context(), "out");
  EXPECT_EQ(output("RUN --mount=source=absolute,target=/x cat /x/f\n"), "inside\n");
  const Error error = failure("RUN --mount=source=out,target=/x true\n");
  EXPECT_EQ(error.cause(), "RUN: mount source \"out\" not found in the build context");
  EXPECT_EQ(error.code(), "copy-outside");
}

TEST_F(MountTest, MountsOuterTargetsFirst) {
  writeFile(context(), "f", "1");
  EXPECT_EQ(output("RUN --mount=type=tmpfs,target=/a/b/c --mount=type=tmpfs,target=/a "
                   "grep -c ' /a' /proc/mounts; ls /a\n"),
            "2\nb\n");
}

TEST_F(MountTest, TellsThatATargetCannotBeMadeInAReadOnlyMount) {
  writeFile(context(), "d/f", "1");
  Error error = failure("RUN --mount=source=d,target=/s --mount=type=cache,target=/s/c true\n");
  EXPECT_EQ(error.cause(), "RUN: cannot mount on /s/c: it is not there");
  EXPECT_NE(error.why().find("read-only"), std::string::npos) << error.why();
  error = failure("WORKDIR /s/w\nRUN --mount=source=d,target=/s true\n");
  EXPECT_EQ(error.cause(), "RUN: cannot work in /s/w: it is not there");
  EXPECT_FALSE(sys::tryFstatat(context(), "d/c")) << "nothing is made in the user's folder";
}

TEST_F(MountTest, GivesTmpfsItsSize) {
  EXPECT_EQ(output("RUN --mount=type=tmpfs,target=/t,size=1m stat -c %a /t; "
                   "df -k /t | tail -n 1 | awk '{print $2}'; touch /t/x\n"),
            "1777\n1024\n");
}

TEST_F(MountTest, KeepsACacheFromStepToStepAndBuildToBuild) {
  EXPECT_EQ(output("RUN --mount=type=cache,target=/c echo 1 >> /c/f; stat -c '%a %u' /c\n"
                   "RUN --mount=type=cache,id=/c,target=/elsewhere cat /elsewhere/f\n"),
            "755 0\n1\n");
  fixture_.request.noCache = true;
  EXPECT_EQ(output("RUN --mount=type=cache,target=/c cat /c/f\n"
                   "RUN --mount=type=cache,id=other,target=/c ls /c\n"
                   "RUN --mount=type=cache,target=/c,uid=10 ls /c; stat -c '%a %u' /c\n"
                   "RUN --mount=type=cache,target=/c,ro touch /c/x 2>/dev/null || echo refused\n"),
            "1\n755 10\nrefused\n");
  fixture_.request.buildArgs = {{"BUILDKIT_CACHE_MOUNT_NS", "other"}};
  EXPECT_EQ(output("RUN --mount=type=cache,target=/c ls /c\n"), "");
}

TEST_F(MountTest, StartsACacheFromItsBase) {
  writeFile(context(), "f", "first\n");
  const std::string file = "FROM scratch AS data\nCOPY f /dir/f\n" + kWithShell;
  const auto step = [](const std::string& command) {
    return "RUN --mount=type=cache,target=/c,from=data,source=dir " + command + "\n";
  };
  fixture_.build(file + step("cat /c/f; echo changed > /c/f") + step("cat /c/f"));
  EXPECT_EQ(fixture_.progress.output, "first\nchanged\n");
}

TEST_F(MountTest, LeavesNothingOfACacheThatCannotBeFilled) {
  writeFile(context(), "f", "first\n");
  const Error error =
      fixture_.failure("FROM scratch AS data\nCOPY f /dir/f\n" + kWithShell +
                       "RUN --mount=type=cache,target=/c,from=data,source=dir/f true\n");
  EXPECT_EQ(error.cause(), "RUN: mount source \"dir/f\" is not a folder");
  const Fd caches = sys::openDirectory(fixture_.layout.fd(), "cache/mounts");
  for (const fs::Entry& identity : fs::list(caches.get())) {
    for (const fs::Entry& entry : fs::list(sys::openDirectory(caches.get(), identity.name).get()))
      EXPECT_EQ(entry.name, "0.lock");
  }
}

TEST_F(MountTest, GivesAPrivateUserAnotherCacheWhileOneIsBusy) {
  output("RUN --mount=type=cache,id=p,target=/c echo shared > /c/f\n");
  CacheIdentity identity;
  identity.id = "p";
  const Fd folder =
      sys::openDirectory(fixture_.layout.fd(), "cache/mounts/" + identity.digest().hex());
  const FileLock busy = FileLock::acquire(folder.get(), "0.lock", FileLock::Mode::exclusive);
  EXPECT_EQ(output("RUN --mount=type=cache,id=p,target=/c,sharing=private ls /c | wc -l\n"), "0\n");
}

// A layer may be sealed by a child that was forked while the cache was in use.
TEST_F(MountTest, ACacheIsFreeAfterItsUserWhateverChildrenHaveItsLock) {
  const auto open = [&] {
    return CacheLock{sys::openat(fixture_.layout.fd(), "a.lock", O_RDWR | O_CREAT, 0600)};
  };
  Pipe end = Pipe::make();
  std::optional<Child> child;
  {
    const CacheLock lock = open();
    ASSERT_TRUE(sys::tryFlock(lock.file(), true));
    child.emplace(Child::fork([&] {
      end.write.reset();
      std::byte byte{};
      readFull(end.read.get(), {&byte, 1}, "pipe");
      return std::string{};
    }));
    EXPECT_FALSE(sys::tryFlock(open().file(), true));
  }
  EXPECT_TRUE(sys::tryFlock(open().file(), true));
  end.write.reset();
  child->finish();
}

TEST_F(MountTest, WaitsForALockedCache) {
  CacheIdentity identity;
  identity.id = "l";
  const std::string path = "cache/mounts/" + identity.digest().hex();
  const Fd folder = fs::makeDirs(fixture_.layout.fd(), path);
  Pipe locked = Pipe::make();
  Pipe go = Pipe::make();
  Child holder = Child::fork([&] {
    const FileLock lock = FileLock::acquire(folder.get(), "0.lock", FileLock::Mode::exclusive);
    go.write.reset();
    writeAll(locked.write.get(), "x", "pipe");
    std::byte byte{};
    readFull(go.read.get(), {&byte, 1}, "pipe");
    writeFile(folder.get(), "0/f", "by the holder\n");
    return std::string{};
  });
  std::byte byte{};
  ASSERT_EQ(readFull(locked.read.get(), {&byte, 1}, "pipe"), 1U);
  // The other step goes on meanwhile, and its end lets the holder go on.
  fixture_.progress.onStart = [&] {
    if (fixture_.progress.started.back().find("locked") != std::string::npos)
      writeAll(go.write.get(), "x", "pipe");
  };
  EXPECT_EQ(output("RUN --mount=type=cache,id=l,target=/c,sharing=locked cat /c/f\n"),
            "by the holder\n");
  holder.finish();
}

TEST_F(MountTest, SelectsAPartOfACacheAndNothingOutsideIt) {
  EXPECT_EQ(output("RUN --mount=type=cache,id=x,target=/c mkdir -p /c/sub; echo 1 > /c/sub/f; "
                   "ln -s /etc /c/link\n"
                   "RUN --mount=type=cache,id=x,source=sub,target=/s cat /s/f\n"
                   "RUN --mount=type=cache,id=x,source=link,target=/s ls /s; echo 2 > /s/made\n"
                   "RUN --mount=type=cache,id=x,target=/c cat /c/etc/made\n"),
            "1\n2\n");
}

TEST_F(MountTest, GivesASecretAsAFileInMemory) {
  options().secrets = {{"s", "the secret bytes"}};
  EXPECT_EQ(output("RUN --mount=type=secret,id=s stat -c '%a %u %g' /run/secrets/s; "
                   "wc -c < /run/secrets/s; "
                   "grep ' /run/secrets/s ' /proc/mounts | cut -d' ' -f4 | cut -d, -f1-4; "
                   "(echo x > /run/secrets/s) 2>/dev/null || echo refused\n"),
            "400 0 0\n16\nro,nosuid,nodev,noexec\nrefused\n");
  EXPECT_EQ(output("WORKDIR /w\nRUN --mount=type=secret,id=s,target=rel,mode=0555,uid=3,gid=4 "
                   "stat -c '%a %u %g' /w/rel; grep -c ' /w/rel .*noexec' /proc/mounts || true\n"),
            "555 3 4\n0\n");
}

TEST_F(MountTest, GivesASecretAsAVariable) {
  options().secrets = {{"s", "the secret bytes"}};
  EXPECT_EQ(output("RUN --mount=type=secret,id=s,env=T echo ${#T}; ls /run/secrets 2>/dev/null; "
                   "true\nRUN echo ${#T}\n"
                   "RUN --mount=type=secret,id=s,env=T,target=/f echo ${#T}; wc -c < /f\n"
                   "RUN --mount=type=secret,id=none,env=T echo \"[${T-unset}]\"\n"),
            "16\n0\n16\n16\n[]\n");
}

TEST_F(MountTest, AsksForARequiredSecret) {
  EXPECT_EQ(output("RUN --mount=type=secret,id=s ls /run/secrets 2>/dev/null || echo none\n"),
            "none\n");
  const Error error = failure("RUN --mount=type=secret,id=s,required true\n");
  EXPECT_EQ(error.cause(), "RUN: secret \"s\" was not passed (--secret id=s,...)");
  EXPECT_EQ(error.code(), "secret-missing");
  EXPECT_EQ(error.position()->line, 4);
  const Error agent = failure("RUN --mount=type=ssh,required true\n");
  EXPECT_EQ(agent.cause(), "RUN: ssh agent \"default\" was not passed (--ssh default)");
}

TEST_F(MountTest, KeepsSecretsOutOfKeysAndOutput) {
  options().secrets = {{"s", "rotating secret 1\n"}};
  const std::string step = "RUN --mount=type=secret,id=s cat /run/secrets/s; echo -n rotating\n";
  EXPECT_EQ(output(step), "***\nrotating");
  options().secrets = {{"s", "rotating secret 2\n"}};
  EXPECT_TRUE(isCached(step));
  EXPECT_FALSE(
      isCached("RUN --mount=type=secret,id=s,mode=0444 cat /run/secrets/s; echo -n "
               "rotating\n"));
}

TEST_F(MountTest, RefusesALayerThatHoldsASecret) {
  options().secrets = {{"token", "s3cr3t-T0ken!"}};
  const std::string step = "RUN --mount=type=secret,id=token cp /run/secrets/token /etc/copy\n";
  const Error error = failure(step);
  EXPECT_EQ(error.code(), "secret-leak");
  EXPECT_EQ(error.cause(), "the new image would hold the secret \"token\": found in /etc/copy");
  EXPECT_EQ(error.position()->line, 4);
  const Error base64 = failure("RUN --mount=type=secret,id=token base64 /run/secrets/token > /b\n");
  EXPECT_EQ(base64.code(), "secret-leak");
  options().secretGuard = StepOptions::Guard::warn;
  output(step);
  EXPECT_EQ(warnings().back(), error.cause());
  options().secretGuard = StepOptions::Guard::off;
  warnings().clear();
  output("RUN --mount=type=secret,id=token cp /run/secrets/token /etc/other\n");
  EXPECT_TRUE(warnings().empty());
}

TEST_F(MountTest, RefusesAConfigThatHoldsASecret) {
  options().secrets = {{"token", "s3cr3t-T0ken!"}};
  const Error error = failure("LABEL note=s3cr3t-T0ken!\n");
  EXPECT_EQ(error.code(), "secret-leak");
  EXPECT_NE(error.cause().find("the image's config.Labels.note"), std::string::npos)
      << error.cause();
}

TEST_F(MountTest, HidesArgumentsThatLookSecretInTheHistory) {
  fixture_.request.buildArgs = {{"API_TOKEN", "visible"}, {"NAME", "shown"}};
  output("ARG API_TOKEN\nARG NAME\nRUN true\n");
  EXPECT_EQ(image_.config.history.back().createdBy,
            "RUN |2 API_TOKEN=*** NAME=shown /bin/sh -c true");
}

TEST_F(MountTest, CountsMountsAndTheirSourcesInTheKey) {
  writeFile(context(), "f", "1");
  writeFile(context(), "g", "1");
  const std::string step = "RUN --mount=source=f,target=/x cat /x\n";
  EXPECT_FALSE(isCached(step));
  EXPECT_TRUE(isCached(step));
  writeFile(context(), "g", "2");
  EXPECT_TRUE(isCached(step)) << "another file";
  writeFile(context(), "f", "2");
  EXPECT_FALSE(isCached(step)) << "its own file";
  EXPECT_FALSE(isCached("RUN --mount=source=f,target=/y cat /x || true\n"));
  EXPECT_FALSE(isCached("RUN --mount=type=cache,target=/c,sharing=locked true\n"));
  EXPECT_TRUE(isCached("RUN --mount=type=cache,target=/c,id=other true\n"));
}

TEST_F(MountTest, CountsTheModesThatABindShowsAlsoWithGitPermissions) {
  fixture_.request.hasGitPermissions = true;
  writeFile(context(), "f", "1", 0664);
  const std::string copy = "COPY f /f\n", bind = "RUN --mount=target=/c,source=f stat -c %a /c\n";
  // Until the file is old enough to be remembered.
  const Fd remembered = sys::openDirectory(fixture_.layout.fd(), "cache/stat");
  while (fs::list(sys::openDirectory(remembered.get(), ".").get()).empty()) output(copy);
  EXPECT_EQ(output(bind), "664\n");
  sys::fchmodat(context(), "f", 0644);
  EXPECT_EQ(output(bind), "644\n");
}

TEST_F(MountTest, CountsWhichAgentIsTheFirst) {
  const std::string a = "--mount=type=ssh,target=/a ", b = "--mount=type=ssh,id=b,target=/b ";
  EXPECT_FALSE(isCached("RUN " + a + b + "true\n"));
  EXPECT_FALSE(isCached("RUN " + b + a + "true\n"));
  EXPECT_TRUE(isCached("RUN " + b + a + "true\n"));
}

TEST_F(MountTest, TakesAStageThatRanAgainWithTheSameFilesForTheSameSource) {
  const auto file = [](const std::string& comment) {
    return kWithShell + "RUN true " + comment + "; echo same > /f\n" + "FROM scratch\n" +
           "COPY busybox /bin/busybox\n" +
           "RUN --mount=from=0,source=f,target=/f [\"/bin/busybox\", \"cp\", \"/f\", \"/g\"]\n";
  };
  fixture_.build(file("1"));
  fixture_.build(file("2"));
  EXPECT_EQ(fixture_.progress.started.size(), 1U);
}

TEST_F(MountTest, ExpandsVariablesInValues) {
  writeFile(context(), "f", "1");
  EXPECT_EQ(output("ARG NAME=f\nENV DIR=/x\nRUN --mount=source=$NAME,target=${DIR}/y cat /x/y\n"),
            "1");
}

struct BadMount {
  std::string_view name, flags, cause;
};
void PrintTo(const BadMount& bad, std::ostream* out) {
  *out << bad.flags;
}

constexpr BadMount kBad[] = {
    {"BareWord", "--mount=target", "RUN: mount option \"target\" needs a value"},
    {"UnknownKey", "--mount=targt=/x", "RUN: unknown mount option \"targt\""},
    {"UnknownType", "--mount=type=bond,target=/x", "RUN: unknown mount type \"bond\""},
    {"UnknownSharing", "--mount=type=cache,target=/x,sharing=some",
     "RUN: unknown sharing mode \"some\""},
    {"OptionOfAnotherType", "--mount=target=/x,size=1m",
     "RUN: mount option \"size\" is not valid for type \"bind\""},
    {"BadNumber", "--mount=type=cache,target=/x,uid=a",
     "RUN: mount option \"uid\": bad value \"a\""},
    {"NoTarget", "--mount=type=tmpfs", "RUN: mount of type \"tmpfs\" needs a target"},
    {"Root", "--mount=type=tmpfs,target=/", "RUN: cannot mount over /"},
    {"RootByWorkdir", "--mount=type=tmpfs,target=..", "RUN: cannot mount over /"},
    {"SharingOfABind", "--mount=target=/x,sharing=shared",
     "RUN: sharing is only valid for cache mounts"},
    {"NamelessSecret", "--mount=type=secret", "RUN: secret mount needs id or target"},
    {"MissingSource", "--mount=source=nothing,target=/x",
     "RUN: mount source \"nothing\" not found in the build context"},
    {"EqualTargets", "--mount=type=tmpfs,target=/x --mount=type=cache,target=/y/../x",
     "RUN: two mounts have the target \"/x\""},
    {"OnProc", "--mount=type=tmpfs,target=/proc", "RUN: cannot mount over /proc"},
    {"OnDev", "--mount=type=tmpfs,target=/x/../dev", "RUN: cannot mount over /dev"},
    {"BelowProc", "--mount=type=tmpfs,target=/proc/bus",
     "RUN: cannot mount on /proc/bus: it is part of /proc or /sys"},
    {"LaterStage", "--mount=from=later,target=/x",
     "RUN: stage \"later\" must be defined before it is mounted"},
    {"InsecureWithoutAllow", "--security=insecure",
     "RUN: --security=insecure is not allowed; pass --allow security.insecure"},
    {"DeviceWithoutAllow", "--device=a.b/c=d", "RUN: --device is not allowed; pass --allow device"},
};
class MountFails : public MountTest, public testing::WithParamInterface<BadMount> {};
TEST_P(MountFails, WithTheMessage) {
  fixture_.request.target = "0";
  const Error error = fixture_.failure(kWithShell + "RUN " + std::string{GetParam().flags} +
                                       " true\nFROM scratch AS later\nCOPY busybox /b\n");
  EXPECT_EQ(error.cause(), GetParam().cause);
  EXPECT_TRUE(error.position());
}
INSTANTIATE_TEST_SUITE_P(Options, MountFails, testing::ValuesIn(kBad),
                         [](const auto& test) { return std::string{test.param.name}; });

TEST_F(MountTest, AppliesLimitsAndRightsToEveryStep) {
  options().shmSize = std::uint64_t{2} << 20;
  options().resourceLimits = {{7 /* RLIMIT_NOFILE */, 100, 200}};
  options().capDrop = {"ALL"};
  options().noNewPrivs = true;
  options().dns = {"192.0.2.1"};
  options().dnsSearch = {"a.test", "b.test"};
  EXPECT_EQ(output("RUN df -k /dev/shm | tail -n 1 | awk '{print $2}'; ulimit -n; "
                   "grep -E 'CapBnd|NoNewPrivs' /proc/self/status; cat /etc/resolv.conf\n"),
            "2048\n100\nCapBnd:\t0000000000000000\nNoNewPrivs:\t1\nnameserver 192.0.2.1\n"
            "search a.test b.test\n");
}

TEST_F(MountTest, MountsVolumesOfTheHostInEveryStep) {
  fs::TempDir host;
  writeFile(host.fd(), "f", "host\n");
  options().volumes = {{host.path(), "/vol", false, false},
                       {host.path(), "/ro", true, false},
                       {host.path(), "/over", false, true}};
  EXPECT_EQ(output("RUN cat /vol/f; echo 1 > /vol/new; touch /ro/x 2>/dev/null || echo refused; "
                   "echo gone > /over/f; cat /over/f\n"),
            "host\nrefused\ngone\n");
  EXPECT_EQ(newestEntries(), "");
  EXPECT_EQ(fs::readFile(host.fd(), "f"), "host\n");
  EXPECT_EQ(fs::readFile(host.fd(), "new"), "1\n");
}

TEST_F(MountTest, GivesHostDevices) {
  options().devices = {"/dev/null:/dev/mine"};
  EXPECT_EQ(output("RUN stat -c %t:%T /dev/mine\n"), "1:3\n");
}

TEST_F(MountTest, DoesNotKeepAStepWhoseSourceChangedMeanwhile) {
  writeFile(context(), "f", "1");
  const std::string step = "RUN --mount=target=/c,source=f cat /c > /copy\n";
  fixture_.progress.onStart = [&] {
    if (fixture_.progress.started.back().starts_with("RUN --mount"))
      writeFile(context(), "f", "longer than before");
  };
  output(step);
  ASSERT_EQ(warnings().size(), 1U);
  EXPECT_NE(warnings().front().find("changed while the step ran"), std::string::npos);
  fixture_.progress.onStart = nullptr;
  writeFile(context(), "f", "1");
  EXPECT_FALSE(isCached(step));
}

TEST_F(MountTest, DoesNotKeepAStepWhenALinkOfItsSourceChangedMeanwhile) {
  writeFile(context(), "d/f", "1");
  sys::symlinkat("f", context(), "d/l");
  fixture_.progress.onStart = [&] {
    if (!fixture_.progress.started.back().starts_with("RUN --mount")) return;
    sys::unlinkat(context(), "d/l", 0);
    sys::symlinkat("g", context(), "d/l");
  };
  output("RUN --mount=target=/c,source=d readlink /c/l\n");
  ASSERT_EQ(warnings().size(), 1U);
  EXPECT_NE(warnings().front().find("changed while the step ran"), std::string::npos);
}

}  // namespace
}  // namespace img::builder
