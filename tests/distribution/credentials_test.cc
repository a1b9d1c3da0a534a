#include "distribution/credentials.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/json.h"
#include "base/sys.h"
#include "base/text.h"
#include "support.h"

namespace img::distribution {
namespace {

std::string authOf(const std::string& pair) {
  return R"({"auth":")" + text::base64(pair) + R"("})";
}
std::string fileWith(const std::string& key, const std::string& pair) {
  return R"({"auths":{")" + key + R"(":)" + authOf(pair) + "}}";
}

struct KeyCase {
  std::string_view name, key, host, path;
  bool isFound;
};
void PrintTo(const KeyCase& c, std::ostream* out) {
  *out << c.key << " for " << c.host;
}
constexpr KeyCase kKeys[] = {
    {"Host", "r.example:5000", "r.example:5000", "a/b", true},
    {"OtherPort", "r.example:5001", "r.example:5000", "a/b", false},
    {"UrlOfDocker", "https://r.example/v1/", "r.example", "a", true},
    {"UrlWithoutPath", "http://r.example", "r.example", "a", true},
    {"HubAsDockerWritesIt", "https://index.docker.io/v1/", "docker.io", "library/x", true},
    {"HubWithoutScheme", "index.docker.io/v1/", "docker.io", "library/x", true},
    {"HubHost", "registry-1.docker.io", "docker.io", "me/x", true},
    {"HubAskedByItsOtherName", "docker.io", "index.docker.io", "me/x", true},
    {"NameSpace", "r.example/team", "r.example", "team/app", true},
    {"WholeRepository", "r.example/team/app", "r.example", "team/app", true},
    {"PartOfAComponent", "r.example/tea", "r.example", "team/app", false},
    {"DeeperThanAsked", "r.example/team/app/x", "r.example", "team/app", false},
    {"NameSpaceForLogin", "r.example/team", "r.example", "", false},
    {"UpperCaseHost", "R.Example", "r.example", "a", true},
    {"HostThatEndsAlike", "example", "r.example", "a", false},
};
class Keys : public testing::TestWithParam<KeyCase> {};
TEST_P(Keys, MatchHosts) {
  const KeyCase& c = GetParam();
  const auto found = findInAuthFile(fileWith(std::string{c.key}, "u:p"), "f", std::string{c.host},
                                    std::string{c.path});
  EXPECT_EQ(found.has_value(), c.isFound);
}
INSTANTIATE_TEST_SUITE_P(AuthFile, Keys, testing::ValuesIn(kKeys),
                         [](const auto& test) { return std::string{test.param.name}; });

TEST(AuthFile, TheLongestPathWinsWhateverTheOrder) {
  const std::string text = R"({"auths":{"r.example/a":)" + authOf("one:1") +
                           R"(,"r.example/a/b":)" + authOf("two:2") + R"(,"r.example":)" +
                           authOf("host:3") + "}}";
  EXPECT_EQ(findInAuthFile(text, "f", "r.example", "a/b/c")->username, "two");
  EXPECT_EQ(findInAuthFile(text, "f", "r.example", "a/x")->username, "one");
  EXPECT_EQ(findInAuthFile(text, "f", "r.example", "z")->username, "host");
}

struct EntryCase {
  std::string_view name, entry, username, password, identityToken, registryToken;
};
void PrintTo(const EntryCase& c, std::ostream* out) {
  *out << c.entry;
}
constexpr EntryCase kEntries[] = {
    {"SplitAtTheFirstColon", R"({"auth":"dTpwOnE="})", "u", "p:q", "", ""},
    {"ZeroBytesAtTheEnd", R"({"auth":"dTpwAAA="})", "u", "p", "", ""},
    {"UserAndPassword", R"({"username":"u","password":"p"})", "u", "p", "", ""},
    {"IdentityToken", R"({"auth":"dTo=","identitytoken":"t"})", "u", "", "t", ""},
    {"TokenAsUser", R"({"username":"<token>","password":"t"})", "", "", "t", ""},
    {"RegistryToken", R"({"registrytoken":"r"})", "", "", "", "r"},
};
class Entries : public testing::TestWithParam<EntryCase> {};
TEST_P(Entries, AreUnderstood) {
  const EntryCase& c = GetParam();
  const auto found = findInAuthFile(R"({"auths":{"h.example":)" + std::string{c.entry} + "}}",
                                    "file.json", "h.example", "x");
  ASSERT_TRUE(found);
  EXPECT_EQ(found->username, c.username);
  EXPECT_EQ(found->password, c.password);
  EXPECT_EQ(found->identityToken, c.identityToken);
  EXPECT_EQ(found->registryToken, c.registryToken);
  EXPECT_EQ(found->source, "file.json");
}
INSTANTIATE_TEST_SUITE_P(AuthFile, Entries, testing::ValuesIn(kEntries),
                         [](const auto& test) { return std::string{test.param.name}; });

TEST(AuthFile, ErrorsNameTheFileAndNeverItsSecrets) {
  for (const std::string text : {R"({"auths":{"h.example":{"auth":"c2VjcmV0"}}})",
                                 R"({"auths":{"h.example":{"auth":"secret"}}, )", "[]"}) {
    try {
      findInAuthFile(text, "file.json", "h.example", "");
      FAIL() << text;
    } catch (const Error& error) {
      const std::string whole = error.toJson();
      EXPECT_NE(whole.find("file.json"), std::string::npos) << whole;
      EXPECT_EQ(whole.find("secret"), std::string::npos) << whole;
      EXPECT_EQ(whole.find("c2VjcmV0"), std::string::npos) << whole;
      EXPECT_EQ(error.kind(), Kind::usage);
    }
  }
}

TEST(Credentials, FilesAreAskedInTheOrderOfTheSpecification) {
  OwnHome home;
  home.set("XDG_RUNTIME_DIR", home.path("run"));
  home.set("REGISTRY_AUTH_FILE", home.path("given.json"));
  const std::vector<std::string> files = {"given.json", "run/containers/auth.json",
                                          ".config/containers/auth.json", ".docker/config.json"};
  home.set("DOCKER_AUTH_CONFIG", fileWith("h.example", "variable:p"));
  EXPECT_EQ(findCredentials("h.example", "x", {}).username, "variable");
  for (auto file = files.rbegin(); file != files.rend(); ++file) {
    home.write(*file, fileWith("h.example", "user-" + text::base64(*file) + ":p"));
    const Credentials found = findCredentials("h.example", "x", {});
    EXPECT_EQ(found.username, "user-" + text::base64(*file));
    EXPECT_EQ(found.source, home.path(*file));
  }
}

TEST(Credentials, AnAuthFileOfTheCommandLineIsTheOnlyOne) {
  OwnHome home;
  home.write(".docker/config.json", fileWith("h.example", "u:p"));
  AccessOptions options;
  options.authFile = home.write("mine.json", "{}");
  EXPECT_TRUE(findCredentials("h.example", "x", options).isEmpty());
  options.authFile = home.path("missing.json");
  EXPECT_THROW(findCredentials("h.example", "x", options), Error);
}

TEST(Credentials, DockerConfigNamesAFolder) {
  OwnHome home;
  home.set("DOCKER_CONFIG", home.path("cfg"));
  home.write("cfg/config.json", fileWith("h.example", "u:p"));
  EXPECT_EQ(findCredentials("h.example", "x", {}).username, "u");
}

TEST(Credentials, TheCommandLineGoesFirst) {
  OwnHome home;
  home.write(".docker/config.json", fileWith("h.example", "u:p"));
  AccessOptions options;
  options.credentials = "me:pass:word";
  const Credentials found = findCredentials("h.example", "x", options);
  EXPECT_EQ(found.username, "me");
  EXPECT_EQ(found.password, "pass:word");
  options.credentials = "onlyme";
  EXPECT_THROW(findCredentials("h.example", "x", options), Error);
}

TEST(CredentialHelper, HelperOfTheHostGoesBeforeTheGeneralOne) {
  OwnHome home;
  home.addHelper("one", R"(read -r s; echo "{\"Username\":\"one\",\"Secret\":\"$s\"}")");
  home.addHelper("all", R"(echo '{"Username":"all","Secret":"x"}')");
  home.write(".docker/config.json",
             R"({"credsStore":"all","credHelpers":{"h.example":"one"},"auths":{"h.example":)" +
                 authOf("plain:p") + "}}");
  EXPECT_EQ(findCredentials("h.example", "x", {}).username, "one");
  EXPECT_EQ(findCredentials("h.example", "x", {}).password, "h.example");
  EXPECT_EQ(findCredentials("other.example", "x", {}).username, "all");
}

TEST(CredentialHelper, DockerHubHasItsOldUrlThere) {
  OwnHome home;
  home.addHelper("all", R"sh(read -r s; printf '{"Username":"u","Secret":"%s"}' "$s")sh");
  home.write(".docker/config.json", R"({"credsStore":"all"})");
  EXPECT_EQ(findCredentials("docker.io", "x", {}).password, "https://index.docker.io/v1/");
}

TEST(CredentialHelper, NotFoundLeavesThePlainEntryForCredsStoreOnly) {
  OwnHome home;
  home.addHelper("none", "echo 'credentials not found in native keychain'; exit 1");
  const std::string auths = R"("auths":{"h.example":)" + authOf("plain:p") + "}}";
  home.write(".docker/config.json", R"({"credsStore":"none",)" + auths);
  EXPECT_EQ(findCredentials("h.example", "x", {}).username, "plain");
  home.write(".docker/config.json", R"({"credHelpers":{"h.example":"none"},)" + auths);
  EXPECT_TRUE(findCredentials("h.example", "x", {}).isEmpty());
}

TEST(CredentialHelper, TokenAsUserNameIsAnIdentityToken) {
  OwnHome home;
  home.addHelper("t", R"(echo '{"Username":"<token>","Secret":"refresh"}')");
  home.write(".docker/config.json", R"({"credsStore":"t"})");
  EXPECT_EQ(findCredentials("h.example", "x", {}).identityToken, "refresh");
}

struct HelperFault {
  std::string_view name, helper, body, message;
};
void PrintTo(const HelperFault& c, std::ostream* out) {
  *out << c.name;
}
constexpr HelperFault kFaults[] = {
    {"Missing", "nobody-has-this", "", "there is no program docker-credential-nobody-has-this"},
    {"NameWithSlash", "../evil", "", "is not a name of a credential helper"},
    {"Fails", "bad", "echo locked; exit 3", "failed with status 3"},
    {"NotJson", "bad", "echo hello", "docker-credential-bad"},
    {"TooMuch", "bad", "head -c 1100000 /dev/zero", "more than 1 MiB"},
};
class HelperFaults : public testing::TestWithParam<HelperFault> {};
TEST_P(HelperFaults, AreErrorsThatNameThem) {
  OwnHome home;
  const HelperFault& c = GetParam();
  if (!c.body.empty()) home.addHelper(std::string{c.helper}, std::string{c.body});
  home.write(".docker/config.json", R"({"credsStore":")" + std::string{c.helper} + R"("})");
  try {
    findCredentials("h.example", "x", {});
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_NE(error.toJson().find(c.message), std::string::npos) << error.toJson();
  }
}
INSTANTIATE_TEST_SUITE_P(CredentialHelper, HelperFaults, testing::ValuesIn(kFaults),
                         [](const auto& test) { return std::string{test.param.name}; });

TEST(Login, WritesAPrivateFileAndKeepsWhatElseIsThere) {
  OwnHome home;
  home.write(".docker/config.json",
             R"({"proxies":{"x":1},"auths":{"other":{"auth":"YTpi"},"https://H.example/v2/":{}}})",
             0644);
  Credentials credentials;
  credentials.username = "me";
  credentials.password = "pw";
  const std::string file = loginFile({});
  EXPECT_EQ(file, home.path(".docker/config.json"));
  storeCredentials(file, "h.example", credentials);
  EXPECT_EQ(sys::fstatat(home.fd(), ".docker/config.json").st_mode & 07777, 0600U);
  const Json written = parseJson(home.read(".docker/config.json"), "f");
  EXPECT_EQ(written["proxies"]["x"], 1);
  EXPECT_EQ(written["auths"]["other"]["auth"], "YTpi");
  EXPECT_EQ(written["auths"]["h.example"]["auth"], text::base64("me:pw"));
  EXPECT_EQ(written["auths"].size(), 2U);
  EXPECT_EQ(findCredentials("h.example", "x", {}).password, "pw");
}

TEST(Login, KeepsALinkToTheFile) {
  OwnHome home;
  home.write("settings/docker.json", R"({"proxies":{"x":1}})", 0644);
  home.write(".docker/other", "");
  sys::symlinkat("../settings/docker.json", home.fd(), ".docker/config.json");
  Credentials credentials;
  credentials.username = "me";
  storeCredentials(loginFile({}), "h.example", credentials);
  EXPECT_TRUE(S_ISLNK(sys::fstatat(home.fd(), ".docker/config.json").st_mode));
  EXPECT_EQ(sys::fstatat(home.fd(), "settings/docker.json").st_mode & 07777, 0600U);
  const Json written = parseJson(home.read("settings/docker.json"), "f");
  EXPECT_TRUE(written["auths"].contains("h.example"));
  EXPECT_EQ(written["proxies"]["x"], 1);
}

TEST(Login, MakesTheFolderAndUsesDockersKeyForTheHub) {
  OwnHome home;
  home.set("DOCKER_CONFIG", home.path("new/folder"));
  Credentials credentials;
  credentials.username = "me";
  storeCredentials(loginFile({}), "docker.io", credentials);
  const Json written = parseJson(home.read("new/folder/config.json"), "f");
  EXPECT_TRUE(written["auths"].contains("https://index.docker.io/v1/"));
}

TEST(Login, GivesTheSecretToTheHelperAndNotToTheFile) {
  OwnHome home;
  const std::string kept = home.path("kept");
  home.addHelper("keep",
                 "case $1 in store) cat > " + kept + ";; get) cat " + kept +
                     " 2>/dev/null || { echo credentials not found; exit 1; };; erase) rm " + kept +
                     ";; esac");
  home.write(".docker/config.json", R"({"credsStore":"keep"})");
  Credentials credentials;
  credentials.username = "me";
  credentials.password = "pw";
  storeCredentials(loginFile({}), "h.example", credentials);
  EXPECT_EQ(parseJson(home.read("kept"), "f"),
            (Json{{"ServerURL", "h.example"}, {"Username", "me"}, {"Secret", "pw"}}));
  EXPECT_EQ(parseJson(home.read(".docker/config.json"), "f")["auths"]["h.example"], Json::object());
  EXPECT_EQ(findCredentials("h.example", "x", {}).password, "pw");
  EXPECT_TRUE(eraseCredentials(loginFile({}), "h.example"));
  EXPECT_TRUE(findCredentials("h.example", "x", {}).isEmpty());
  EXPECT_FALSE(eraseCredentials(loginFile({}), "h.example"));
}

TEST(Logout, TakesEverySpellingOfTheHostAndNothingElse) {
  OwnHome home;
  home.write(".docker/config.json",
             R"({"auths":{"https://h.example/v1/":{"auth":"YTpi"},"h.example":{"auth":"YTpi"},)"
             R"("h.example/team":{"auth":"YTpi"},"z":{"auth":"YTpi"}}})");
  EXPECT_TRUE(eraseCredentials(loginFile({}), "h.example"));
  const Json written = parseJson(home.read(".docker/config.json"), "f");
  EXPECT_EQ(written["auths"].size(), 2U);
  EXPECT_TRUE(written["auths"].contains("h.example/team"));
  eraseAllCredentials(loginFile({}));
  EXPECT_EQ(parseJson(home.read(".docker/config.json"), "f")["auths"], Json::object());
}

}  // namespace
}  // namespace img::distribution
