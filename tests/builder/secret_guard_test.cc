#include "builder/secret_guard.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/fs.h"
#include "base/process.h"
#include "base/sys.h"
#include "builder/failed_step.h"
#include "tests/builder/support.h"

namespace img::builder {
namespace {

const std::vector<Secret> kSecrets{{"token", "s3cr3t-T0ken!\n"}, {"tiny", "abc"}, {"pin", "4711!"}};

TEST(PatternSearch, FindsEachPatternAtEveryOffset) {
  const PatternSearch search{{"abcdefgh", "bcdefghij", "xxxxxxxxyy"}};
  for (size_t offset = 0; offset < 40; ++offset) {
    const std::string front(offset, 'x');
    EXPECT_EQ(search.find(front + "abcdefgh"), offset < 8 ? std::optional<size_t>{0} : 0);
    EXPECT_EQ(search.find(front + "-bcdefghij-"), 1U) << offset;
    EXPECT_FALSE(search.find(front + "abcdefg-"));
  }
  EXPECT_EQ(search.find("xxxxxxxxxxxxxxyy"), 2U);
  EXPECT_FALSE(search.find("abc"));
  EXPECT_FALSE((PatternSearch{{}}.find("anything at all")));
}

struct Leak {
  std::string_view name, text;
};
void PrintTo(const Leak& leak, std::ostream* out) {
  *out << leak.text;
}

// Of "s3cr3t-T0ken!" with 0, 1 and 2 bytes in front of it.
constexpr Leak kLeaks[] = {
    {"Plain", "export TOKEN=s3cr3t-T0ken!; make"},
    {"WithoutItsNewline", "s3cr3t-T0ken!"},
    {"Base64", "czNjcjN0LVQwa2VuIQo="},
    {"Base64AfterOneByte", "OnMzY3IzdC1UMGtlbiE="},
    {"Base64AfterTwoBytes", "dTpzM2NyM3QtVDBrZW4h"},
    {"Base64InTheMiddle", "dXNlcjpzM2NyM3QtVDBrZW4hOm1vcmU="},
};
class GuardFinds : public testing::TestWithParam<Leak> {};
TEST_P(GuardFinds, TheSecret) {
  EXPECT_EQ(SecretGuard{kSecrets}.find(GetParam().text), "token");
}
INSTANTIATE_TEST_SUITE_P(Forms, GuardFinds, testing::ValuesIn(kLeaks),
                         [](const auto& test) { return std::string{test.param.name}; });

TEST(SecretGuard, LeavesShortSecretsAndOtherTextsAlone) {
  const SecretGuard guard{kSecrets};
  EXPECT_FALSE(guard.find("abc 4711! s3cr3t-T0ken czNjcjN0"));
  EXPECT_TRUE((SecretGuard{{{"tiny", "abc"}}}.isEmpty()));
  EXPECT_FALSE(guard.isEmpty());
}

TEST(SecretGuard, FindsLongBase64ThatIsBrokenIntoLines) {
  std::string key;
  for (int i = 0; i < 300; ++i) key += static_cast<char>('!' + i * 7 % 90);
  const SecretGuard guard{{{"key", key}}};
  fs::TempDir temp;
  writeFile(temp.fd(), "key", key);
  const img::Output output = runProgram({"base64", temp.path() + "/key"});
  ASSERT_EQ(output.status.code, 0);
  ASSERT_NE(output.out.find('\n'), output.out.size() - 1);
  EXPECT_EQ(guard.find(output.out), "key");
}

TEST(SecretGuard, LooksAtNamesLinksAndXattrs) {
  const SecretGuard guard{kSecrets};
  fs::TempDir temp;
  EXPECT_FALSE(guard.findInNames(temp.fd()));
  writeFile(temp.fd(), "a/file", "s3cr3t-T0ken! in the content is another function's business");
  EXPECT_FALSE(guard.findInNames(temp.fd()));
  sys::symlinkat("/x/s3cr3t-T0ken!", temp.fd(), "a/link");
  EXPECT_EQ(guard.findInNames(temp.fd())->place, "/a/link");
  sys::unlinkat(temp.fd(), "a/link", 0);
  const Fd file = sys::openat(temp.fd(), "a/file", O_RDWR);
  sys::fsetxattr(file.get(), "user.note", "s3cr3t-T0ken!");
  EXPECT_EQ(guard.findInNames(temp.fd())->place, "/a/file");
  sys::unlinkat(temp.fd(), "a/file", 0);
  sys::mkdirat(temp.fd(), "a/s3cr3t-T0ken!", 0755);
  EXPECT_EQ(guard.findInNames(temp.fd())->place, "/a/");
}

TEST(SecretGuard, NamesThePlaceInAConfig) {
  const SecretGuard guard{kSecrets};
  const Json config{{"config", {{"Env", {"A=1", "T=s3cr3t-T0ken!"}}}}};
  EXPECT_EQ(guard.findInJson(config, "image")->place, "image.config.Env[1]");
  const Json labels{{"Labels", {{"s3cr3t-T0ken!", "1"}}}};
  EXPECT_EQ(guard.findInJson(labels, "image")->place, "image.Labels");
  EXPECT_FALSE(guard.findInJson(Json{{"a", {1, true, nullptr}}}, "image"));
}

TEST(SecretStream, FindsASecretThatLiesAcrossPieces) {
  const SecretGuard guard{kSecrets};
  const std::string text = std::string(100, '-') + "s3cr3t-T0ken!" + std::string(100, '-');
  for (size_t piece = 1; piece < 120; ++piece) {
    SecretStream stream{guard};
    stream.add("other", asBytes("s3cr3t-"));
    for (size_t at = 0; at < text.size(); at += piece)
      stream.add("etc/f", asBytes(std::string_view{text}.substr(at, piece)));
    ASSERT_TRUE(stream.hit()) << piece;
    EXPECT_EQ(stream.hit()->place, "/etc/f");
  }
}

TEST(SecretStream, DoesNotJoinTheEndOfOneFileAndTheBeginOfTheNext) {
  const SecretGuard guard{kSecrets};
  SecretStream stream{guard};
  stream.add("a", asBytes("s3cr3t-"));
  stream.add("b", asBytes("T0ken!"));
  EXPECT_FALSE(stream.hit());
}

TEST(SecretMask, HidesSecretsHoweverTheOutputIsCut) {
  const std::string text = "a s3cr3t-T0ken! b s3cr3t-T 4711!4711! abc s3cr3t-T0ken!";
  for (size_t piece = 1; piece <= text.size(); ++piece) {
    SecretMask mask{kSecrets};
    std::string out;
    for (size_t at = 0; at < text.size(); at += piece) out += mask.add(text.substr(at, piece));
    out += mask.finish();
    EXPECT_EQ(out, "a *** b s3cr3t-T ****** abc ***") << piece;
  }
}

TEST(SecretMask, HoldsNothingBackThatCannotBeASecret) {
  SecretMask mask{kSecrets};
  EXPECT_EQ(mask.add("Continue? s"), "Continue? ");
  EXPECT_EQ(mask.add("ure"), "sure");
  EXPECT_EQ(mask.finish(), "");
}

TEST(SecretMask, HidesTheLongerOfTwoThatBeginAlike) {
  SecretMask mask{{{"a", "hunter"}, {"b", "hunter22"}}};
  EXPECT_EQ(mask.add("hunter"), "");
  EXPECT_EQ(mask.add("22 hunter2 "), "*** ***2 ");
}

TEST(SecretMask, HidesSecretsInAWholeText) {
  const std::vector<Secret> secrets{{"a", "hidden-value\n"}};
  EXPECT_EQ(withoutSecrets("RUN login hidden-value now", secrets), "RUN login *** now");
  EXPECT_EQ(withoutSecrets("RUN login hidden-val", secrets), "RUN login hidden-val");
}

TEST(SecretGuard, LooksAtTheWordsAndTheVariablesOfACommand) {
  const SecretGuard guard{{{"a", "hidden-value"}}};
  StepCommand command{{"sh", "-c", "true"}, {"A=1"}, "/", "", "h", "none"};
  EXPECT_FALSE(holdsSecret(guard, command));
  command.env.push_back("B=hidden-value");
  EXPECT_TRUE(holdsSecret(guard, command));
  command.env.clear();
  command.argv.back() = "login hidden-value";
  EXPECT_TRUE(holdsSecret(guard, command));
}

TEST(SecretNames, FollowTheRuleOfTheCheck) {
  for (const char* name : {"TOKEN", "github_token", "API_KEY", "apikey", "DB_Password"})
    EXPECT_TRUE(isSecretName(name)) << name;
  for (const char* name : {"TOKENS", "PUBLIC_KEY", "KEY_FILE", "TOKEN_VERSION", "MONKEY", ""})
    EXPECT_FALSE(isSecretName(name)) << name;
}

}  // namespace
}  // namespace img::builder
