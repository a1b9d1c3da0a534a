#include "cli/namespace_options.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/text.h"
#include "cli/user_ranges.h"

namespace img::cli {
namespace {

template <class Work>
std::string refusal(const Work& work) {
  try {
    work();
    return "";
  } catch (const Error& error) {
    return error.cause();
  }
}

struct Bad {
  const char* name;
  NamespaceRequest request;
  const char* words;
};
void PrintTo(const Bad& one, std::ostream* out) {
  *out << one.name;
}

NamespaceRequest with(std::string NamespaceRequest::*option, const char* value) {
  NamespaceRequest request;
  request.*option = value;
  return request;
}

NamespaceRequest withMaps(std::vector<std::string> uids, std::vector<std::string> gids,
                          std::string user = "") {
  NamespaceRequest request;
  request.user = std::move(user);
  request.uidMap = std::move(uids);
  request.gidMap = std::move(gids);
  return request;
}

const Bad kBad[] = {
    {"UnknownPid", with(&NamespaceRequest::pid, "mine"), "--pid"},
    {"PidOfNobody", with(&NamespaceRequest::pid, "container:"), "--pid"},
    {"UnknownIpc", with(&NamespaceRequest::ipc, "public"), "--ipc"},
    {"UnknownUts", with(&NamespaceRequest::uts, "none"), "--uts"},
    {"CgroupOfAnother", with(&NamespaceRequest::cgroup, "container:a"), "--cgroupns"},
    {"UnknownUser", with(&NamespaceRequest::user, "root"), "--userns"},
    {"UserOfNobody", with(&NamespaceRequest::user, "container:"), "--userns"},
    {"UnknownUserOption", with(&NamespaceRequest::user, "auto:count=3"), "count=3"},
    {"AutoOfNoIds", with(&NamespaceRequest::user, "auto:size=0"), "size"},
    {"AutoOfTooManyIds", with(&NamespaceRequest::user, "auto:size=65537"), "65536"},
    {"KeepIdOfAName", with(&NamespaceRequest::user, "keep-id:uid=bob"), "not an id"},
    {"MapsBesideAMode", withMaps({"0:1:1"}, {}, "auto"), "excludes"},
    {"MapOfOneNumber", withMaps({"0"}, {}), "INSIDE:OUTSIDE"},
    {"MapOfNames", withMaps({"0:bob:1"}, {}), "not an id"},
    {"EmptyMap", withMaps({"0:1000:0"}, {}), "no ids"},
    {"MapBeyondTheEnd", withMaps({"0:4294967290:10"}, {}), "beyond"},
    {"MapsThatOverlapInside", withMaps({"0:1000:10", "9:2000:10"}, {}), "overlap"},
    {"MapsThatOverlapOutside", withMaps({"0:1000:10", "10:1009:10"}, {}), "overlap"},
    {"MapWithoutRoot", withMaps({"1:1000:10"}, {}), "id 0"},
    {"GroupsWithoutRoot", withMaps({"0:1000:10"}, {"5:1000:10"}), "--gidmap"}};

class BadNamespaces : public testing::TestWithParam<Bad> {};

TEST_P(BadNamespaces, AreRefused) {
  RunRequest request;
  request.namespaces = GetParam().request;
  EXPECT_NE(refusal([&] { checkNamespaceOptions(request); }).find(GetParam().words),
            std::string::npos)
      << refusal([&] { checkNamespaceOptions(request); });
}

INSTANTIATE_TEST_SUITE_P(Options, BadNamespaces, testing::ValuesIn(kBad),
                         [](const auto& test) { return std::string{test.param.name}; });

TEST(NamespaceOptions, KnowTheModes) {
  for (const auto& [option, value] :
       std::vector<std::pair<std::string NamespaceRequest::*, const char*>>{
           {&NamespaceRequest::pid, "host"},
           {&NamespaceRequest::pid, "private"},
           {&NamespaceRequest::pid, "container:a"},
           {&NamespaceRequest::ipc, "none"},
           {&NamespaceRequest::ipc, "shareable"},
           {&NamespaceRequest::uts, "host"},
           {&NamespaceRequest::cgroup, "host"},
           {&NamespaceRequest::user, "host"},
           {&NamespaceRequest::user, "nomap"},
           {&NamespaceRequest::user, "container:a"}}) {
    RunRequest request;
    request.namespaces = with(option, value);
    EXPECT_EQ(refusal([&] { checkNamespaceOptions(request); }), "") << value;
  }
}

TEST(NamespaceOptions, OfUsersAreTakenApart) {
  using Kind = UserMode::Kind;
  const auto mode = [](const char* text) {
    store::NamespaceRecord record;
    record.user = text;
    return userModeOf(record);
  };
  EXPECT_EQ(mode("").kind, Kind::host);
  EXPECT_EQ(mode("auto").size, 65536U);
  EXPECT_EQ(mode("auto:size=4096").size, 4096U);
  EXPECT_EQ(mode("keep-id:uid=5,gid=6").uid, 5U);
  EXPECT_EQ(mode("keep-id:uid=5,gid=6").gid, 6U);
  EXPECT_FALSE(mode("keep-id").uid.has_value());
  EXPECT_EQ(mode("container:x").kind, Kind::container);
}

TEST(NamespaceOptions, OfIdsStandInForEachOther) {
  store::NamespaceRecord record;
  record.uidMap = {"0:100000:5000", "5000:7"};
  const runtime::UserNamespace user = mappedIds(record);
  ASSERT_EQ(user.uids.size(), 2U);
  EXPECT_EQ(user.uids[1].outside, 7U);
  EXPECT_EQ(user.uids[1].count, 1U);
  ASSERT_EQ(user.gids.size(), 2U);
  EXPECT_EQ(user.gids[0].outside, 100000U);
}

TEST(NamespaceOptions, OfNamesBelongToTheirOwner) {
  RunRequest request;
  request.namespaces.uts = "host";
  EXPECT_EQ(refusal([&] { checkNamespaceOptions(request); }), "");
  request.hostname = "mine";
  EXPECT_NE(refusal([&] { checkNamespaceOptions(request); }).find("UTS mode"), std::string::npos);
  request.hostname = "";
  request.networkOptions.domainname = "mine";
  EXPECT_NE(refusal([&] { checkNamespaceOptions(request); }).find("UTS mode"), std::string::npos);
}

struct SysctlCase {
  const char *network, *ipc, *user, *setting;
  bool isAllowed;
};

TEST(NamespaceOptions, OfTheKernelAreThoseOfOwnNamespaces) {
  for (const SysctlCase& one : {SysctlCase{"none", "", "", "net.core.somaxconn=9", true},
                                {"", "", "", "net.core.somaxconn=9", true},
                                {"host", "", "", "net.core.somaxconn=9", false},
                                {"container:a", "", "", "net.core.somaxconn=9", false},
                                {"none", "", "", "kernel.msgmax=9", true},
                                {"none", "host", "", "kernel.msgmax=9", false},
                                {"none", "container:a", "", "kernel.msgmax=9", false},
                                {"none", "", "", "user.max_net_namespaces=9", false},
                                {"none", "", "auto", "user.max_net_namespaces=9", true},
                                {"none", "", "", "vm.swappiness=9", false},
                                {"none", "", "", "net.core.somaxconn", false},
                                {"none", "", "", "=9", false}}) {
    RunRequest request;
    request.network = one.network;
    request.namespaces.ipc = one.ipc;
    request.namespaces.user = one.user;
    request.sysctls = {one.setting};
    const std::string words = refusal([&] { checkNamespaceOptions(request); });
    EXPECT_EQ(words.empty(), one.isAllowed) << one.setting << ": " << words;
    EXPECT_EQ(words.find("--sysctl") != std::string::npos, !one.isAllowed) << words;
  }
}

struct DeviceCase {
  const char *text, *source, *destination, *access;
};

TEST(NamespaceOptions, OfDevicesHaveThreeParts) {
  for (const DeviceCase& one : {DeviceCase{"/dev/fuse", "/dev/fuse", "/dev/fuse", "rwm"},
                                {"/dev/fuse:/dev/other", "/dev/fuse", "/dev/other", "rwm"},
                                {"/dev/fuse:r", "/dev/fuse", "/dev/fuse", "r"},
                                {"/dev/fuse:/dev//a/../b:rw", "/dev/fuse", "/dev/b", "rw"},
                                {"/srv/node:/dev/node", "/srv/node", "/dev/node", "rwm"},
                                {"vendor.com/class=name", "vendor.com/class=name", "", "rwm"}}) {
    const store::DeviceRecord device = parseDevice(one.text);
    EXPECT_EQ(device.source, one.source);
    EXPECT_EQ(device.destination, one.destination) << one.text;
    EXPECT_EQ(device.access, one.access) << one.text;
  }
  for (const char* text : {"", "fuse", "/dev/fuse:/dev/x:q", "/dev/fuse:/dev/x:rw:m", "/srv/x",
                           "/dev/fuse:/srv/x", "/dev/fuse:x", "/dev/fuse:/dev/x:"}) {
    EXPECT_NE(refusal([&] { parseDevice(text); }), "") << text;
  }
}

TEST(UserRanges, ComeFromTheFilesOrFromADefault) {
  const IdPool none = idPool("bob:100000:65536\n", "bob:100000:65536\n");
  EXPECT_EQ(none.firstUid, 0x70000000U);
  EXPECT_GT(none.ranges, 4000U);
  const IdPool given = idPool("containers:200000:131072\nimg:1:65536\n",
                              "containers:300000:200000\ncontainers:900000:10\n");
  EXPECT_EQ(given.firstUid, 200000U);
  EXPECT_EQ(given.firstGid, 300000U);
  EXPECT_EQ(given.ranges, 2U);
  EXPECT_EQ(idPool("img:5:65536\n", "img:6:65536\n").firstGid, 6U);
  EXPECT_NE(refusal([] { idPool("containers:200000:1000\n", "containers:200000:1000\n"); }), "");
  EXPECT_NE(refusal([] { idPool("containers:200000:65536\n", ""); }).find("/etc/subgid"),
            std::string::npos);
}

TEST(UserRanges, AreLeasedOnceAndComeBack) {
  const fs::TempDir runRoot;
  const IdPool pool{200000, 300000, 2};
  auto first = leaseUserRange(runRoot.path(), pool, "one");
  {
    const UserRange second = leaseUserRange(runRoot.path(), pool, "one");
    EXPECT_NE(first.uid, second.uid);
    EXPECT_EQ(first.uid + second.uid, 2 * 200000U + 65536);
    EXPECT_EQ(first.gid - first.uid, 100000U);
    EXPECT_NE(refusal([&] { leaseUserRange(runRoot.path(), pool, "two"); }).find("taken"),
              std::string::npos);
  }
  const UserRange third = leaseUserRange(runRoot.path(), pool, "three");
  EXPECT_NE(first.uid, third.uid);
}

}  // namespace
}  // namespace img::cli
