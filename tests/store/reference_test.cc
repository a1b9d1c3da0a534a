#include "store/reference.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace img::store {
namespace {

const std::string kHex(64, 'a');

struct Case {
  const char* name;
  std::string text, full, familiar;
};
void PrintTo(const Case& c, std::ostream* out) {
  *out << c.text;
}

class References : public testing::TestWithParam<Case> {};
TEST_P(References, NormaliseAndShorten) {
  const Reference reference = Reference::parse(GetParam().text);
  EXPECT_EQ(reference.full(), GetParam().full);
  EXPECT_EQ(reference.familiar(), GetParam().familiar);
  EXPECT_EQ(Reference::parse(reference.full()).full(), GetParam().full);
  EXPECT_EQ(Reference::parse(reference.familiar()).full(), GetParam().full);
}
INSTANTIATE_TEST_SUITE_P(
    Words, References,
    testing::Values(
        Case{"Plain", "app", "docker.io/library/app:latest", "app:latest"},
        Case{"UserAndTag", "me/app:1", "docker.io/me/app:1", "me/app:1"},
        Case{"Localhost", "localhost:5000/a", "localhost:5000/a:latest", "localhost:5000/a:latest"},
        Case{"LocalhostAlone", "localhost/a", "localhost/a:latest", "localhost/a:latest"},
        Case{"UpperCaseHost", "Foo/a", "Foo/a:latest", "Foo/a:latest"},
        Case{"OldHub", "index.docker.io/app", "docker.io/library/app:latest", "app:latest"},
        Case{"HubInFull", "docker.io/library/app:1", "docker.io/library/app:1", "app:1"},
        Case{"DeepLibrary", "library/a/b", "docker.io/library/a/b:latest", "library/a/b:latest"},
        Case{"Separators", "e/a.b_c__d--e/f-g", "docker.io/e/a.b_c__d--e/f-g:latest",
             "e/a.b_c__d--e/f-g:latest"},
        Case{"IPv6", "[::1]:5000/a:t", "[::1]:5000/a:t", "[::1]:5000/a:t"},
        Case{"DigestOnly", "app@sha256:" + kHex, "docker.io/library/app@sha256:" + kHex,
             "app@sha256:" + kHex},
        Case{"TagAndDigest", "app:1@sha256:" + kHex, "docker.io/library/app:1@sha256:" + kHex,
             "app:1@sha256:" + kHex},
        Case{"IdWithTag", kHex + ":1", "docker.io/library/" + kHex + ":1", kHex + ":1"}),
    [](const auto& test) { return std::string{test.param.name}; });

struct BadCase {
  const char* name;
  std::string text, problem;
};
void PrintTo(const BadCase& c, std::ostream* out) {
  *out << c.name;
}

class BadReferences : public testing::TestWithParam<BadCase> {};
TEST_P(BadReferences, AreUsageErrors) {
  try {
    std::ignore = Reference::parse(GetParam().text);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), Kind::usage);
    EXPECT_NE(error.cause().find(GetParam().problem), std::string::npos) << error.cause();
  }
}
INSTANTIATE_TEST_SUITE_P(
    Words, BadReferences,
    testing::Values(
        BadCase{"Empty", "", "empty"}, BadCase{"OnlyTag", ":a", "empty"},
        BadCase{"UpperCase", "App", "repository name must be lowercase"},
        BadCase{"UpperCaseDeeper", "docker.io/a/B", "repository name must be lowercase"},
        BadCase{"Id", kHex, "image id"}, BadCase{"EmptyTag", "a:", "tag"},
        BadCase{"BadTag", "a:-x", "tag"}, BadCase{"LongTag", "a:" + std::string(129, 'x'), "tag"},
        BadCase{"LongName", std::string(256, 'x'), "255"},
        BadCase{"ShortDigest", "a@sha256:12", "digest"},
        BadCase{"UpperDigest", "a@sha256:" + std::string(64, 'A'), "digest"},
        BadCase{"DotDot", "a/../b", "name"}, BadCase{"Absolute", "/etc/passwd", "name"},
        BadCase{"DoubleSlash", "a//b", "name"}, BadCase{"TripleUnderscore", "a___b", "name"},
        BadCase{"TwoDots", "a..b", "name"}, BadCase{"TrailingDash", "a-", "name"},
        BadCase{"Blank", "a b", "name"}, BadCase{"Nul", std::string("a\0b", 3), "name"},
        BadCase{"BadPort", "host.com:x/a", "host"}, BadCase{"BadHost", "-h.com/a", "host"}),
    [](const auto& test) { return std::string{test.param.name}; });

}  // namespace
}  // namespace img::store
