#include "builder/wanted_images.h"

#include <gtest/gtest.h>

#include "base/text.h"

namespace img::builder {
namespace {

struct Case {
  const char* name;
  const char* file;
  const char* target;
  const char* images;  // "NAME NAME@PLATFORM"
};
void PrintTo(const Case& c, std::ostream* out) {
  *out << c.name;
}

constexpr Case kCases[] = {
    {"OneBase", "FROM a", "", "a"},
    {"BasesInTheOrderInWhichTheyAreAskedFor",
     "FROM a AS one\nFROM b\nCOPY --from=one /x /\nCOPY --from=c /y /", "", "b a c"},
    {"EachOnce", "FROM a AS one\nFROM a\nCOPY --from=a / /a\nCOPY --from=one / /b", "", "a"},
    {"OnlyWhatTheTargetNeeds", "FROM a AS one\nFROM b AS two\nFROM one", "", "a"},
    {"OfATargetInTheMiddle", "FROM a AS one\nFROM b AS two\nFROM c", "two", "b"},
    {"NoneOfScratchOrAStage",
     "FROM scratch AS one\nFROM one\nCOPY --from=0 / /\nCOPY --from=scratch / /", "", ""},
    {"OfMounts", "FROM a\nRUN --mount=type=bind,from=b,target=/b true", "", "a b"},
    {"ByArguments", "ARG BASE=a\nFROM $BASE:1", "", "a:1"},
    {"WithPlatforms", "FROM --platform=linux/arm64 a AS one\nFROM a\nCOPY --from=one / /", "",
     "a a@linux/arm64"},
    {"NotWhatAContextIsFor",
     "FROM context AS one\nFROM a\nCOPY --from=one / /\nCOPY --from=context / /", "", "a"},
    {"NotOfAStageThatAContextReplaces", "FROM b AS context\nFROM a\nCOPY --from=context / /", "",
     "a"},
};
class WantedImages : public testing::TestWithParam<Case> {};

TEST_P(WantedImages, AreToldBeforeTheFirstIsAskedFor) {
  Request request;
  request.target = GetParam().target;
  const parser::Dockerfile file = parser::parseDockerfile(GetParam().file, "Dockerfile");
  Scope scope;
  scope.request = &request;
  scope.file = &file;
  size_t asked = 0;
  std::vector<std::string> told;
  ImageFinder finder = ImageFinder::ByName{[&](const std::string&) {
    ++asked;
    return std::optional{store::Image{}};
  }};
  finder.setExpect([&](const std::vector<WantedImage>& images) {
    EXPECT_EQ(asked, 0);
    for (const WantedImage& image : images) {
      const std::string platform = image.platformText();
      told.push_back(platform.empty() ? image.name : image.name + "@" + platform);
    }
  });
  planStages(file, scope, finder, nullptr, [](const std::string& name) {
    return name == "context" ? std::optional{NamedContext{}} : std::nullopt;
  });
  EXPECT_EQ(text::join(told, " "), GetParam().images);
}
INSTANTIATE_TEST_SUITE_P(Files, WantedImages, testing::ValuesIn(kCases),
                         [](const auto& test) { return std::string{test.param.name}; });

}  // namespace
}  // namespace img::builder
