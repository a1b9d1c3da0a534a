#include "runtime/launch.h"

#include "tests/runtime/sandbox.h"

namespace img::runtime::test {
namespace {

class Launch : public Sandbox {};

TEST_F(Launch, RunsACommandAndReturnsItsOutputAndStatus) {
  const Result result = run("echo out; echo err >&2; exit 7");
  EXPECT_EQ(result.out, "out\n");
  EXPECT_EQ(result.err, "err\n");
  EXPECT_EQ(result.code, 7);
}

}  // namespace
}  // namespace img::runtime::test
