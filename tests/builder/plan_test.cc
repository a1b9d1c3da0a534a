#include "builder/plan.h"

#include <gtest/gtest.h>

namespace img::builder {
namespace {

struct Planned {
  explicit Planned(const std::string& text, const std::string& target = "",
                   std::vector<std::pair<std::string, std::string>> buildArgs = {}) {
    request.target = target;
    request.buildArgs = std::move(buildArgs);
    file = parser::parseDockerfile(text, "Dockerfile");
    scope.request = &request;
    scope.file = &file;
    plan = planStages(file, scope, [&](const std::string& name) -> std::optional<store::Image> {
      asked.push_back(name);
      if (name == "missing") return std::nullopt;
      store::Image image;
      if (name == "trigger") image.config.onBuild = {"COPY --from=first /f /f", "ENV T=1"};
      return image;
    });
  }
  Request request;
  parser::Dockerfile file;
  Scope scope;
  std::vector<std::string> asked;
  Plan plan;
};

Error planError(const std::string& text, const std::string& target = "") {
  try {
    Planned planned{text, target};
  } catch (const Error& error) {
    return error;
  }
  return Error{Kind::internal, "no error"};
}

TEST(Plan, LeavesOutStagesThatTheTargetDoesNotNeed) {
  const Planned planned{"FROM a AS one\nRUN x\nFROM missing AS two\nRUN y\nFROM one\nRUN z"};
  EXPECT_EQ(planned.plan.order, (std::vector<int>{0, 2}));
  EXPECT_EQ(planned.asked, (std::vector<std::string>{"a"}));
}

TEST(Plan, OrdersStagesBehindThoseTheyCopyFrom) {
  const Planned planned{
      "FROM a AS one\nFROM b AS two\nFROM c\nCOPY --from=two /x /\nCOPY --from=0 /y /"};
  EXPECT_EQ(planned.plan.order, (std::vector<int>{1, 0, 2}));
}

TEST(Plan, StopsAtTheTargetByNameOrNumber) {
  const std::string text = "FROM a AS one\nFROM b AS Two\nFROM c";
  EXPECT_EQ(Planned(text, "TWO").plan.target, 1);
  EXPECT_EQ(Planned(text, "0").plan.target, 0);
  EXPECT_EQ(Planned(text).plan.target, 2);
}

TEST(Plan, ExpandsFromWithGlobalArgsAndBuildArgs) {
  const std::string text = "ARG V=1\nARG IMAGE=base:$V\nFROM $IMAGE";
  EXPECT_EQ(Planned{text}.plan.stages[0].baseName, "base:1");
  EXPECT_EQ(Planned(text, "", {{"V", "2"}}).plan.stages[0].baseName, "base:2");
}

TEST(Plan, FindsTheNearestEarlierStageForFromWhateverItsCase) {
  const Planned planned{"FROM a AS x\nFROM b AS x\nFROM X"};
  EXPECT_EQ(planned.plan.stages[2].baseStage, 1);
}

TEST(Plan, RunsTriggersOfTheBaseFirstAndFollowsTheirReferences) {
  const Planned planned{"FROM a AS first\nFROM trigger\nRUN own"};
  ASSERT_EQ(planned.plan.stages[1].steps.size(), 3U);
  EXPECT_EQ(planned.plan.stages[1].steps[0].syntax.keyword, "COPY");
  EXPECT_EQ(planned.plan.stages[1].steps[2].syntax.keyword, "RUN");
  EXPECT_EQ(planned.plan.order, (std::vector<int>{0, 1}));
}

TEST(Plan, RunsTriggersOfAParentStage) {
  const Planned planned{"FROM a AS p\nONBUILD ENV A=1\nFROM p"};
  EXPECT_EQ(planned.plan.stages[1].steps.size(), 1U);
}

struct ErrorCase {
  const char *name, *text, *cause, *code;
  int line;
};
void PrintTo(const ErrorCase& test, std::ostream* out) {
  *out << test.text;
}
constexpr ErrorCase kErrors[] = {
    {"UnsetArgInFrom", "FROM $NOPE", "FROM: image name \"$NOPE\" expands to nothing",
     "arg-unset-in-from", 1},
    {"UnsetArgInAnUnusedStage", "FROM a AS x\nFROM $NOPE\nFROM x",
     "FROM: image name \"$NOPE\" expands to nothing", "arg-unset-in-from", 2},
    {"MissingBase", "FROM missing", "FROM: missing: not found", "base-not-found", 1},
    {"BadReference", "FROM a/B", "FROM: bad image reference \"a/B\"", "", 1},
    {"LaterStage", "FROM a\nCOPY --from=late /x /\nFROM b AS late\nFROM 0x\nCOPY --from=0 /a /", "",
     "", 0},
    {"ItsOwnStage", "FROM a AS me\nCOPY --from=me /x /",
     "COPY: stages depend on each other: me -> me", "", 2},
    {"NoSuchNumber", "FROM a\nCOPY --from=7 /x /", "COPY: there is no stage 7 (0..0)",
     "stage-unknown", 2},
};
class PlanErrors : public testing::TestWithParam<ErrorCase> {};
TEST_P(PlanErrors, NameCauseAndLine) {
  const ErrorCase& test = GetParam();
  const Error error = planError(test.text, test.line == 0 ? "0" : "");
  if (test.line == 0) {
    EXPECT_EQ(error.cause(), "COPY: stage \"late\" is defined later");
    return;
  }
  EXPECT_EQ(error.cause(), test.cause);
  EXPECT_EQ(error.code(), test.code);
  ASSERT_TRUE(error.position().has_value());
  EXPECT_EQ(error.position()->line, test.line);
}
INSTANTIATE_TEST_SUITE_P(Plan, PlanErrors, testing::ValuesIn(kErrors),
                         [](const auto& test) { return std::string{test.param.name}; });

TEST(Plan, SuggestsAStageForAMistypedTarget) {
  const Error error = planError("FROM a AS build\nFROM b AS test", "biuld");
  EXPECT_EQ(error.code(), "stage-unknown");
  EXPECT_EQ(error.hints().front(), "did you mean \"build\"?");
}

}  // namespace
}  // namespace img::builder
