#include "builder/named_contexts.h"

#include <gtest/gtest.h>

#include "tests/builder/support.h"

namespace img::builder {
namespace {

struct Fixture : BuildFixture {
  std::optional<NamedContext> find(const std::string& name) {
    const ImageFinder none = [this](const std::string& reference) -> std::optional<store::Image> {
      asked.push_back(reference);
      return std::nullopt;
    };
    NamedContexts contexts{layout, request, none, {}};
    return contexts.find(name);
  }
  std::vector<std::string> asked;
};

TEST(NamedContexts, AreFoundByTheirNormalName) {
  Fixture fixture;
  fixture.request.contexts = {{"alpine", fixture.request.contextDir}};
  for (const char* name :
       {"alpine", "Alpine", "library/alpine", "alpine:latest", "docker.io/library/alpine:latest"}) {
    EXPECT_TRUE(fixture.find(name)) << name;
  }
  EXPECT_FALSE(fixture.find("alpine:3"));
  EXPECT_FALSE(fixture.find("other"));
}

TEST(NamedContexts, OpenAFolderWithItsOwnIgnoreFile) {
  Fixture fixture;
  writeFile(fixture.context.get(), ".dockerignore", "skip\n");
  fixture.request.contexts = {{"lib", fixture.request.contextDir}};
  const auto found = fixture.find("lib");
  ASSERT_TRUE(found && found->folder);
  EXPECT_TRUE(found->folder->ignore().isIgnored("skip"));
  EXPECT_FALSE(found->image);
}

TEST(NamedContexts, AskForAnImageOnlyWhenItIsNeeded) {
  Fixture fixture;
  fixture.request.contexts = {{"lib", "docker-image://other:1"}};
  EXPECT_FALSE(fixture.find("something"));
  EXPECT_TRUE(fixture.asked.empty());
  EXPECT_THROW(fixture.find("lib"), Error);
  EXPECT_EQ(fixture.asked, std::vector<std::string>{"other:1"});
}

TEST(NamedContexts, KnowScratch) {
  Fixture fixture;
  fixture.request.contexts = {{"lib", "docker-image://scratch"}};
  const auto found = fixture.find("lib");
  ASSERT_TRUE(found);
  EXPECT_FALSE(found->image || found->folder);
}

TEST(ParseNamedContext, SplitsAtTheFirstEqualsSign) {
  EXPECT_EQ(parseNamedContext("a=b=c"), (std::pair<std::string, std::string>{"a", "b=c"}));
}

TEST(ParseNamedContext, RefusesWhatCannotBeReplaced) {
  for (const std::string option : {"scratch=/x", "Context=/x", "scratch::linux/amd64=/x", "a", "=x",
                                   "a=", "a=target:b", "a::no/such/os/x=/y"}) {
    EXPECT_THROW(parseNamedContext(option), Error) << option;
  }
}

TEST(Plan, PutsAFolderInThePlaceOfAStage) {
  Fixture fixture;
  writeFile(fixture.context.get(), "f", "content\n");
  fixture.request.contexts = {{"tools", fixture.request.contextDir}};
  fixture.build("FROM nowhere AS tools\nRUN false\nFROM scratch\nCOPY --from=tools /f /f\n");
  EXPECT_EQ(fixture.progress.started.size(), 2U);
  EXPECT_EQ(fixture.progress.started[0], "COPY --from=tools / /");
}

}  // namespace
}  // namespace img::builder
