#include "runtime/sysctls.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/text.h"

namespace img::runtime {
namespace {

struct Case {
  const char *name, *key, *path, *space;
};
void PrintTo(const Case& one, std::ostream* out) {
  *out << one.key;
}

constexpr Case kCases[] = {
    {"Dots", "net.ipv4.ip_forward", "net/ipv4/ip_forward", "net"},
    {"Slashes", "net/ipv4/ip_forward", "net/ipv4/ip_forward", "net"},
    {"ADotInAName", "net.ipv4.conf.eth0/1.rp_filter", "net/ipv4/conf/eth0.1/rp_filter", "net"},
    {"ADotAfterSlashes", "net/ipv4/conf/eth0.1/rp_filter", "net/ipv4/conf/eth0.1/rp_filter", "net"},
    {"MessageQueues", "fs.mqueue.msg_max", "fs/mqueue/msg_max", "ipc"},
    {"SharedMemory", "kernel.shmmax", "kernel/shmmax", "ipc"},
    {"Semaphores", "kernel.sem", "kernel/sem", "ipc"},
    {"DomainName", "kernel.domainname", "kernel/domainname", "uts"},
    {"HostName", "kernel.hostname", "kernel/hostname", ""},
    {"UserLimits", "user.max_net_namespaces", "user/max_net_namespaces", "user"},
    {"TheMachines", "vm.swappiness", "vm/swappiness", ""},
    {"OutOfTheNamespace", "net/../vm/swappiness", "net/../vm/swappiness", ""},
    {"AlmostIpc", "kernel.shmmaxx", "kernel/shmmaxx", ""},
    {"OutWithMixedSeparators", "kernel.sem/../panic", "kernel/sem.//.panic", ""},
    {"OnlyTheFolder", "net.", "net/", ""},
    {"NoKey", "", "", ""}};

class Sysctl : public testing::TestWithParam<Case> {};

TEST_P(Sysctl, IsAPathAndBelongsToANamespace) {
  EXPECT_EQ(sysctlPath(GetParam().key), GetParam().path);
  EXPECT_EQ(namespaceOfSysctl(GetParam().key), GetParam().space);
}

INSTANTIATE_TEST_SUITE_P(Keys, Sysctl, testing::ValuesIn(kCases),
                         [](const auto& test) { return std::string{test.param.name}; });

Spec withSysctls(const std::vector<std::string>& keys) {
  Spec spec;
  for (const std::string& key : keys) spec.sysctls.emplace_back(key, "1");
  return spec;
}

std::string refused(const Spec& spec) {
  try {
    checkSysctls(spec);
    return "";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), Kind::usage);
    return error.cause();
  }
}

TEST(Sysctls, AreRefusedByNameForSharedNamespaces) {
  Spec spec = withSysctls({"net.ipv4.ip_forward", "kernel.msgmax", "kernel.domainname"});
  EXPECT_EQ(refused(spec), "");
  spec.uts.from = Namespace::From::host;
  EXPECT_NE(refused(spec).find("kernel.domainname"), std::string::npos);
  spec.ipc.from = Namespace::From::other;
  EXPECT_NE(refused(spec).find("kernel.msgmax"), std::string::npos);
  spec.network = Network::host;
  EXPECT_NE(refused(spec).find("net.ipv4.ip_forward"), std::string::npos);
}

TEST(Sysctls, OfUserNamespacesNeedOne) {
  Spec spec = withSysctls({"user.max_net_namespaces"});
  EXPECT_NE(refused(spec).find("user.max_net_namespaces"), std::string::npos);
  spec.userNamespace.uids = {{0, 100000, 1}};
  EXPECT_EQ(refused(spec), "");
}

}  // namespace
}  // namespace img::runtime
