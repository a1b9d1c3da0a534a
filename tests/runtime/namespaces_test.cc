#include "runtime/namespaces.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/sys.h"
#include "base/text.h"
#include "runtime/cgroups.h"
#include "runtime/exec.h"
#include "runtime/mounts.h"
#include "tests/runtime/sandbox.h"

namespace img::runtime::test {
namespace {

constexpr unsigned kFirst = 300000;

std::string ours(const std::string& name) {
  return sys::readlinkat(AT_FDCWD, "/proc/self/ns/" + name);
}

std::string theirs(pid_t pid, const std::string& name) {
  return sys::readlinkat(AT_FDCWD, fmt::format("/proc/{}/ns/{}", pid, name));
}

class Namespaces : public Sandbox {
 protected:
  // A container whose root is `kFirst` outside, on the files of the sandbox.
  Spec mapped(const std::string& script) const {
    Spec one = shell(script);
    one.userNamespace.uids = {{0, kFirst, 65536}};
    one.userNamespace.gids = {{0, kFirst + 1000000, 65536}};
    one.mountMappedRootfs = [folder = path("")](int user) {
      Fd tree = sys::openTree(AT_FDCWD, folder, OPEN_TREE_CLONE);
      sys::mountSetattr(tree.get(), "", 0, 0, 0, MS_PRIVATE);
      sys::mountSetattrIdmap(tree.get(), user);
      return tree;
    };
    return one;
  }

