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

TEST(Url, ShowsNoQueryToPeople) {
  const Url url = Url::parse("https://me:pw@cdn.example:8443/a/b?X-Amz-Signature=1#x");
  EXPECT_EQ(url.shown(), "https://cdn.example:8443/a/b");
  EXPECT_EQ(Url::parse("http://h").shown(), "http://h/");
}

TEST(Url, RedirectsThatAreRefusedShowNoQueryEither) {
  try {
    Url::parse("https://h/a?token=one").resolve("http://h/b?token=two");
    FAIL() << "was followed";
  } catch (const Error& error) {
    EXPECT_EQ(error.cause().find("token"), std::string::npos) << error.cause();
  }
}

TEST(Url, QueriesAreAppendedAndEncoded) {
  const Url url = Url::parse("https://h/a");
  EXPECT_EQ(url.withQuery("digest", "sha256:ab").str(), "https://h/a?digest=sha256%3aab");
  EXPECT_EQ(url.withQuery("a", "1").withQuery("b", "x y&z").str(), "https://h/a?a=1&b=x+y%26z");
  EXPECT_EQ(Url::parse("https://h/a?_state=x%3D").withQuery("b", "1").str(),
            "https://h/a?_state=x%3D&b=1");
  EXPECT_EQ(url.str(), "https://h/a");
}

struct Host {
  std::string_view name, url;
  bool isLoopback;
};
void PrintTo(const Host& c, std::ostream* out) {
  *out << c.url;
}

constexpr Host kHosts[] = {
    {"Localhost", "http://localhost:5000/", true},
    {"AnyCase", "http://LocalHost/", true},
    {"BelowLocalhost", "http://a.localhost/", true},
    {"Number", "http://127.0.0.1/", true},
    {"OtherNumber", "http://127.1.2.3:5000/", true},
    {"Six", "http://[::1]:5000/", true},
    {"NameWithPrefix", "http://localhost.example/", false},
    {"NameWithSuffix", "http://notlocalhost/", false},
    {"NumberInName", "http://127.0.0.1.example/", false},
    {"AnyAddress", "http://0.0.0.0/", false},
    {"Private", "http://10.0.0.1/", false},
    {"MappedSix", "http://[::ffff:10.0.0.1]/", false},
};
class Hosts : public testing::TestWithParam<Host> {};
TEST_P(Hosts, AreLoopbackOrNot) {
  EXPECT_EQ(Url::parse(std::string{GetParam().url}).isLoopback(), GetParam().isLoopback);
}
INSTANTIATE_TEST_SUITE_P(Names, Hosts, testing::ValuesIn(kHosts),
                         [](const auto& test) { return std::string{test.param.name}; });

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
