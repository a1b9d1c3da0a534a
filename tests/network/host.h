// A network of its own for each test: what the code under test takes for the host's. Nothing of the
// machine's is touched, tests may run at the same time, and all of it goes with the test's process.
#pragma once

#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/process.h"
#include "base/sys.h"
#include "network/namespace.h"
#include "network/settings.h"

namespace img::network {

class HostNetwork : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "network namespaces need root";
    sys::unshare(CLONE_NEWNET);
    bringLoopbackUp();
    settings_.runRoot = runRoot_.path();
    settings_.bridge = "imgtest";
  }

  // ip(8), nft(8) and others of the peer tools, in the namespace of the caller.
  static std::string tool(const std::vector<std::string>& argv) {
    const Output output = runProgram(argv);
    EXPECT_EQ(output.status.code, 0) << argv.front() << ": " << output.err;
    return output.out;
  }
  static std::string toolIn(const Fd& netns, const std::vector<std::string>& argv) {
    std::string out;
    inNamespace(netns.get(), [&] { out = tool(argv); });
    return out;
  }

  fs::TempDir runRoot_;
  Settings settings_;
};

}  // namespace img::network
