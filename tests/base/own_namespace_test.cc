#include "base/own_namespace.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/stat.h>

#include "base/process.h"
#include "base/sys.h"

namespace img {
namespace {

TEST(OwnNamespace, IsAskedForAgainAfterAnotherOneWasEntered) {
  const std::string answers = Child::fork([] {
                                std::ignore = isInMachineNamespace();
                                sys::unshare(CLONE_NEWUSER);
                                return std::string{isInMachineNamespace() ? "machine" : "other"};
                              }).finish();
  EXPECT_EQ(answers, "other");
}

TEST(OwnNamespace, IsTheMachinesWhereItsFileHasTheFirstNumber) {
  struct stat info {};
  ASSERT_EQ(::stat("/proc/self/ns/user", &info), 0);
  EXPECT_EQ(isInMachineNamespace(), info.st_ino == 0xEFFFFFFD);
  userNamespaceChanged();
  EXPECT_EQ(isInMachineNamespace(), info.st_ino == 0xEFFFFFFD);
}

}  // namespace
}  // namespace img