  Container sleeper() const { return start(spec({"/bin/sleep", "1000"})); }
  Result enter(const Container& container, const std::string& script) const {
    Spec further = shell(script);
    Pipe out = Pipe::make();
    further.standardOutput = out.write.get();
    Container process = execute(container.pidfd(), container.pid(), further);
    out.write.reset();
    Result result;
    result.out = readAll(out.read.get(), "output");
    result.code = process.wait().code;
    return result;
  }
};

TEST_F(Namespaces, AreTheHostsWhereAsked) {
  Spec one = shell("for n in pid ipc uts cgroup; do readlink /proc/self/ns/$n; done; hostname");
  one.pid.from = one.ipc.from = one.uts.from = one.cgroup.from = Namespace::From::host;
  char name[256] = {};
  ASSERT_EQ(::gethostname(name, sizeof name - 1), 0);
  EXPECT_EQ(run(one).out, fmt::format("{}\n{}\n{}\n{}\n{}\n", ours("pid"), ours("ipc"), ours("uts"),
                                      ours("cgroup"), name));
}

TEST_F(Namespaces, OfAnotherContainerAreJoined) {
  Container other = sleeper();
  Spec one =
      shell("for n in pid ipc uts; do readlink /proc/self/ns/$n; done; ps | grep -c '[s]leep'");
  const Fd pid = openNamespace(other.pid(), "pid");
  const Fd ipc = openNamespace(other.pid(), "ipc");
  const Fd uts = openNamespace(other.pid(), "uts");
  one.pid = {Namespace::From::other, pid.get()};
  one.ipc = {Namespace::From::other, ipc.get()};
  one.uts = {Namespace::From::other, uts.get()};
  one.hostname = "ignored";
  EXPECT_EQ(run(one).out, fmt::format("{}\n{}\n{}\n1\n", theirs(other.pid(), "pid"),
                                      theirs(other.pid(), "ipc"), theirs(other.pid(), "uts")));
}

TEST_F(Namespaces, ShareMemoryThroughAClone) {
  Container other = start(shell("echo here >/dev/shm/note; exec sleep 1000"));
  while (enter(other, "cat /dev/shm/note 2>/dev/null").out != "here\n") ::usleep(1000);
  const Fd shm = cloneSharedMemory(other.pid());
  Spec one = shell("cat /dev/shm/note; echo back >/dev/shm/answer");
  one.sharedMemory = shm.get();
  EXPECT_EQ(run(one).out, "here\n");
  EXPECT_EQ(enter(other, "cat /dev/shm/answer").out, "back\n");
  Spec none = shell("test -e /dev/shm || echo none");
  none.hasSharedMemory = false;
  EXPECT_EQ(run(none).out, "none\n");
}

TEST_F(Namespaces, EndTheProcessesOfAContainerInTheHostsPidNamespace) {
  Spec one = shell("setsid sleep 1234567 >/dev/null 2>&1 & echo $!; sleep 0.01; exit 3");
  one.pid.from = Namespace::From::host;
  one.cgroupName = fmt::format("ns-test-{}", ::getpid());
  const Result result = run(one);
  EXPECT_EQ(result.code, 3);
  const auto pid = text::parseUnsigned(text::trim(result.out));
  ASSERT_TRUE(pid.has_value()) << result.out;
  // Gone, or about to be collected by the machine's init.
  const auto stat = fs::tryReadFile(AT_FDCWD, fmt::format("/proc/{}/stat", *pid));
  EXPECT_TRUE(!stat || stat->find(") Z ") != std::string::npos) << *stat;
}

TEST_F(Namespaces, WithIdsOfTheirOwnMapRootAndItsFiles) {
  write("tmp/given", "x");
  sys::lchownat(root(), "tmp/given", 7, 8);
  Spec one = mapped(
      "cat /proc/self/uid_map /proc/self/gid_map; id -u; stat -c %u:%g /bin /tmp/given; "
      "touch /tmp/made; grep CapEff /proc/self/status; ls /proc/1 >/dev/null && ls /sys/class/net");
  const Result result = run(one);
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_NE(result.out.find(fmt::format("0     {}      65536", kFirst)), std::string::npos)
      << result.out;
  EXPECT_NE(result.out.find("\n0\n0:0\n7:8\n"), std::string::npos) << result.out;
  EXPECT_NE(result.out.find("\nlo\n"), std::string::npos) << result.out;
  EXPECT_EQ(field(result.out, "CapEff:"), "00000000800405fb");
  // On the disk it is root's: a commit sees what a container without the map would have left.
  EXPECT_EQ(sys::fstatat(root(), "tmp/made").st_uid, 0U);
}

TEST_F(Namespaces, WithIdsOfTheirOwnAreSeenMappedFromOutside) {
  Container container = start(mapped("exec sleep 1000"));
  EXPECT_NE(theirs(container.pid(), "user"), ours("user"));
  EXPECT_EQ(outsideRootOf(container.pid()).uid, kFirst);
  EXPECT_EQ(outsideRootOf(container.pid()).gid, kFirst + 1000000);
  const std::string status =
      fs::readFile(AT_FDCWD, fmt::format("/proc/{}/status", container.pid()));
  EXPECT_EQ(field(status, "Uid:").substr(0, 6), std::to_string(kFirst));
  // Its network can be set up by the machine's root all the same.
  const Fd net = openNamespace(container.pid(), "net");
  EXPECT_NE(theirs(container.pid(), "net"), ours("net"));
}

TEST_F(Namespaces, WithIdsOfTheirOwnHaveDevicesATmpfsAndStreams) {
  Spec one = mapped(
      "echo x >/dev/null; head -c 3 /dev/zero | wc -c; echo seen >/dev/stdout; "
      "touch /scratch/file; stat -c %u:%a /scratch; ls /dev/mqueue; ls /dev/shm; echo done");
  Mount scratch;
  scratch.type = Mount::Type::tmpfs;
  scratch.target = "/scratch";
  scratch.tmpfsOptions = "mode=0711";
  one.mounts.push_back(std::move(scratch));
  const Result result = run(one);
  EXPECT_EQ(result.out, "3\nseen\n0:711\ndone\n") << result.err;
  Spec app = mapped("echo mine >/dev/stdout; id -u");
  app.user = "app";
  EXPECT_EQ(run(app).out, "mine\n1000\n");
}

TEST_F(Namespaces, WithIdsOfTheirOwnMapBindMounts) {
  const fs::TempDir volume;
  sys::fchmod(volume.fd(), 0755);
  Spec one = mapped("stat -c %u /data; echo v >/data/file; stat -c %u /data/file");
  Mount bind;
  bind.source = sys::openDirectory(volume.fd(), ".");
  bind.target = "/data";
  one.mounts.push_back(std::move(bind));
  EXPECT_EQ(run(one).out, "0\n0\n");
  EXPECT_EQ(sys::fstatat(volume.fd(), "file").st_uid, 0U);
}

TEST_F(Namespaces, OfUsersAreEnteredByFurtherProcesses) {
  Container container = start(mapped("exec sleep 1000"));
  const Result result = enter(container,
                              "readlink /proc/self/ns/user; id -u; echo x >/dev/stdout; "
                              "grep -c '^CapBnd:.*800405fb' /proc/self/status");
  EXPECT_EQ(result.out, theirs(container.pid(), "user") + "\n0\nx\n1\n");
}

TEST_F(Namespaces, OfUsersAreJoinedWithMappedFiles) {
  Container other = start(mapped("exec sleep 1000"));
  const Fd user = openNamespace(other.pid(), "user");
  const Fd pid = openNamespace(other.pid(), "pid");
  const Fd net = openNamespace(other.pid(), "net");
  Spec one = mapped(
      "for n in user pid net; do readlink /proc/self/ns/$n; done; stat -c %u /bin; ps | grep "
      "-c '[s]leep'");
  one.userNamespace = {};
  one.userNamespace.fd = user.get();
  one.pid = {Namespace::From::other, pid.get()};
  one.network = Network::join;
  one.networkNamespace = net.get();
  EXPECT_EQ(run(one).out, fmt::format("{}\n{}\n{}\n0\n1\n", theirs(other.pid(), "user"),
                                      theirs(other.pid(), "pid"), theirs(other.pid(), "net")));
}

TEST_F(Namespaces, WithIdsOfTheirOwnInTheHostsOthers) {
  Spec one = mapped(
      "for n in pid ipc uts net; do readlink /proc/self/ns/$n; done; ls /sys >/dev/null && "
      "touch /sys/x 2>/dev/null || echo fixed; test -d /proc/1 && echo seen");
  one.pid.from = one.ipc.from = one.uts.from = Namespace::From::host;
  one.network = Network::host;
  one.cgroupName = fmt::format("ns-test-u-{}", ::getpid());
  const Result result = run(one);
  EXPECT_EQ(result.out, fmt::format("{}\n{}\n{}\n{}\nfixed\nseen\n", ours("pid"), ours("ipc"),
                                    ours("uts"), ours("net")))
      << result.err;
}

TEST_F(Namespaces, WithBadMapsDoNotStart) {
  Spec one = mapped("true");
  one.userNamespace.uids = {{0, kFirst, 10}, {5, kFirst + 100, 10}};
  const Error error = failure(one);
  EXPECT_EQ(error.code(), "idmap");
  EXPECT_NE(error.cause().find("map the ids"), std::string::npos) << error.cause();
}

TEST_F(Namespaces, TellWhatTheCallersPartFailedOf) {
  Spec one = mapped("true");
  one.mountMappedRootfs = [](int) -> Fd { throw Error{Kind::failed, "no layers today"}; };
  EXPECT_EQ(failure(one).cause(), "no layers today");
  Spec created = mapped("true");
  created.onCreated = [](pid_t, int) { throw Error{Kind::failed, "no network today"}; };
  EXPECT_EQ(failure(created).cause(), "no network today");
}

TEST_F(Namespaces, MoveTheClocks) {
  Spec one = shell("cat /proc/uptime; readlink /proc/self/ns/time");
  one.boottimeOffset = 10'000'000;
  one.monotonicOffset = 5;
  const Result result = run(one);
  EXPECT_GE(text::parseUnsigned(result.out.substr(0, result.out.find('.'))).value_or(0),
            10'000'000U)
      << result.out;
  EXPECT_EQ(result.out.find(ours("time")), std::string::npos);
  Container container = start([&] {
    Spec sleeping = spec({"/bin/sleep", "1000"});
    sleeping.boottimeOffset = 10'000'000;
    return sleeping;
  }());
  EXPECT_EQ(enter(container, "cat /proc/uptime").out.substr(0, 1), "1");
  EXPECT_EQ(text::trim(enter(container, "readlink /proc/self/ns/time").out),
            theirs(container.pid(), "time"));
  Spec early = shell("true");
  early.boottimeOffset = -1'000'000'000;
  EXPECT_NE(failure(early).toJson().find("out of its range"), std::string::npos);
}

TEST_F(Namespaces, KeepTheDomainNameAndTheOomScore) {
  Spec one = shell("cat /proc/sys/kernel/domainname /proc/self/oom_score_adj");
  one.domainname = "corner";
  one.oomScoreAdj = 321;
  EXPECT_EQ(run(one).out, "corner\n321\n");
}

}  // namespace
}  // namespace img::runtime::test
