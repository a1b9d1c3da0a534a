#include "distribution/access.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/text.h"
#include "support.h"

namespace img::distribution {
namespace {

using Scheme = Endpoint::Scheme;

std::vector<Endpoint> endpoints(std::string_view name, Action action = Action::pull,
                                const AccessOptions& options = {}) {
  return endpointsOf(store::Reference::parse(name), action, options);
}

struct SchemeCase {
  std::string_view name, reference;
  Scheme scheme;
  bool verifies;
  std::optional<bool> option;
};
void PrintTo(const SchemeCase& c, std::ostream* out) {
  *out << c.reference;
}
const SchemeCase kSchemes[] = {
    {"Elsewhere", "r.example/x", Scheme::https, true, {}},
    {"Localhost", "localhost:5000/x", Scheme::httpsThenHttp, false, {}},
    {"BelowLocalhost", "a.localhost/x", Scheme::httpsThenHttp, false, {}},
    {"Loopback", "127.3.2.1:5000/x", Scheme::httpsThenHttp, false, {}},
    {"LoopbackOfIpv6", "[::1]:5000/x", Scheme::httpsThenHttp, false, {}},
    {"NameThatLooksLikeLoopback", "127.0.0.1.example/x", Scheme::https, true, {}},
    {"NameThatEndsAlike", "notlocalhost:5000/x", Scheme::https, true, {}},
    {"AskedNotToVerify", "r.example/x", Scheme::httpsThenHttp, false, false},
    {"AskedToVerifyLoopback", "localhost:5000/x", Scheme::https, true, true},
    {"InsecureInTheConfiguration", "insecure.example/x", Scheme::httpsThenHttp, false, {}},
    {"OptionOverConfiguration", "insecure.example/x", Scheme::https, true, true},
};
class Schemes : public testing::TestWithParam<SchemeCase> {};
TEST_P(Schemes, FollowHostConfigurationAndOption) {
  OwnHome home;
  home.write("registries.conf", "[[registry]]\nlocation='insecure.example'\ninsecure=true\n");
  AccessOptions options;
  options.verifyTls = GetParam().option;
  const auto found = endpoints(GetParam().reference, Action::pull, options);
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].scheme, GetParam().scheme);
  EXPECT_EQ(found[0].verifiesTls, GetParam().verifies);
}
INSTANTIATE_TEST_SUITE_P(Access, Schemes, testing::ValuesIn(kSchemes),
                         [](const auto& test) { return std::string{test.param.name}; });

TEST(Access, DockerHubHasAnotherAddress) {
  OwnHome home;
  const auto found = endpoints("debian");
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].host, "registry-1.docker.io");
  EXPECT_EQ(found[0].repository, "library/debian");
}

constexpr char kMirrors[] = R"([[registry]]
prefix = "docker.io"
location = "docker.io"
[[registry.mirror]]
location = "near.example/hub"
[[registry.mirror]]
location = "localhost:5000"
pull-from-mirror = "digest-only"
)";

TEST(Access, MirrorsComeFirstAndOnlyForPulls) {
  OwnHome home;
  home.write("registries.conf", kMirrors);
  const auto pulled = endpoints("debian");
  ASSERT_EQ(pulled.size(), 3U);
  EXPECT_EQ(pulled[0].host, "near.example");
  EXPECT_EQ(pulled[0].repository, "hub/library/debian");
  EXPECT_TRUE(pulled[0].isMirror);
  EXPECT_FALSE(pulled[1].servesTags);
  EXPECT_EQ(pulled[1].scheme, Scheme::httpsThenHttp);
  EXPECT_EQ(pulled[2].host, "registry-1.docker.io");
  EXPECT_FALSE(pulled[2].isMirror);
  EXPECT_EQ(endpoints("debian", Action::push).size(), 1U);
}

