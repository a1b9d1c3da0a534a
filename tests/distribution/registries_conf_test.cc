#include "distribution/registries_conf.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace img::distribution {
namespace {

constexpr char kConf[] = R"(unqualified-search-registries = ["docker.io"]
[aliases]
"x" = "y.example/x"
[[registry]]
prefix = "docker.io"
location = "hub.example:5000/cache"
[[registry.mirror]]
location = "near.example/hub"
insecure = true
pull-from-mirror = "digest-only"
[[registry.mirror]]
location = "far.example/hub/"
pull-from-mirror = "tag-only"
[[registry]]
prefix = "docker.io/library"
location = "docker.io/mirrored"
[[registry]]
prefix = "*.example.com"
insecure = true
[[registry]]
prefix = "*.corp.example.com/team"
location = "inner.example.com/t"
[[registry]]
location = "bad.example/evil"
blocked = true
)";

const std::vector<RegistryRule>& rules() {
  static const auto parsed = parseRegistriesConf(kConf, "test.conf");
  return parsed;
}

struct PlaceCase {
  std::string_view name, reference, host, path;
};
void PrintTo(const PlaceCase& c, std::ostream* out) {
  *out << c.reference;
}
constexpr PlaceCase kPlaces[] = {
    {"PrefixIsReplacedByLocation", "me/app", "hub.example:5000", "cache/me/app"},
    {"LongestPrefixWins", "debian", "docker.io", "mirrored/debian"},
    {"WildcardKeepsTheHost", "a.example.com/x/y", "a.example.com", "x/y"},
    {"WildcardWithPath", "a.corp.example.com/team/y", "inner.example.com", "t/y"},
    {"DeeperSubdomains", "a.b.example.com/x", "a.b.example.com", "x"},
};
class Places : public testing::TestWithParam<PlaceCase> {};
TEST_P(Places, FollowTheRules) {
  const auto reference = store::Reference::parse(GetParam().reference);
  const RegistryRule* rule = findRule(rules(), reference);
  ASSERT_NE(rule, nullptr);
  const Place place = placeAt(*rule, rule->location, reference);
  EXPECT_EQ(place.host, GetParam().host);
  EXPECT_EQ(place.path, GetParam().path);
}
INSTANTIATE_TEST_SUITE_P(Rules, Places, testing::ValuesIn(kPlaces),
                         [](const auto& test) { return std::string{test.param.name}; });

struct NoRuleCase {
  std::string_view name, reference;
};
void PrintTo(const NoRuleCase& c, std::ostream* out) {
  *out << c.reference;
}
constexpr NoRuleCase kNoRules[] = {
    {"OtherHost", "other.test/x"},
    {"DomainItselfIsNoSubdomain", "example.com/x"},
    {"NameThatOnlyEndsAlike", "badexample.com/x"},
    {"PathThatOnlyBeginsAlike", "bad.example/evilish"},
};
class NoRule : public testing::TestWithParam<NoRuleCase> {};
TEST_P(NoRule, MatchesNothing) {
  EXPECT_EQ(findRule(rules(), store::Reference::parse(GetParam().reference)), nullptr);
}
INSTANTIATE_TEST_SUITE_P(Rules, NoRule, testing::ValuesIn(kNoRules),
                         [](const auto& test) { return std::string{test.param.name}; });

TEST(RegistriesConf, ReadsMirrorsAndWhatTheyServe) {
  const RegistryRule* rule = findRule(rules(), store::Reference::parse("me/app"));
  ASSERT_EQ(rule->mirrors.size(), 2U);
  EXPECT_EQ(rule->mirrors[0].location, "near.example/hub");
  EXPECT_TRUE(rule->mirrors[0].isInsecure);
  EXPECT_FALSE(rule->mirrors[0].servesTags);
  EXPECT_TRUE(rule->mirrors[0].servesDigests);
  EXPECT_EQ(rule->mirrors[1].location, "far.example/hub");
  EXPECT_FALSE(rule->mirrors[1].isInsecure);
  EXPECT_TRUE(rule->mirrors[1].servesTags);
  EXPECT_FALSE(rule->mirrors[1].servesDigests);
}

TEST(RegistriesConf, AMirrorGetsTheSamePathBelowItsLocation) {
  const auto reference = store::Reference::parse("me/app:1");
  const RegistryRule* rule = findRule(rules(), reference);
  const Place place = placeAt(*rule, rule->mirrors[0].location, reference);
  EXPECT_EQ(place.host, "near.example");
  EXPECT_EQ(place.path, "hub/me/app");
}

TEST(RegistriesConf, LaterTablesReplaceEarlierOnes) {
  const auto parsed = parseRegistriesConf(
      "[[registry]]\nlocation=\"a.example\"\nblocked=true\n[[registry]]\nlocation=\"a.example\"\n",
      "f");
  ASSERT_EQ(parsed.size(), 1U);
  EXPECT_FALSE(parsed[0].isBlocked);
}

TEST(RegistriesConf, MirrorByDigestOnlyHoldsForMirrorsThatDoNotSayThemselves) {
  const auto parsed = parseRegistriesConf(
      "[[registry]]\nlocation=\"a.example\"\nmirror-by-digest-only=true\n"
      "[[registry.mirror]]\nlocation=\"m.example\"\n"
      "[[registry.mirror]]\nlocation=\"n.example\"\npull-from-mirror=\"all\"\n",
      "f");
  EXPECT_FALSE(parsed[0].mirrors[0].servesTags);
  EXPECT_TRUE(parsed[0].mirrors[1].servesTags);
}

struct BadCase {
  std::string_view name, text, message;
};
void PrintTo(const BadCase& c, std::ostream* out) {
  *out << c.name;
}
constexpr BadCase kBad[] = {
    {"NotToml", "[[registry]]\nlocation = \n", "f.conf:2: "},
    {"WrongType", "[[registry]]\nlocation = \"a.b\"\ninsecure = \"yes\"\n",
     "f.conf:3: insecure must be true or false"},
    {"NoTables", "registry = 3\n", "f.conf:1: registry must be [[registry]]"},
    {"NoPlace", "\n[[registry]]\nblocked = true\n",
     "f.conf:2: a registry needs a location or a prefix"},
    {"StrangeMirrorRule",
     "[[registry]]\nlocation='a.b'\n[[registry.mirror]]\nlocation='c.d'\npull-from-mirror='x'\n",
     "pull-from-mirror must be all, digest-only or tag-only"},
    {"AsteriskInTheMiddle", "[[registry]]\nprefix = 'a.*.b'\n", "asterisk"},
};
class Bad : public testing::TestWithParam<BadCase> {};
TEST_P(Bad, IsRefusedWithItsLine) {
  try {
    parseRegistriesConf(GetParam().text, "f.conf");
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), Kind::usage);
    EXPECT_NE(error.cause().find(GetParam().message), std::string::npos) << error.cause();
  }
}
INSTANTIATE_TEST_SUITE_P(Files, Bad, testing::ValuesIn(kBad),
                         [](const auto& test) { return std::string{test.param.name}; });

}  // namespace
}  // namespace img::distribution
