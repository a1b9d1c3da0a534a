#include "builder/config_step.h"

#include <gtest/gtest.h>

#include "runtime/command.h"
#include "tests/builder/support.h"

namespace img::builder {
namespace {

// The state after the instructions of one stage on scratch; nothing of it needs a file system.
struct Evaluated {
  explicit Evaluated(const std::string& instructions,
                     std::vector<std::pair<std::string, std::string>> buildArgs = {}) {
    request.buildArgs = std::move(buildArgs);
    file = parser::parseDockerfile("FROM scratch\n" + instructions, "Dockerfile");
    scope.request = &request;
    scope.file = &file;
    scope.globals.set("TARGETARCH", "amd64");
    for (const parser::Step& step : file.stages[0].steps)
      EXPECT_TRUE(applyConfigStep(step, stage, scope));
  }
  std::string lastHistory() const { return stage.history.back().entry.createdBy; }

  Request request;
  parser::Dockerfile file;
  Scope scope;
  StageState stage = emptyStage({"linux", "amd64", "", ""});
};

std::string errorOf(const std::string& instructions) {
  try {
    Evaluated evaluated{instructions};
  } catch (const Error& error) {
    return error.cause();
  }
  return "no error";
}

struct HistoryCase {
  const char *name, *instructions, *expected;
};
void PrintTo(const HistoryCase& test, std::ostream* out) {
  *out << test.instructions;
}

constexpr HistoryCase kHistory[] = {
    {"Env", "ENV a=1 b=\"two words\"", "ENV a=1 b=two words"},
    {"EnvExpands", "ENV a=1\nENV b=$a-$a", "ENV b=1-1"},
    {"EnvSeesTheStateBeforeTheLine", "ENV abc=hello\nENV abc=bye def=$abc",
     "ENV abc=bye def=hello"},
    {"EnvLegacy", "ENV ONE TWO= THREE=x", "ENV ONE=TWO= THREE=x"},
    {"Label", "LABEL k=v \"k 2\"='v 2'", "LABEL k=v k 2=v 2"},
    {"ArgDefault", "ARG a=1 b", "ARG a=1 b"},
    {"ArgSeesEarlierWords", "ARG A=1 B=$A", "ARG A=1 B=1"},
    {"ArgFromGlobalScope", "ARG TARGETARCH", "ARG TARGETARCH=amd64"},
    {"CmdShell", "CMD echo \"hi\"", "CMD [\"/bin/sh\" \"-c\" \"echo \\\"hi\\\"\"]"},
    {"CmdExec", "CMD [\"a\", \"b\"]", "CMD [\"a\" \"b\"]"},
    {"CmdUnderShell", "SHELL [\"/bin/bash\", \"-c\"]\nCMD x", "CMD [\"/bin/bash\" \"-c\" \"x\"]"},
    {"Expose", "EXPOSE 81/UDP 80 8000-8002", "EXPOSE [80/tcp 8000/tcp 8001/tcp 8002/tcp 81/udp]"},
    {"ExposeSplitsVariables", "ENV P=\"80 81\"\nEXPOSE $P", "EXPOSE [80/tcp 81/tcp]"},
    {"Volume", "VOLUME [\"/a\", \"/b\"]", "VOLUME [/a /b]"},
    {"Shell", "SHELL [\"/bin/bash\", \"-c\"]", "SHELL [/bin/bash -c]"},
    {"User", "ENV U=app\nUSER $U", "USER app"},
    {"StopSignal", "STOPSIGNAL SIGUSR1", "STOPSIGNAL SIGUSR1"},
    {"Maintainer", "MAINTAINER A B", "MAINTAINER A B"},
    {"Healthcheck", "HEALTHCHECK --interval=30s --retries=2 CMD x y",
     "HEALTHCHECK {Test:[CMD-SHELL x y] Interval:30s Timeout:0s StartPeriod:0s StartInterval:0s "
     "Retries:2}"},
    {"HealthcheckDurations", "HEALTHCHECK --interval=1h30m --timeout=1.5s CMD [\"x\"]",
     "HEALTHCHECK {Test:[CMD x] Interval:1h30m0s Timeout:1.5s StartPeriod:0s StartInterval:0s "
     "Retries:0}"},
    {"HealthcheckNone", "HEALTHCHECK NONE",
     "HEALTHCHECK {Test:[NONE] Interval:0s Timeout:0s StartPeriod:0s StartInterval:0s Retries:0}"},
};
class History : public testing::TestWithParam<HistoryCase> {};
TEST_P(History, HasTheExpandedText) {
  EXPECT_EQ(Evaluated{GetParam().instructions}.lastHistory(), GetParam().expected);
}
INSTANTIATE_TEST_SUITE_P(ConfigStep, History, testing::ValuesIn(kHistory),
                         [](const auto& test) { return std::string{test.param.name}; });

TEST(ConfigStep, GivesABuildArgPriorityOverTheDefaultAndLeavesItUnexpanded) {
  const Evaluated evaluated{"ARG V=default\nENV SEEN=$V", {{"V", "$x"}}};
  EXPECT_EQ(*evaluated.stage.variables.find("SEEN"), "$x");
}

TEST(ConfigStep, DoesNotEvaluateADefaultThatABuildArgReplaces) {
  EXPECT_EQ(*Evaluated("ARG B=${A:?x}", {{"B", "1"}}).stage.variables.find("B"), "1");
}

TEST(ConfigStep, KeepsArgsOutOfTheConfig) {
  EXPECT_EQ(Evaluated{"ARG V=1"}.stage.config.env,
            std::vector<std::string>{"PATH=" + std::string{runtime::kDefaultPath}});
}

TEST(ConfigStep, LetsALaterArgWinDuringTheBuildWhileTheConfigKeepsTheEnv) {
  const Evaluated evaluated{"ENV V=env\nARG V=arg"};
  EXPECT_EQ(*evaluated.stage.variables.find("V"), "arg");
  EXPECT_EQ(evaluated.stage.config.env.back(), "V=env");
}

TEST(ConfigStep, ReplacesAnEnvInItsPlace) {
  const std::vector<std::string> env = Evaluated{"ENV A=1\nENV B=2\nENV A=3"}.stage.config.env;
  EXPECT_EQ(std::vector<std::string>(env.end() - 2, env.end()),
            (std::vector<std::string>{"A=3", "B=2"}));
}

TEST(ConfigStep, LetsEntrypointClearAnInheritedCmdButNotOneOfItsOwnStage) {
  Evaluated inherited{"ENTRYPOINT [\"e\"]"};
  EXPECT_FALSE(inherited.stage.config.cmd.has_value());
  Evaluated before{"CMD [\"c\"]\nENTRYPOINT [\"e\"]"};
  EXPECT_EQ(before.stage.config.cmd, (std::vector<std::string>{"c"}));
}

TEST(ConfigStep, RecordsTriggersWithoutHistory) {
  const Evaluated evaluated{"ONBUILD RUN echo hi"};
  EXPECT_EQ(evaluated.stage.config.onBuild, (std::vector<std::string>{"RUN echo hi"}));
  EXPECT_TRUE(evaluated.stage.history.empty());
}

TEST(ConfigStep, NamesInstructionAndPlaceInErrors) {
  EXPECT_EQ(errorOf("EXPOSE 99999"), "EXPOSE: bad port \"99999\"");
  EXPECT_EQ(errorOf("STOPSIGNAL NOPE"), "STOPSIGNAL: unknown signal \"NOPE\"");
  EXPECT_EQ(errorOf("ENV A=${B:?missing}"), "ENV: B: missing");
}

TEST(ApplyChange, EditsAConfig) {
  store::ImageConfig config;
  config.env = {"PATH=/bin", "A=1"};
  config.workingDir = "/srv";
  for (const char* change :
       {"ENV A=2 B=$A", "CMD [\"x\"]", "EXPOSE 80", "WORKDIR sub", "LABEL a=b", "USER me"}) {
    applyChange(config, change);
  }
  EXPECT_EQ(config.env, (std::vector<std::string>{"PATH=/bin", "A=2", "B=1"}));
  EXPECT_EQ(config.cmd, (std::vector<std::string>{"x"}));
  EXPECT_EQ(config.exposedPorts.count("80/tcp"), 1U);
  EXPECT_EQ(config.workingDir, "/srv/sub");
  EXPECT_EQ(config.labels.at("a"), "b");
  EXPECT_EQ(config.user, "me");
}

TEST(ApplyChange, RefusesInstructionsThatMakeFiles) {
  store::ImageConfig config;
  EXPECT_THROW(applyChange(config, "RUN true"), Error);
  EXPECT_THROW(applyChange(config, "FROM x"), Error);
}

struct PathCase {
  const char *base, *path, *expected;
};
TEST(JoinPath, CleansLexically) {
  constexpr PathCase kCases[] = {
      {"/", "a", "/a"},  {"/a", "b/", "/a/b"}, {"/a", "/b", "/b"},         {"/a", "../../x", "/x"},
      {"/a", ".", "/a"}, {"/", "", "/"},       {"/a", "./b//c", "/a/b/c"}, {"/", "/a/../b/", "/b"}};
  for (const PathCase& test : kCases)
    EXPECT_EQ(joinPath(test.base, test.path), test.expected) << test.path;
}

}  // namespace
}  // namespace img::builder
