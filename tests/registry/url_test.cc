#include "registry/url.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace img::registry {
namespace {

struct Refused {
  std::string_view name, text;
};
void PrintTo(const Refused& c, std::ostream* out) {
  *out << c.text;
}

constexpr Refused kRefused[] = {
    {"File", "file:///etc/passwd"},
    {"Ftp", "ftp://host/a"},
    {"NoScheme", "host/a"},
    {"NoHost", "http://"},
    {"Empty", ""},
    {"Gopher", "gopher://h/"},
    {"BadPort", "http://host:99999/"},
    {"BadAddress", "http://[::"},
};
class RefusedUrl : public testing::TestWithParam<Refused> {};
TEST_P(RefusedUrl, IsNotParsed) {
  EXPECT_THROW(Url::parse(std::string{GetParam().text}), Error);
}
INSTANTIATE_TEST_SUITE_P(Texts, RefusedUrl, testing::ValuesIn(kRefused),
                         [](const auto& test) { return std::string{test.param.name}; });

TEST(Url, ShowsNoCredentialsAndNoFragment) {
  const Url url = Url::parse("https://me:pass%21@Host.example/a/b?q=1#part");
  EXPECT_EQ(url.str(), "https://Host.example/a/b?q=1");
  EXPECT_EQ(url.credentials(), "me:pass!");
  EXPECT_EQ(url.host(), "Host.example");
  EXPECT_TRUE(url.isSecure());
}

TEST(Url, NamesTheOriginWithItsPort) {
  EXPECT_EQ(Url::parse("https://Host/").origin(), "https://host:443");
  EXPECT_EQ(Url::parse("http://host/").origin(), "http://host:80");
  EXPECT_EQ(Url::parse("http://host:8080/").origin(), "http://host:8080");
}

struct Redirect {
  std::string_view name, from, location, target;  // empty target: refused
};
void PrintTo(const Redirect& c, std::ostream* out) {
  *out << c.from << " to " << c.location;
}

constexpr Redirect kRedirects[] = {
    {"Relative", "http://h/a/b", "c", "http://h/a/c"},
    {"FromTheRoot", "http://h/a/b", "/c?x=1", "http://h/c?x=1"},
    {"OtherHost", "http://h/a", "http://other:81/z", "http://other:81/z"},
    {"Upgrade", "http://h/a", "https://h/a", "https://h/a"},
    {"Downgrade", "https://h/a", "http://h/a", ""},
    {"File", "http://h/a", "file:///etc/passwd", ""},
    {"OtherScheme", "http://h/a", "dict://h/x", ""},
    {"DropsCredentialsOfTheFirst", "http://u:p@h/a", "/b", "http://h/b"},
    {"DropsCredentialsOfTheServer", "http://h/a", "http://u:p@h/b", "http://h/b"},
};
class RedirectOf : public testing::TestWithParam<Redirect> {};
TEST_P(RedirectOf, LeadsToTheTargetOrIsRefused) {
  const Url from = Url::parse(std::string{GetParam().from});
  const std::string location{GetParam().location};
  if (GetParam().target.empty()) {
    EXPECT_THROW(from.resolve(location), Error);
    return;
  }
  const Url target = from.resolve(location);
  EXPECT_EQ(target.str(), GetParam().target);
  EXPECT_EQ(target.credentials(), "");
}
INSTANTIATE_TEST_SUITE_P(Locations, RedirectOf, testing::ValuesIn(kRedirects),
                         [](const auto& test) { return std::string{test.param.name}; });

}  // namespace
}  // namespace img::registry