TEST(Access, CredentialsOfTheCommandLineNeverReachAMirror) {
  OwnHome home;
  home.write("registries.conf", kMirrors);
  home.write(".docker/config.json",
             R"({"auths":{"near.example":{"auth":")" + text::base64("n:p") + R"("}}})");
  AccessOptions options;
  options.credentials = "me:secret";
  const auto found = endpoints("debian", Action::pull, options);
  EXPECT_EQ(found[0].credentials.username, "n");
  EXPECT_TRUE(found[1].credentials.isEmpty());
  EXPECT_EQ(found[2].credentials.username, "me");
}

TEST(Access, BlockedRegistriesAreDenied) {
  OwnHome home;
  home.write("registries.conf", "[[registry]]\nprefix='bad.example/evil'\nblocked=true\n");
  try {
    endpoints("bad.example/evil/x");
    FAIL() << "not blocked";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), Kind::denied);
    EXPECT_EQ(error.code(), "registry-blocked");
  }
  EXPECT_EQ(endpoints("bad.example/good").size(), 1U);
}

TEST(Access, ALocationIsCheckedLikeAName) {
  OwnHome home;
  home.write("registries.conf", "[[registry]]\nprefix='a.example'\nlocation='b.example/../c'\n");
  EXPECT_THROW(endpoints("a.example/x"), Error);
  home.write("registries.conf", "[[registry]]\nprefix='a.example'\nlocation='u@b.example/c'\n");
  EXPECT_THROW(endpoints("a.example/x"), Error);
}

TEST(Access, ALocationMayBeABareHostName) {
  OwnHome home;
  home.write("registries.conf", "[[registry]]\nprefix='a.example'\nlocation='mirror/c'\n");
  const auto found = endpoints("a.example/x");
  EXPECT_EQ(found[0].host, "mirror");
  EXPECT_EQ(found[0].repository, "c/x");
}

TEST(Access, CertificatesOfTheHostAreRead) {
  OwnHome home;
  const std::string folder = ".config/containers/certs.d/r.example:5000/";
  home.write(folder + "a.crt", "A");
  home.write(folder + "b.crt", "B\n");
  home.write(folder + "client.cert", "C");
  home.write(folder + "client.key", "K");
  const auto found = endpoints("r.example:5000/x");
  EXPECT_EQ(found[0].authorities, "A\nB\n");
  EXPECT_EQ(found[0].clientCertificate, "C\n");
  EXPECT_EQ(found[0].clientKey, "K\n");
  EXPECT_EQ(endpoints("r.example/x")[0].authorities, "");
}

TEST(Access, CertDirIsTheFolderItself) {
  OwnHome home;
  home.write("mine/ca.crt", "A\n");
  AccessOptions options;
  options.certDir = home.path("mine");
  EXPECT_EQ(endpoints("r.example/x", Action::pull, options)[0].authorities, "A\n");
  options.certDir = home.path("missing");
  EXPECT_THROW(endpoints("r.example/x", Action::pull, options), Error);
}

struct HalfPair {
  std::string_view name, file;
};
void PrintTo(const HalfPair& c, std::ostream* out) {
  *out << c.file;
}
constexpr HalfPair kHalves[] = {{"NoKey", "client.cert"}, {"NoCertificate", "client.key"}};
class HalfPairs : public testing::TestWithParam<HalfPair> {};
TEST_P(HalfPairs, AreRefused) {
  OwnHome home;
  home.write(".config/containers/certs.d/r.example/" + std::string{GetParam().file}, "X");
  EXPECT_THROW(endpoints("r.example/x"), Error);
}
INSTANTIATE_TEST_SUITE_P(Access, HalfPairs, testing::ValuesIn(kHalves),
                         [](const auto& test) { return std::string{test.param.name}; });

TEST(Access, ARegistryAloneCanBeReached) {
  OwnHome home;
  store::Reference registry;
  registry.host = "r.example";
  const auto found = endpointsOf(registry, Action::pull, {});
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].host, "r.example");
  EXPECT_EQ(found[0].repository, "");
}

}  // namespace
}  // namespace img::distribution
