#include "registry/redact.h"

#include <gtest/gtest.h>

namespace img::registry {
namespace {

struct Case {
  std::string_view name, text, expected;
};
void PrintTo(const Case& c, std::ostream* out) {
  *out << c.text;
}

constexpr Case kCases[] = {
    {"NothingSecret", "GET https://r.example/v2/a: 404 Not Found",
     "GET https://r.example/v2/a: 404 Not Found"},
    {"RememberedSecret", "the word is hunter22!", "the word is ***!"},
    {"RememberedTwice", "hunter22 hunter22", "*** ***"},
    {"LongestFirst", "hunter22-long", "***"},
    {"UserInfo", "cannot reach https://me:pw@r.example/x", "cannot reach https://***@r.example/x"},
    {"UserAlone", "http://token@r.example", "http://***@r.example"},
    {"AtSignInThePath", "https://r.example/a@b", "https://r.example/a@b"},
    {"TokenParameter", "https://r.example/a?token=abc&n=1", "https://r.example/a?token=***&n=1"},
    {"SignedUrl", "x?X-Amz-Signature=12ab&X-Amz-Credential=me%2F1&x=1",
     "x?X-Amz-Signature=***&X-Amz-Credential=***&x=1"},
    {"OtherClouds", "x?sig=abc%3D&se=1 y?Signature=s&Key-Pair-Id=k",
     "x?sig=***&se=1 y?Signature=***&Key-Pair-Id=***"},
    {"Form", "grant_type=refresh_token&refresh_token=abc",
     "grant_type=refresh_token&refresh_token=***"},
    {"Bearer", "Authorization: Bearer abc.def.ghi, more", "Authorization: Bearer ***, more"},
    {"Basic", "authorization: basic bWU6cHc=", "authorization: basic ***"},
    {"Quoted", R"("password=abc" stays)", R"("password=***" stays)"},
    {"AtTheEnd", "token=", "token="},
};
class Redaction : public testing::TestWithParam<Case> {};
TEST_P(Redaction, MasksSecretsOnly) {
  Redactor redactor;
  redactor.remember("hunter22");
  redactor.remember("hunter22-long");
  redactor.remember("hunter22");
  redactor.remember("at");  // too short to be told from words
  EXPECT_EQ(redactor.clean(std::string{GetParam().text}), GetParam().expected);
}
INSTANTIATE_TEST_SUITE_P(Texts, Redaction, testing::ValuesIn(kCases),
                         [](const auto& test) { return std::string{test.param.name}; });

TEST(Redaction, ReachesEveryTextOfAnError) {
  Redactor redactor;
  redactor.remember("hunter22");
  Error error{Kind::denied, "cause hunter22"};
  error.why("why hunter22").hint("hint hunter22").addStep("step hunter22").code("forbidden");
  error.also(Error{Kind::failed, "another hunter22"});
  const Error clean = redactor.clean(error);
  EXPECT_EQ(clean.toJson().find("hunter22"), std::string::npos);
  EXPECT_EQ(clean.cause(), "cause ***");
  EXPECT_EQ(clean.why(), "why ***");
  EXPECT_EQ(clean.hints().front(), "hint ***");
  EXPECT_EQ(clean.kind(), Kind::denied);
  EXPECT_EQ(clean.code(), "forbidden");
}

}  // namespace
}  // namespace img::registry
