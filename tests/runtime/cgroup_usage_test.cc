#include "runtime/cgroup_usage.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <tuple>

#include "base/fs.h"
#include "base/sys.h"

namespace img::runtime::test {
namespace {

class CgroupUsage : public testing::Test {
 protected:
  void put(const std::string& folder, const std::string& file, const std::string& content) {
    const Fd dir = fs::makeDirs(tree_.fd(), folder);
    writeAll(sys::openat(dir.get(), file, O_WRONLY | O_CREAT | O_TRUNC, 0644).get(), content, file);
  }
  // Of the folders made so far.
  Usage read(const std::vector<std::string>& folders) {
    Cgroup group;
    for (const std::string& folder : folders) group.folders.push_back(tree_.path() + "/" + folder);
    return readUsage(group);
  }
  fs::TempDir tree_;
};

TEST_F(CgroupUsage, ComesFromTheFilesOfVersion2) {
  put("c", "cgroup.procs", "");
  put("c", "cpu.stat", "usage_usec 1500\nuser_usec 1000\n");
  put("c", "memory.current", "1000000\n");
  put("c", "memory.stat", "anon 5\ninactive_file 400000\n");
  put("c", "memory.max", "2000000\n");
  put("c", "io.stat", "8:0 rbytes=10 wbytes=20 rios=1\n8:16 rbytes=1 wbytes=2 rios=1\n");
  put("c", "pids.current", "7\n");
  const Usage usage = read({"c"});
  EXPECT_EQ(usage.cpuNanoseconds, 1'500'000U);
  EXPECT_EQ(usage.memory, 600'000U) << "without the cache that could go";
  EXPECT_EQ(usage.memoryLimit, 2'000'000U);
  EXPECT_EQ(usage.bytesRead, 11U);
  EXPECT_EQ(usage.bytesWritten, 22U);
  EXPECT_EQ(usage.processes, 7U);
}

TEST_F(CgroupUsage, ComesFromTheFilesOfVersion1) {
  put("memory", "memory.usage_in_bytes", "1000\n");
  put("memory", "memory.stat", "inactive_file 1\ntotal_inactive_file 300\n");
  put("memory", "memory.limit_in_bytes", "5000\n");
  put("cpuacct", "cpuacct.usage", "77\n");
  put("blkio", "blkio.throttle.io_service_bytes",
      "8:0 Read 10\n8:0 Write 20\n8:0 Total 30\nTotal 30\n");
  const Usage usage = read({"memory", "cpuacct", "blkio"});
  EXPECT_EQ(usage.memory, 700U);
  EXPECT_EQ(usage.memoryLimit, 5000U);
  EXPECT_EQ(usage.cpuNanoseconds, 77U);
  EXPECT_EQ(usage.bytesRead, 10U);
  EXPECT_EQ(usage.bytesWritten, 20U);
}

TEST_F(CgroupUsage, HasNoMemoryLimitWhenThereIsNone) {
  put("c", "memory.current", "1000\n");
  put("c", "memory.max", "max\n");
  EXPECT_FALSE(read({"c"}).memoryLimit);
}

TEST_F(CgroupUsage, IsTheSumOverTheProcessesWithoutControllers) {
  put("c", "cgroup.procs", std::to_string(::getpid()) + "\n");
  std::vector<char> much(32 << 20, 1);
  const Usage usage = read({"c"});
  EXPECT_EQ(usage.processes, 1U);
  EXPECT_GE(usage.memory, much.size());
  EXPECT_FALSE(usage.memoryLimit);
}

TEST_F(CgroupUsage, OfAGroupThatIsGoneIsNothing) {
  const Usage usage = read({"gone"});
  EXPECT_EQ(usage.processes, 0U);
  EXPECT_EQ(usage.memory, 0U);
}

}  // namespace
}  // namespace img::runtime::test
