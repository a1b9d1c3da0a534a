#include "cli/build_step_options.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>

#include "base/fs.h"
#include "base/sys.h"

namespace img::cli {
namespace {

std::string causeOf(const std::function<void()>& work) {
  try {
    work();
  } catch (const Error& error) {
    return error.cause();
  }
  return "nothing was thrown";
}

class SecretOption : public testing::Test {
 protected:
  SecretOption() {
    fs::replaceFile(temp.fd(), "token", "from the file\n", 0600, fs::Sync::none);
    ::setenv("IMG_TEST_SECRET", "from the environment", 1);  // NOLINT(concurrency-mt-unsafe)
  }
  std::string file() const { return temp.path() + "/token"; }
  fs::TempDir temp;
};

TEST_F(SecretOption, ReadsFilesAndVariables) {
  EXPECT_EQ(parseSecret("id=a,src=" + file()).content, "from the file\n");
  EXPECT_EQ(parseSecret("id=a,source=" + file() + ",type=file").content, "from the file\n");
  EXPECT_EQ(parseSecret("id=" + file()).content, "from the file\n");
  EXPECT_EQ(parseSecret("id=a,env=IMG_TEST_SECRET").content, "from the environment");
  EXPECT_EQ(parseSecret("id=a,type=env,src=IMG_TEST_SECRET").content, "from the environment");
  EXPECT_EQ(parseSecret("id=IMG_TEST_SECRET").content, "from the environment");
  EXPECT_EQ(parseSecret("type=env,id=IMG_TEST_SECRET").content, "from the environment");
}

TEST_F(SecretOption, SaysWhatIsWrong) {
  EXPECT_EQ(causeOf([] { parseSecret("src=x"); }), "--secret \"src=x\": no id");
  EXPECT_EQ(causeOf([] { parseSecret("id=a,sorce=x"); }), "--secret: unknown field \"sorce\"");
  EXPECT_EQ(causeOf([] { parseSecret("id=a,type=x"); }), "--secret: unknown type \"x\"");
  EXPECT_EQ(causeOf([] { parseSecret("id=a,src=/no/such"); }),
            "--secret id=a: no file \"/no/such\"");
  EXPECT_EQ(causeOf([] { parseSecret("id=a,env=NO_SUCH_VARIABLE"); }),
            "--secret id=a: the variable \"NO_SUCH_VARIABLE\" is not set");
  EXPECT_EQ(causeOf([&] { parseSecret("id=a,src=" + temp.path()); }),
            "--secret id=a: \"" + temp.path() + "\" is not a file");
  EXPECT_EQ(causeOf([] { parseSecret("id=a,src=b,env=c"); }),
            "--secret id=a: src and env exclude each other");
}

TEST_F(SecretOption, TakesKeysOrOneSocketForSsh) {
  const builder::SshAgentSource keys = parseSshAgent("ci=" + file() + "," + file());
  EXPECT_EQ(keys.id, "ci");
  EXPECT_EQ(keys.keyFiles.size(), 2U);
  sys::mknodat(temp.fd(), "socket", S_IFSOCK | 0600, 0);
  EXPECT_EQ(parseSshAgent("ci=" + temp.path() + "/socket").socket, temp.path() + "/socket");
  ::setenv("SSH_AUTH_SOCK", (temp.path() + "/socket").c_str(), 1);  // NOLINT(concurrency-mt-unsafe)
  EXPECT_EQ(parseSshAgent("default").socket, temp.path() + "/socket");
  ::unsetenv("SSH_AUTH_SOCK");  // NOLINT(concurrency-mt-unsafe)
  EXPECT_EQ(causeOf([] { parseSshAgent("default"); }), "--ssh default: SSH_AUTH_SOCK is not set");
  EXPECT_EQ(causeOf([] { parseSshAgent("a=/no/such"); }), "--ssh: no file \"/no/such\"");
  EXPECT_EQ(causeOf([&] { parseSshAgent("a=" + temp.path() + "/socket," + file()); }),
            "--ssh a: one socket, or files with keys");
}

TEST_F(SecretOption, ReadsVolumes) {
  const builder::HostMount mount = parseHostMount(temp.path() + ":/in/side:ro");
  EXPECT_EQ(mount.source, temp.path());
  EXPECT_EQ(mount.target, "/in/side");
  EXPECT_TRUE(mount.readOnly);
  EXPECT_TRUE(parseHostMount(temp.path() + ":/x:O").isThrowaway);
  EXPECT_NE(causeOf([] { parseHostMount("name:/x"); }).find("folders of the host only"),
            std::string::npos);
  EXPECT_NE(causeOf([] { parseHostMount("/no/such:/x"); }).find("does not exist"),
            std::string::npos);
}

TEST(ResourceOption, SetsLimits) {
  store::LimitRecord limits;
  for (const char* text : {"memory=64m", "memory-swap=-1", "cpu-shares=7", "cpu-period=50000",
                           "cpu-quota=25000", "cpuset-cpus=0-1"})
    takeResource(limits, text);
  EXPECT_EQ(limits.memory, 64LL << 20);
  EXPECT_EQ(limits.memorySwap, -1);
  EXPECT_EQ(limits.cpuShares, 7);
  EXPECT_EQ(limits.cpuPeriod, 50000);
  EXPECT_EQ(limits.cpuQuota, 25000);
  EXPECT_EQ(limits.cpusetCpus, "0-1");
  EXPECT_EQ(causeOf([&] { takeResource(limits, "memroy=1"); }),
            "--resource: unknown resource \"memroy\"");
  EXPECT_EQ(causeOf([&] { takeResource(limits, "cpu-shares=x"); }),
            "--resource cpu-shares: \"x\" is not a number");
}

}  // namespace
}  // namespace img::cli
