#include "runtime/rootfs.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/sys.h"
#include "base/text.h"
#include "runtime/mounts.h"
#include "runtime/paths.h"
#include "runtime/security.h"
#include "tests/runtime/sandbox.h"

namespace img::runtime::test {
namespace {

class Rootfs : public Sandbox {
 protected:
  Mount bind(const std::string& source, const std::string& target, bool readOnly = false) const {
    Mount mount;
    mount.source = sys::openat(AT_FDCWD, source, O_PATH);
    mount.target = target;
    mount.readOnly = readOnly;
    return mount;
  }
};

TEST_F(Rootfs, ShowsNothingOfTheHost) {
  const std::string mounts = run("cat /proc/self/mountinfo").out;
  EXPECT_EQ(mounts.find("shared:"), std::string::npos) << mounts;
  const std::string list = run("ls /; stat -c %i / /.. /proc/1/root/").out;
  EXPECT_EQ(list.substr(0, list.find('\n', 30)).find("work"), std::string::npos);
  const std::vector<std::string> lines = text::split(list, '\n');
  ASSERT_GE(lines.size(), 4U);
  EXPECT_EQ(lines[lines.size() - 2], lines[lines.size() - 3]);
  EXPECT_EQ(lines[lines.size() - 3], lines[lines.size() - 4]);
}

TEST_F(Rootfs, GivesTheStandardDevices) {
  const Result result = run(
      "ls /dev; stat -c '%n %a %t:%T' /dev/null /dev/tty; readlink /dev/ptmx; echo x > /dev/null; "
      "head -c 2 /dev/zero | wc -c; stat -c %a /dev/shm; stat -c %a /dev/pts/ptmx");
  EXPECT_EQ(result.out,
            "core\nfd\nfull\nmqueue\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nuran"
            "dom\nzero\n"
            "/dev/null 666 1:3\n/dev/tty 666 5:0\npts/ptmx\n2\n1777\n666\n");
}

TEST_F(Rootfs, RefusesPseudoFileSystemsThroughLinks) {
  for (const char* name : {"proc", "sys", "dev"}) {
    fs::TempDir outside;
    fs::removeTree(root(), name);
    sys::symlinkat(outside.path(), root(), name);
    Spec one = shell("true");
    const Error error = failure(one);
    EXPECT_EQ(std::string{error.what()}, fmt::format("/{} in the image is a symbolic link", name));
    EXPECT_EQ(error.exitCode(), 125);
    EXPECT_TRUE(fs::list(outside.fd()).empty());
    sys::unlinkat(root(), name, 0);
  }
  EXPECT_EQ(run("ls -d /proc /sys /dev").code, 0) << "missing ones are created";
}

TEST_F(Rootfs, MasksWhatTellsAboutTheHost) {
  const Result result =
      run("for f in interrupts keys timer_list kcore sched_debug; do [ -e /proc/$f ] && wc -c < "
          "/proc/$f; done; "
          "for d in /proc/acpi /proc/scsi /sys/firmware; do [ -e $d ] && ls $d; done; "
          "touch /sys/firmware/x 2>/dev/null || echo closed");
  for (const std::string& line : text::split(result.out, '\n')) {
    EXPECT_TRUE(line == "0" || line == "closed" || line.empty()) << line;
  }
  EXPECT_NE(result.out.find("closed"), std::string::npos);
}

TEST_F(Rootfs, MasksAndUnmasksWhatTheCallerNames) {
  write("etc/secret", "secret");
  Spec one = shell(
      "cat /etc/secret; ls /etc/folder; [ -s /proc/interrupts ] || head -c 1 /proc/interrupts | wc "
      "-c");
  sys::mkdirat(root(), "etc/folder", 0755);
  write("etc/folder/file", "x");
  one.maskedPaths = {"/etc/secret", "/etc/folder", "/no/such/path"};
  one.unmaskedPaths = {"/proc/interrupts"};
  EXPECT_EQ(run(one).out, "1\n");
  one.unmaskedPaths = {"ALL"};
  one.argv.back() = "ls /sys/firmware | wc -l; grep -c ' /proc/' /proc/self/mountinfo";
  EXPECT_NE(run(one).out.find("\n0\n"), std::string::npos);
}

TEST_F(Rootfs, SetsSysctlsOfItsOwnNamespacesOnly) {
  Spec one = shell("cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax");
  one.sysctls = {{"net.ipv4.ip_forward", "1"}, {"kernel.msgmax", "4096"}};
  EXPECT_EQ(run(one).out, "1\n4096\n");
  // With the machine's own values: what is written where it must not be changes nothing.
  for (const auto& [name, file] : {std::pair{"vm.swappiness", "vm/swappiness"},
                                   {"kernel.hostname", "kernel/hostname"},
                                   {"net/../vm/swappiness", "vm/swappiness"},
                                   {"kernel.sem/../panic", "kernel/panic"}}) {
    Spec bad = shell("true");
    bad.sysctls = {{name, fs::readFile(AT_FDCWD, std::string{"/proc/sys/"} + file)}};
    EXPECT_NE(failure(bad).kind(), Kind::internal) << name;
  }
  Spec host = shell("true");
  host.network = Network::host;
  host.sysctls = {{"net.ipv4.ip_forward", fs::readFile(AT_FDCWD, "/proc/sys/net/ipv4/ip_forward")}};
  EXPECT_EQ(failure(host).kind(), Kind::usage);
}

TEST_F(Rootfs, MakesKernelSettingsReadOnly) {
  const Result result = run(
      "for f in /proc/sys/kernel/hostname /proc/sys/vm/swappiness; do read -r v < $f; "
      "(echo $v > $f) 2>/dev/null && echo wrote; done; "
      "touch /sys/x 2>/dev/null && echo wrote; cat /proc/sys/net/ipv4/ip_unprivileged_port_start");
  EXPECT_EQ(result.out, "0\n");
}

TEST_F(Rootfs, LeavesDeviceNodesOfTheImageInert) {
  sys::mknodat(root(), "node", S_IFCHR | 0666, makedev(1, 3));
  EXPECT_NE(run("cat /node").code, 0);
}

TEST_F(Rootfs, KeepsNodesInertThatTheContainerMakes) {
  const fs::TempDir volume;
  Spec one = shell(
      "for d in /dev /dev/shm /tmp /data; do mknod $d/k c 1 3 && echo x 2>/dev/null > $d/k && "
      "echo opened $d; done; echo x > /dev/null && head -c1 /dev/zero | wc -c");
  one.capabilities |= parseCapability("MKNOD");
  Mount data;
  data.source = sys::openat(AT_FDCWD, volume.path(), O_PATH);
  data.target = "/data";
  one.mounts.push_back(std::move(data));
  EXPECT_EQ(run(one).out, "1\n");
}

TEST_F(Rootfs, CanBeEnteredWithoutPivotRoot) {
  ::setenv("IMG_NO_PIVOT_ROOT", "1", 1);
  const Result result = run(
      "stat -c %d:%i / /.. /proc/1/root/; cut -d' ' -f5 /proc/self/mountinfo | grep -c '^/proc$'; "
      "test -e /proc/self/status && test ! -e /usr/bin && echo inside");
  ::unsetenv("IMG_NO_PIVOT_ROOT");
  const std::vector<std::string> lines = text::split(result.out, '\n');
  ASSERT_EQ(lines.size(), 6U) << result.out << result.err;
  EXPECT_EQ(lines[0], lines[1]);
  EXPECT_EQ(lines[0], lines[2]);
  EXPECT_EQ(lines[3], "1");
  EXPECT_EQ(lines[4], "inside");
}

TEST_F(Rootfs, MountsNosuidOnlyWithNoNewPrivileges) {
  const auto options = [&](bool noNewPrivs) {
    Spec one = shell("head -n 1 /proc/self/mountinfo");
    one.noNewPrivs = noNewPrivs;
    return run(one).out;
  };
  EXPECT_EQ(options(false).find("nosuid"), std::string::npos);
  EXPECT_NE(options(true).find("nosuid"), std::string::npos);
}

TEST_F(Rootfs, KeepsTheRootReadOnlyWhenAsked) {
  Spec one = shell("touch /new 2>/dev/null || echo refused; touch /dev/shm/x && echo shm; pwd");
  one.readOnlyRoot = true;
  one.cwd = "/made";
  EXPECT_EQ(run(one).out, "refused\nshm\n/made\n");
}

TEST_F(Rootfs, BindsFoldersAndFilesAndCreatesTargets) {
  fs::TempDir volume;
  writeAll(sys::openat(volume.fd(), "f", O_WRONLY | O_CREAT, 0644).get(), "hello", "f");
  Spec one = shell("cat /data/deep/f /single; touch /data/deep/new && echo wrote");
  one.mounts.push_back(bind(volume.path() + "/f", "/single"));
  one.mounts.push_back(bind(volume.path(), "/data/deep"));
  EXPECT_EQ(run(one).out, "hellohellowrote\n");
  EXPECT_TRUE(sys::tryFstatat(volume.fd(), "new"));
}

TEST_F(Rootfs, MountsOuterTargetsFirst) {
  fs::TempDir outer;
  fs::TempDir inner;
  Spec one = shell("touch /a/b/inner /a/outer");
  one.mounts.push_back(bind(inner.path(), "/a/b"));
  one.mounts.push_back(bind(outer.path(), "/a"));
  EXPECT_EQ(run(one).code, 0);
  EXPECT_TRUE(sys::tryFstatat(inner.fd(), "inner"));
  EXPECT_TRUE(sys::tryFstatat(outer.fd(), "outer"));
}

TEST_F(Rootfs, MakesReadOnlyBindsReadOnlyAllTheWayDown) {
  fs::TempDir volume;
  sys::mkdirat(volume.fd(), "sub", 0755);
  sys::mount("tmpfs", volume.path() + "/sub", "tmpfs", 0, nullptr);
  Spec one = shell("touch /v/x 2>/dev/null || echo ro; touch /v/sub/x 2>/dev/null || echo ro");
  one.mounts.push_back(bind(volume.path(), "/v", true));
  const Result result = run(one);
  sys::umount2(volume.path() + "/sub", 0);
  EXPECT_EQ(result.out, "ro\nro\n");
}

TEST_F(Rootfs, ShowsAPartOfADetachedMountAndNothingElseOfIt) {
  Mount mount;
  mount.type = Mount::Type::detached;
  mount.source = makeMount("tmpfs", MOUNT_ATTR_NOSUID, {{"source", "img"}});
  sys::mkdirat(mount.source.get(), "in", 0755);
  const Fd folder = sys::openDirectory(mount.source.get(), "in");
  writeAll(sys::openat(folder.get(), "f", O_WRONLY | O_CREAT, 0644).get(), "hello\n", "f");
  sys::symlinkat("../../in/f", mount.source.get(), "link");
  mount.subpath = "link";
  mount.target = "/single";
  mount.readOnly = true;
  mount.attributes = MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NODEV;
  Spec one = shell(
      "cat /single; (echo x > /single) 2>/dev/null || echo refused; "
      "grep -c ' /in/f /single ro,nosuid,nodev,noexec' /proc/self/mountinfo; "
      "grep -c tree /proc/self/mountinfo");
  one.mounts.push_back(std::move(mount));
  EXPECT_EQ(run(one).out, "hello\nrefused\n1\n0\n");
}

TEST_F(Rootfs, MakesTheDevicesThatWereAskedFor) {
  Spec one =
      shell("stat -c '%n %a %u %t:%T' /dev/deep/zero /dev/null; head -c 2 /dev/deep/zero | wc -c");
  one.devices = {{"/dev/deep/zero", S_IFCHR | 0640, makedev(1, 5), 7, 8},
                 {"/dev/null", S_IFCHR | 0600, makedev(1, 3), 0, 0}};
  EXPECT_EQ(run(one).out, "/dev/deep/zero 640 7 1:5\n/dev/null 600 0 1:3\n2\n");
  Spec bad = shell("true");
  bad.devices = {{"/etc/zero", S_IFCHR | 0640, makedev(1, 5), 0, 0}};
  EXPECT_EQ(std::string{failure(bad).what()},
            "cannot make the device \"/etc/zero\": it is not below /dev");
}

TEST_F(Rootfs, KeepsMountTargetsInsideTheRoot) {
  fs::TempDir volume;
  fs::TempDir outside;
  sys::symlinkat(outside.path(), root(), "absolute");
  sys::symlinkat("../../../../../../../.." + outside.path(), root(), "relative");
  Spec one = shell("true");
  one.mounts.push_back(bind(volume.path(), "/absolute/x"));
  one.mounts.push_back(bind(volume.path(), "/relative/y"));
  // The links point to folders that do not exist in the root: dangling there, so an error, and
  // nothing outside.
  EXPECT_NE(failure(one).kind(), Kind::internal);
  EXPECT_TRUE(fs::list(outside.fd()).empty());

  sys::symlinkat("/tmp", root(), "fine");
  Spec two = shell("touch /tmp/x/made && echo ok");
  two.mounts.push_back(bind(volume.path(), "/fine/x"));
  EXPECT_EQ(run(two).out, "ok\n");
}

TEST_F(Rootfs, RefusesMountsOnTheRootAndOnKernelFileSystems) {
  fs::TempDir volume;
  sys::symlinkat("/proc", root(), "alias");
  for (const char* target : {"/", "/proc", "/proc/sys", "/sys", "/sys/kernel", "/alias", "/alias/1",
                             "/x/../proc", "/proc/new"}) {
    Spec one = shell("true");
    one.mounts.push_back(bind(volume.path(), target));
    EXPECT_EQ(failure(one).kind(), Kind::usage) << target << ": " << failure(one).what();
  }
}

TEST_F(Rootfs, MountsTmpfsWithOptions) {
  Spec one = shell("stat -c %a /scratch; grep ' /scratch ' /proc/self/mountinfo");
  Mount mount;
  mount.type = Mount::Type::tmpfs;
  mount.target = "/scratch";
  mount.tmpfsOptions = "size=1m,mode=1770";
  mount.attributes = MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NOSUID;
  one.mounts.push_back(std::move(mount));
  const std::string out = run(one).out;
  EXPECT_EQ(out.substr(0, 5), "1770\n");
  EXPECT_NE(out.find("nosuid,nodev,noexec"), std::string::npos) << out;
  EXPECT_NE(out.find("size=1024k"), std::string::npos) << out;
}

TEST_F(Rootfs, BindsSmallFilesFromATmpfsOfItsOwn) {
  Spec one = shell(
      "cat /etc/hosts; grep hosts /proc/self/mountinfo; echo more >> /etc/hosts && cat /etc/hosts");
  one.files = {{"/etc/hosts", "127.0.0.1 localhost\n"}};
  const std::string out = run(one).out;
  EXPECT_EQ(out.substr(0, 20), "127.0.0.1 localhost\n");
  EXPECT_NE(out.find("/0/hosts /etc/hosts"), std::string::npos) << out;
  EXPECT_NE(out.find("localhost\nmore\n"), std::string::npos);
  EXPECT_EQ(read("etc/hosts"), "") << "only the empty mount point lies in the image";

  Spec two = shell("echo more >> /etc/hosts");
  two.files = {{"/etc/hosts", "x"}};
  two.filesReadOnly = true;
  EXPECT_NE(run(two).code, 0);
}

TEST_F(Rootfs, LetsAVolumeReplaceASmallFile) {
  write("mine", "mine\n");
  Spec one = shell("cat /etc/hosts");
  one.files = {{"/etc/hosts", "ours\n"}};
  one.mounts.push_back(bind(path("mine"), "/etc/hosts"));
  EXPECT_EQ(run(one).out, "mine\n");
}

TEST_F(Rootfs, GivesPrivilegedContainersEverything) {
  Spec one = shell(
      "grep CapEff /proc/self/status; wc -c < /proc/interrupts; ls /dev | wc -l; touch "
      "/proc/sys/kernel/hostname && echo rw");
  one.privileged = true;
  const std::string out = run(one).out;
  EXPECT_EQ(out.find("00000000800405fb"), std::string::npos) << out;
  EXPECT_NE(out.find("rw"), std::string::npos) << out;
}

struct PathCase {
  const char *given, *clean;
};
void PrintTo(const PathCase& c, std::ostream* out) {
  *out << c.given;
}
class CleanPath : public testing::TestWithParam<PathCase> {};
TEST_P(CleanPath, IsAbsoluteAndShort) {
  EXPECT_EQ(cleanPath(GetParam().given), GetParam().clean);
}
INSTANTIATE_TEST_SUITE_P(Paths, CleanPath,
                         testing::Values(PathCase{"/", "/"}, PathCase{"", "/"},
                                         PathCase{"/a//b/", "/a/b"}, PathCase{"a/./b", "/a/b"},
                                         PathCase{"/../../a", "/a"},
                                         PathCase{"/a/b/../c", "/a/c"}));

TEST(MakeDirsInRoot, RefusesDanglingLinksAndFiles) {
  fs::TempDir top;
  sys::symlinkat("/nowhere", top.fd(), "dangling");
  writeAll(sys::openat(top.fd(), "file", O_WRONLY | O_CREAT, 0644).get(), "x", "file");
  EXPECT_THROW(makeDirsInRoot(top.fd(), "/dangling/x"), Error);
  EXPECT_THROW(makeDirsInRoot(top.fd(), "/file/x"), Error);
  EXPECT_TRUE(makeDirsInRoot(top.fd(), "/a/b/c"));
  EXPECT_TRUE(sys::tryFstatat(top.fd(), "a/b/c"));
}

TEST(MountOptions, AreSplitIntoKeysAndValues) {
  const std::vector<MountOption> options = parseMountOptions("size=1m,noswap");
  ASSERT_EQ(options.size(), 2U);
  EXPECT_EQ(options[0].key + "|" + options[0].value, "size|1m");
  EXPECT_EQ(options[1].key + "|" + options[1].value, "noswap|");
  EXPECT_TRUE(parseMountOptions("").empty());
}

}  // namespace
}  // namespace img::runtime::test
