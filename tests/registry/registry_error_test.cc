#include "registry/registry_error.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "registry/authenticator.h"

namespace img::registry {
namespace {

struct Message {
  std::string_view name, body, expected;
};
void PrintTo(const Message& c, std::ostream* out) {
  *out << c.name;
}

constexpr Message kMessages[] = {
    {"One", R"({"errors":[{"code":"DENIED","message":"no entry"}]})", "DENIED: no entry"},
    {"Two", R"({"errors":[{"code":"A"},{"message":"b"}]})", "A; b"},
    {"ThreeAtMost", R"({"errors":[{"code":"A"},{"code":"B"},{"code":"C"},{"code":"D"}]})",
     "A; B; C"},
    {"TokenServer", R"({"error":"invalid_grant","error_description":"expired"})",
     "invalid_grant; expired"},
    {"Details", R"({"details":"wrong password"})", "wrong password"},
    {"Escapes", R"({"errors":[{"code":"\u001b[1m","message":"a\nb"}]})", "\\x1b[1m: a\\x0ab"},
    {"OtherTypes", R"({"errors":[{"code":5,"message":[]},7,null]})", ""},
    {"NoList", R"({"errors":"x"})", ""},
    {"Text", "no such host\nmore", "no such host"},
    {"Page", "<html><body>proxy</body></html>", ""},
    {"Empty", "", ""},
    {"Array", "[1]", ""},
};
class Messages : public testing::TestWithParam<Message> {};
TEST_P(Messages, AreTheRegistrysWords) {
  EXPECT_EQ(registryMessage(GetParam().body), GetParam().expected);
}
INSTANTIATE_TEST_SUITE_P(Bodies, Messages, testing::ValuesIn(kMessages),
                         [](const auto& test) { return std::string{test.param.name}; });

TEST(Messages, AreShort) {
  const std::string body =
      R"({"errors":[{"code":"A","message":")" + std::string(9000, 'x') + "\"}]}";
  EXPECT_LT(registryMessage(body).size(), 600);
}

Endpoint endpointAt(const std::string& host, const std::string& scheme = "https") {
  return parseEndpoint(Json{{"host", host}, {"repository", "team/app"}, {"scheme", scheme}}, "");
}

struct Status {
  std::string_view name;
  long status;
  std::string_view action, body, code;
  Kind kind;
};
void PrintTo(const Status& c, std::ostream* out) {
  *out << c.name;
}

constexpr Status kStatuses[] = {
    {"Unauthorized", 401, "get manifest a", "", "unauthorized", Kind::denied},
    {"Forbidden", 403, "get manifest a", "", "forbidden", Kind::denied},
    {"NoManifest", 404, "get manifest a", "", "manifest-unknown", Kind::notFound},
    {"NoBlob", 404, "get blob a", "", "blob-unknown", Kind::notFound},
    {"NoName", 404, "get manifest a", R"({"errors":[{"code":"NAME_UNKNOWN"}]})", "name-unknown",
     Kind::notFound},
    {"LostBlob", 400, "put manifest a", R"({"errors":[{"code":"MANIFEST_BLOB_UNKNOWN"}]})",
     "blob-unknown", Kind::failed},
    {"NoList", 404, "list tags", "", "name-unknown", Kind::notFound},
    {"TooMany", 429, "get blob a", "", "too-many-requests", Kind::failed},
    {"Broken", 500, "get blob a", "", "registry-error", Kind::failed},
};
class Refusals : public testing::TestWithParam<Status> {};
TEST_P(Refusals, HaveAKindAndACode) {
  const Status& c = GetParam();
  const Endpoint endpoint = endpointAt("r.example:5000");
  HttpAnswer answer{endpoint.url("")};
  answer.status = c.status;
  answer.body = c.body;
  const Error error = refusal(endpoint, c.action, answer, 1);
  EXPECT_EQ(error.code(), c.code);
  EXPECT_EQ(error.kind(), c.kind);
  EXPECT_TRUE(
      error.cause().starts_with("r.example:5000/team/app: cannot " + std::string{c.action}));
}
INSTANTIATE_TEST_SUITE_P(Statuses, Refusals, testing::ValuesIn(kStatuses),
                         [](const auto& test) { return std::string{test.param.name}; });

TEST(Refusals, NameTheHostThatRefusedAndTheTries) {
  const Endpoint endpoint = endpointAt("r.example");
  HttpAnswer answer{Url::parse("https://cdn.example/x?token=secret")};
  answer.status = 503;
  answer.headers["x-request-id"] = "r\x1b-1";
  const Error error = refusal(endpoint, "get blob b", answer, 5);
  EXPECT_EQ(error.cause(),
            "r.example/team/app: cannot get blob b: 503 Service Unavailable from "
            "https://cdn.example:443 after 5 tries");
  EXPECT_EQ(error.why(), "the registry says: nothing (x-request-id: r\\x1b-1)");
}

TEST(Endpoint, FallsBackToHttpOnLoopbackOnly) {
  EXPECT_TRUE(endpointAt("localhost:5000", "https-then-http").fallsBack);
  EXPECT_TRUE(endpointAt("127.3.2.1", "https-then-http").fallsBack);
  EXPECT_TRUE(endpointAt("[::1]:5000", "https-then-http").fallsBack);
  EXPECT_TRUE(endpointAt("a.localhost", "https-then-http").fallsBack);
  EXPECT_FALSE(endpointAt("r.example", "https-then-http").fallsBack);
  EXPECT_FALSE(endpointAt("localhost.example", "https-then-http").fallsBack);
  EXPECT_FALSE(endpointAt("127.0.0.1.example", "https-then-http").fallsBack);
  EXPECT_FALSE(endpointAt("localhost", "https").fallsBack);
  EXPECT_TRUE(endpointAt("r.example", "nonsense").isSecure);
  EXPECT_FALSE(endpointAt("r.example", "http").isSecure);
}

TEST(Endpoint, HostsAndNamesAreCheckedAgain) {
  for (const char* host : {"", "a/b", "a?b", "a#b", "me@a", "a b", "a\r\nb", "a:99999"}) {
    EXPECT_THROW(endpointAt(host), Error) << host;
  }
  for (const char* name :
       {"", "/a", "a/", "a//b", "A", "a/../b", ".a", "a?b", "a%2fb", "-a", "a_"}) {
    EXPECT_THROW(checkRepository(name), Error) << name;
  }
  for (const char* name : {"a", "a/b/c", "a-b_c.d", "a__b", "a--b/0"}) checkRepository(name);
  for (const char* tag : {"", ".a", "-a", "a/b", "a b", "a?", "sha256:12"}) {
    EXPECT_THROW(checkReference(tag), Error) << tag;
  }
  for (const char* tag : {"latest", "V1.0-rc_2", "_x"}) checkReference(tag);
  EXPECT_THROW(checkReference(std::string(129, 'a')), Error);
  checkReference("sha256:" + std::string(64, 'a'));
}

struct Realm {
  std::string_view name, realm;
  bool isSecure, isTaken;
};
void PrintTo(const Realm& c, std::ostream* out) {
  *out << c.realm;
}

constexpr Realm kRealms[] = {
    {"Https", "https://auth.example/token?a=b", true, true},
    {"HttpsForHttp", "https://auth.example/token", false, true},
    {"HttpForHttp", "http://auth.example/token", false, true},
    {"HttpForHttps", "http://auth.example/token", true, false},
    {"UserInfo", "https://me:pw@auth.example/", true, false},
    {"Relative", "/token", true, false},
    {"NoHost", "https://", true, false},
    {"File", "file:///etc/passwd", false, false},
    {"Ftp", "ftp://auth.example/", false, false},
    {"Empty", "", false, false},
};
class Realms : public testing::TestWithParam<Realm> {};
TEST_P(Realms, AreTrustedOrNot) {
  const Realm& c = GetParam();
  if (c.isTaken) {
    EXPECT_EQ(checkRealm(std::string{c.realm}, c.isSecure).str(), c.realm);
  } else {
    EXPECT_THROW(checkRealm(std::string{c.realm}, c.isSecure), Error);
  }
}
INSTANTIATE_TEST_SUITE_P(Addresses, Realms, testing::ValuesIn(kRealms),
                         [](const auto& test) { return std::string{test.param.name}; });

TEST(TokenLife, EndsTenSecondsEarly) {
  EXPECT_EQ(tokenLifeMs(60), 50'000);
  EXPECT_EQ(tokenLifeMs(300), 290'000);
  EXPECT_EQ(tokenLifeMs(12), 6'000);
  EXPECT_EQ(tokenLifeMs(1), 0);
  EXPECT_EQ(tokenLifeMs(-5), 0);
  EXPECT_EQ(tokenLifeMs(1'000'000'000), 86'390'000);
}

}  // namespace
}  // namespace img::registry
