#include "base/environment.h"

#include <gtest/gtest.h>

#include <cstdlib>

namespace img {
namespace {

constexpr char kName[] = "IMG_TEST_VARIABLE";

class Environment : public testing::Test {
 protected:
  // NOLINTNEXTLINE(concurrency-mt-unsafe): the tests have one thread
  static void set(const char* value) { ::setenv(kName, value, 1); }
  // NOLINTNEXTLINE(concurrency-mt-unsafe): the tests have one thread
  void TearDown() override { ::unsetenv(kName); }
};

TEST_F(Environment, AVariableThatIsNotSetIsNotFound) {
  EXPECT_EQ(findVariable(kName), std::nullopt);
  EXPECT_EQ(variableOrEmpty(kName), "");
}

TEST_F(Environment, AnEmptyVariableIsFound) {
  set("");
  EXPECT_EQ(findVariable(kName), "");
  EXPECT_EQ(variableOrEmpty(kName), "");
}

TEST_F(Environment, AValueComesWhole) {
  set("a=b c\n");
  EXPECT_EQ(findVariable(kName), "a=b c\n");
  EXPECT_EQ(variableOrEmpty(kName), "a=b c\n");
}

TEST_F(Environment, ALaterValueIsSeen) {
  set("first");
  EXPECT_EQ(variableOrEmpty(kName), "first");
  set("second");
  EXPECT_EQ(variableOrEmpty(kName), "second");
}

}  // namespace
}  // namespace img
