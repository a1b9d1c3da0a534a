#include "cli/rootless.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <ostream>

#include "base/error.h"
#include "cli/examine.h"

namespace img::cli::test {
namespace {

struct Case {
  std::string_view value;
  Isolation expected;
};
void PrintTo(const Case& c, std::ostream* out) {
  *out << c.value;
}
constexpr Case kCases[] = {
    {"auto", Isolation::automatic},    {"root", Isolation::root},
    {"userns", Isolation::userns},     {"userns1", Isolation::userns1},
    {"USERNS", Isolation::userns},     {"default", Isolation::automatic},
    {"process", Isolation::automatic}, {"hyperv", Isolation::automatic},
    {"oci", Isolation::automatic},     {"rootless", Isolation::automatic},
    {"chroot", Isolation::chroot},
};
class IsolationValue : public testing::TestWithParam<Case> {};
TEST_P(IsolationValue, IsUnderstood) {
  EXPECT_EQ(parseIsolation("--isolation", GetParam().value), GetParam().expected);
}
INSTANTIATE_TEST_SUITE_P(Words, IsolationValue, testing::ValuesIn(kCases),
                         [](const auto& test) { return std::string{test.param.value}; });

TEST(IsolationValue, OfAnotherWordIsRefused) {
  EXPECT_THROW(parseIsolation("--isolation", "jail"), Error);
  EXPECT_THROW(parseIsolation("--isolation", ""), Error);
}

TEST(Findings, NeedOnlyWhatIsNeeded) {
  using State = Finding::State;
  EXPECT_TRUE(canWork({{"a", State::ok, "", true}, {"b", State::missing, "", false}}));
  EXPECT_TRUE(canWork({{"a", State::degraded, "", true}}));
  EXPECT_FALSE(canWork({{"a", State::ok, "", true}, {"b", State::missing, "", true}}));
}

TEST(Findings, AreALineEach) {
  using State = Finding::State;
  EXPECT_EQ(findingsText({{"rights", State::ok, "root", true},
                          {"proc", State::ok, "", true},
                          {"network", State::degraded, "uses none", false},
                          {"overlay", State::missing, "move\nit", true}}),
            "rights: ok (root)\nproc: ok\nnetwork: degraded: uses none\n"
            "overlay: missing: move\\x0ait\n");
}

TEST(Findings, AreAListOfObjects) {
  const auto list =
      nlohmann::json::parse(findingsJson({{"overlay", Finding::State::missing, "move it", true}}));
  EXPECT_EQ(list,
            nlohmann::json::parse(
                R"([{"name":"overlay","state":"missing","detail":"move it","needed":true}])"));
}

TEST(Findings, CoverWhatBuildsNeed) {
  const std::vector<Finding> findings = examineMachine("/no/store/here");
  std::vector<std::string> names;
  for (const Finding& finding : findings) names.push_back(finding.name);
  for (const char* name : {"rights", "seccomp", "cgroups", "network", "disk", "clock"}) {
    EXPECT_NE(std::find(names.begin(), names.end(), name), names.end()) << name;
  }
}

}  // namespace
}  // namespace img::cli::test
