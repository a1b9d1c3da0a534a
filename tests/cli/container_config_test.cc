#include "cli/container_config.h"

#include <gtest/gtest.h>

#include <csignal>
#include <cstdlib>

#include "base/error.h"
#include "base/text.h"
#include "cli/container_spec.h"

namespace img::cli {
namespace {

using Words = std::vector<std::string>;

struct ArgvCase {
  std::string_view name;
  std::optional<Words> entrypoint, cmd;
  std::optional<std::string> option;
  Words words, expected;
};
void PrintTo(const ArgvCase& c, std::ostream* out) {
  *out << c.name;
}

const ArgvCase kArgvCases[] = {
    {"CmdAlone", {}, Words{"c", "d"}, {}, {}, {"c", "d"}},
    {"WordsReplaceCmd", {}, Words{"c"}, {}, {"w"}, {"w"}},
    {"EntrypointAndCmd", Words{"e", "p"}, Words{"c"}, {}, {}, {"e", "p", "c"}},
    {"EntrypointAndWords", Words{"e"}, Words{"c"}, {}, {"w", "x"}, {"e", "w", "x"}},
    {"OptionDropsCmd", Words{"e"}, Words{"c"}, "n", {}, {"n"}},
    {"OptionWithWords", Words{"e"}, Words{"c"}, "n", {"w"}, {"n", "w"}},
    {"OptionAsJson", {}, Words{"c"}, R"(["n","o"])", {}, {"n", "o"}},
    {"OptionThatOnlyLooksLikeJson", {}, {}, "[n", {}, {"[n"}},
    {"EmptyOptionClears", Words{"e"}, Words{"c"}, "", {"w"}, {"w"}},
    {"NothingIsLeft", Words{"e"}, Words{"c"}, "", {}, {}},
    {"NothingAtAll", {}, {}, {}, {}, {}},
};

class Argv : public testing::TestWithParam<ArgvCase> {};
TEST_P(Argv, FollowsTheRules) {
  const ArgvCase& c = GetParam();
  store::ImageConfig image;
  image.entrypoint = c.entrypoint;
  image.cmd = c.cmd;
  if (c.expected.empty()) {
    EXPECT_THROW(commandOf(image, c.option, c.words), Error);
    return;
  }
  EXPECT_EQ(commandOf(image, c.option, c.words).argv(), c.expected);
}
INSTANTIATE_TEST_SUITE_P(Rules, Argv, testing::ValuesIn(kArgvCases),
                         [](const auto& test) { return std::string{test.param.name}; });

TEST(Environment, LaterAssignmentsReplaceInPlace) {
  EXPECT_EQ(mergeEnv({"A=1", "B=2"}, {"A=3", "C=", "B=x=y"}), (Words{"A=3", "B=x=y", "C="}));
}

TEST(Environment, ABareNameCopiesTheCallersValueOrNothing) {
  ::setenv("IMG_TEST_GIVEN", "v", 1);
  ::unsetenv("IMG_TEST_ABSENT");
  EXPECT_EQ(mergeEnv({}, {"IMG_TEST_GIVEN", "IMG_TEST_ABSENT"}), Words{"IMG_TEST_GIVEN=v"});
}

TEST(Environment, AnEmptyNameIsRefused) {
  EXPECT_THROW(mergeEnv({}, {"=x"}), Error);
  EXPECT_THROW(mergeEnv({}, {""}), Error);
}

TEST(Environment, FilesHaveCommentsAndNoQuotes) {
  EXPECT_EQ(parseEnvFile("# c\n\n A=1 \nB=\"q\" # no comment\r\nC\n", "f"),
            (Words{"A=1 ", "B=\"q\" # no comment", "C"}));
  try {
    parseEnvFile("A=1\nB C=2\n", "vars");
    FAIL();
  } catch (const Error& error) {
    EXPECT_TRUE(error.cause().starts_with("vars:2: ")) << error.cause();
  }
}

TEST(Environment, PathHostnameAndTermAreAddedWhereMissing) {
  store::ContainerConfig config;
  config.id = std::string(64, 'a');
  config.env = {"X=1"};
  const Words env = environmentOf(config, true);
  EXPECT_TRUE(env[0].starts_with("PATH=/usr/local/sbin:"));
  EXPECT_EQ(env[1], "HOSTNAME=aaaaaaaaaaaa");
  EXPECT_EQ(env[2], "TERM=xterm");
  EXPECT_EQ(env[3], "X=1");
  config.env = {"PATH=/p", "HOSTNAME=h"};
  EXPECT_EQ(environmentOf(config, false), config.env);
}

struct HostCase {
  std::string_view name, spec, host, address;
};
void PrintTo(const HostCase& c, std::ostream* out) {
  *out << c.spec;
}
constexpr HostCase kHostCases[] = {
    {"Ipv4", "db:10.0.0.1", "db", "10.0.0.1"},
    {"Equals", "db=10.0.0.1", "db", "10.0.0.1"},
    {"Ipv6", "db:fe80::1", "db", "fe80::1"},
    {"Brackets", "db:[::1]", "db", "::1"},
    {"NoAddress", "db", "", ""},
    {"NotAnAddress", "db:host", "", ""},
    {"NoHost", ":10.0.0.1", "", ""},
    {"Newline", "a\nb:10.0.0.1", "", ""},
};
class ExtraHost : public testing::TestWithParam<HostCase> {};
TEST_P(ExtraHost, IsANameAndAnAddress) {
  const HostCase& c = GetParam();
  if (c.host.empty()) {
    EXPECT_THROW(parseExtraHost(c.spec), Error);
    return;
  }
  const auto [host, address] = parseExtraHost(c.spec);
  EXPECT_EQ(host, c.host);
  EXPECT_EQ(address, c.address);
}
INSTANTIATE_TEST_SUITE_P(Specs, ExtraHost, testing::ValuesIn(kHostCases),
                         [](const auto& test) { return std::string{test.param.name}; });

TEST(Signal, HasManySpellings) {
  for (const char* name : {"TERM", "SIGTERM", "sigterm", "15"})
    EXPECT_EQ(parseSignal(name), SIGTERM) << name;
  EXPECT_EQ(parseSignal("RTMIN+3"), SIGRTMIN + 3);
  EXPECT_EQ(parseSignal("SIGRTMAX-1"), SIGRTMAX - 1);
  EXPECT_EQ(parseSignal("64"), 64);
  for (const char* name : {"", "0", "65", "FOO", "RTMIN+99", "-9"})
    EXPECT_THROW(parseSignal(name), Error) << name;
}

store::Image imageWith(const std::function<void(store::ImageConfig&)>& change) {
  store::Image image;
  image.config.cmd = Words{"run"};
  change(image.config);
  return image;
}

RunRequest requestFor(const Words& words) {
  RunRequest request;
  request.words = words;
  return request;
}

TEST(ContainerConfig, TakesFromTheImageWhatTheOptionsDoNotSay) {
  const store::Image image = imageWith([](store::ImageConfig& config) {
    config.user = "app";
    config.workingDir = "/srv";
    config.stopSignal = "INT";
    config.labels = {{"a", "1"}, {"b", "2"}};
    config.exposedPorts = {{"80/tcp", true}};
  });
  RunRequest request = requestFor({"img"});
  request.labels = {"b=3", "c"};
  const store::ContainerConfig config = configFor(request, image);
  EXPECT_EQ(config.user, "app");
  EXPECT_EQ(config.cwd, "/srv");
  EXPECT_EQ(config.stopSignal, "INT");
  EXPECT_EQ(config.labels, (std::map<std::string, std::string>{{"a", "1"}, {"b", "3"}, {"c", ""}}));
  EXPECT_EQ(config.exposedPorts, Words{"80/tcp"});
  EXPECT_EQ(config.network, "default");
  EXPECT_EQ(config.stopTimeout, 10);
}

TEST(ContainerConfig, OptionsWin) {
  const store::Image image = imageWith([](store::ImageConfig& config) {
    config.user = "app";
    config.workingDir = "/srv";
  });
  RunRequest request = requestFor({"img"});
  request.user = "0:0";
  request.workdir = "/w";
  request.stopSignal = "QUIT";
  request.stopTimeout = 3;
  const store::ContainerConfig config = configFor(request, image);
  EXPECT_EQ(config.user, "0:0");
  EXPECT_EQ(config.cwd, "/w");
  EXPECT_EQ(config.stopSignal, "QUIT");
  EXPECT_EQ(config.stopTimeout, 3);
}

TEST(ContainerConfig, WhatCannotBeIsRefused) {
  const store::Image image = imageWith([](store::ImageConfig&) {});
  RunRequest request = requestFor({"img"});
  request.workdir = "relative";
  EXPECT_THROW(configFor(request, image), Error);
  request = requestFor({"img"});
  request.stopSignal = "NOPE";
  EXPECT_THROW(configFor(request, image), Error);
  request = requestFor({"img"});
  request.securityOpt = {"frobnicate"};
  EXPECT_THROW(configFor(request, image), Error);
}

TEST(ContainerConfig, ExposesTheOptionsPortsToo) {
  store::Image image;
  image.config.exposedPorts = {{"80/tcp", true}};
  RunRequest request = requestFor({"img", "true"});
  request.expose = {"53/udp"};
  EXPECT_EQ(configFor(request, image).exposedPorts, (Words{"53/udp", "80/tcp"}));
}

TEST(ContainerConfig, KeepsTheLastLimitOfAName) {
  RunRequest request = requestFor({"img", "true"});
  request.ulimits = {"nofile=5", "core=0", "nofile=10:20"};
  const auto limits = configFor(request, store::Image{}).ulimits;
  ASSERT_EQ(limits.size(), 2u);
  EXPECT_EQ(limits[1].soft, 10);
  EXPECT_EQ(limits[1].hard, 20);
}

TEST(Ulimit, HasOneOrTwoNumbers) {
  EXPECT_EQ(parseUlimit("nofile=7").hard, 7);
  EXPECT_EQ(parseUlimit("core=-1").soft, -1);
  EXPECT_EQ(parseUlimit("core=0:unlimited").hard, -1);
  for (const char* bad :
       {"", "nofile", "nofile=", "nofile=x", "nofile=1:", "nofile=2:1", "nofile=-1:5", "nofile=-2",
        "files=1", "NOFILE=1", "nofile=99999999999999999999"}) {
    EXPECT_THROW(parseUlimit(bad), Error) << bad;
  }
}

struct RequestCase {
  std::string_view name, part;  // of the message; empty: accepted
  void (*change)(RunRequest&);
};
void PrintTo(const RequestCase& c, std::ostream* out) {
  *out << c.name;
}
const RequestCase kRequestCases[] = {
    {"Default", "", [](RunRequest&) {}},
    {"HostNetwork", "", [](RunRequest& r) { r.network = "host"; }},
    {"Bridge", "", [](RunRequest& r) { r.network = "bridge"; }},
    {"ContainerNetwork", "", [](RunRequest& r) { r.network = "container:x"; }},
    {"ContainerNetworkWithPorts", "--hostname does not go with --network container:x",
     [](RunRequest& r) {
       r.network = "container:x";
       r.hostname = "h";
     }},
    {"AddressWithoutBridge", "--ip does not go with --network none",
     [](RunRequest& r) {
       r.network = "none";
       r.networkOptions.address = "10.89.0.9";
     }},
    {"BadAddress", "--ip: \"10.89\" is not an IPv4 address",
     [](RunRequest& r) { r.networkOptions.address = "10.89"; }},
    {"GroupMac", "--mac-address",
     [](RunRequest& r) { r.networkOptions.macAddress = "01:00:5e:00:00:01"; }},
    {"AliasWithNewline", "--network-alias",
     [](RunRequest& r) { r.networkOptions.aliases = {"a\n10.0.0.1 bank"}; }},
    {"ServerByName", "--dns", [](RunRequest& r) { r.networkOptions.dns = {"dns.example"}; }},
    {"UnknownNetwork", "unknown network", [](RunRequest& r) { r.network = "mars"; }},
    {"Publish", "", [](RunRequest& r) { r.publish = {"80:80"}; }},
    {"PublishTwice", "published twice",
     [](RunRequest& r) {
       r.publish = {"80:80", "80:81"};
     }},
    {"PublishSctp", "sctp", [](RunRequest& r) { r.publish = {"80:80/sctp"}; }},
    {"LittleMemory", "minimum of 6m", [](RunRequest& r) { r.limits.memory = 1 << 20; }},
    {"SwapAlone", "needs --memory", [](RunRequest& r) { r.limits.memorySwap = 1 << 30; }},
    {"UnlimitedSwap", "",
     [](RunRequest& r) { r.limits.memory = 1 << 30, r.limits.memorySwap = -1; }},
    {"SwapBelowMemory", "cannot be less",
     [](RunRequest& r) { r.limits.memory = 1 << 30, r.limits.memorySwap = 1 << 20; }},
    {"CpusAndQuota", "--cpus excludes",
     [](RunRequest& r) { r.limits.nanoCpus = 1, r.limits.cpuQuota = 1000; }},
    {"HostPlatform", "",
     [](RunRequest& r) { r.platform = "linux/" + store::Platform::host().architecture; }},
    {"OtherPlatform", "--platform linux/s390x is not",
     [](RunRequest& r) { r.platform = "linux/s390x"; }},
    {"HalfAPlatform", "expected OS/ARCH", [](RunRequest& r) { r.platform = "linux"; }},
    {"FileLog", "", [](RunRequest& r) { r.logDriver = "file"; }},
    {"OtherLog", "--log-driver syslog is not", [](RunRequest& r) { r.logDriver = "syslog"; }},
    {"LogOption", "", [](RunRequest& r) { r.logOpt = {"max-size=1m"}; }},
    {"FewShares", "between 2 and 262144", [](RunRequest& r) { r.limits.cpuShares = 1; }},
};
class RunOptions : public testing::TestWithParam<RequestCase> {};
TEST_P(RunOptions, AreCheckedTogether) {
  RunRequest request = requestFor({"img"});
  GetParam().change(request);
  std::string message;
  try {
    checkRunRequest(request);
  } catch (const Error& error) {
    message = error.cause();
  }
  EXPECT_EQ(message.empty(), GetParam().part.empty()) << message;
  EXPECT_NE(message.find(GetParam().part), std::string::npos) << message;
}
INSTANTIATE_TEST_SUITE_P(Requests, RunOptions, testing::ValuesIn(kRequestCases),
                         [](const auto& test) { return std::string{test.param.name}; });

TEST(Cpus, AreBillionths) {
  EXPECT_EQ(parseCpus("1.5"), 1'500'000'000);
  EXPECT_EQ(parseCpus("2"), 2'000'000'000);
  for (const char* text : {"", "x", "0", "-1", "nan", "1.5x"})
    EXPECT_THROW(parseCpus(text), Error) << text;
}

}  // namespace
}  // namespace img::cli
