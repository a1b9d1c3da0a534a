#include "builder/checks.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <set>

#include "base/text.h"
#include "tests/builder/support.h"

namespace img::builder {
namespace {

struct World {
  Request request;
  CheckOptions options{true, false};
  std::map<std::string, store::Image> images;  // by the name after FROM
};

store::Image imageWith(std::vector<std::string> env, std::string architecture = {}) {
  store::Image image;
  image.config.platform = store::Platform::host();
  if (!architecture.empty()) image.config.platform.architecture = std::move(architecture);
  image.config.env = std::move(env);
  return image;
}

CheckReport check(const std::string& text, World world = {}) {
  const parser::Dockerfile file = parser::parseDockerfile(text, "Dockerfile");
  return runChecks(file, world.request, world.options,
                   [&](const std::string& name) -> std::optional<store::Image> {
                     const auto found = world.images.find(name);
                     if (found == world.images.end()) return std::nullopt;
                     return found->second;
                   });
}

// "3 RuleName" in the order of the report.
std::vector<std::string> places(const CheckReport& report) {
  std::vector<std::string> out;
  for (const Finding& finding : report.findings)
    out.push_back(fmt::format("{} {}", finding.lines.first, finding.rule));
  return out;
}

using Places = std::vector<std::string>;

struct Case {
  std::string_view name, text;
  std::vector<std::string> expected;
};
void PrintTo(const Case& c, std::ostream* out) {
  *out << c.text;
}

class BuildChecks : public testing::TestWithParam<Case> {};
TEST_P(BuildChecks, FindsExactlyThis) {
  EXPECT_EQ(places(check(std::string{GetParam().text})), GetParam().expected);
}
std::string caseName(const testing::TestParamInfo<Case>& test) {
  return std::string{test.param.name};
}

const Case kTextCases[] = {
    {"StageNameInUpperCase", "FROM scratch AS Build\n", {"1 StageNameCasing"}},
    {"StageNameInLowerCase", "FROM scratch AS build\n", {}},
    {"LowerAsAfterUpperFrom", "FROM scratch as build\n", {"1 FromAsCasing"}},
    {"UpperAsAfterLowerFrom", "from scratch AS build\n", {"1 FromAsCasing"}},
    {"MixedAs", "FROM scratch As build\n", {"1 FromAsCasing"}},
    {"MixedFromIsOnlyOneFinding", "From scratch as b\n", {"1 ConsistentInstructionCasing"}},
    {"LowerAsAfterLowerFrom", "from scratch as build\n", {}},
    {"EmptyLineInContinuation",
     "FROM scratch\nRUN a \\\n\n  b \\\n  c\nUSER x\n",
     {"5 NoEmptyContinuation"}},
    {"CommentInContinuation", "FROM scratch\nRUN a \\\n# why\n  b\n", {}},
    {"MinorityCasing", "FROM scratch\nrun a\nUSER b\n", {"2 ConsistentInstructionCasing"}},
    {"LowerMajority", "from scratch\nrun a\nUSER b\n", {"3 ConsistentInstructionCasing"}},
    {"TieIsUpper", "FROM scratch\nuser b\n", {"2 ConsistentInstructionCasing"}},
    {"GlobalArgsCount", "arg A=1\nFROM scratch\nUSER b\n", {"1 ConsistentInstructionCasing"}},
    {"DuplicateName",
     "FROM scratch AS a\nFROM scratch AS b\nFROM scratch AS a\n",
     {"3 DuplicateStageName"}},
    {"DuplicateNameInAnotherCase",
     "FROM scratch AS a\nFROM scratch AS A\n",
     {"2 DuplicateStageName", "2 StageNameCasing"}},
    {"ReservedScratch", "FROM scratch AS scratch\n", {"1 ReservedStageName"}},
    {"ReservedContext", "FROM scratch AS context\n", {"1 ReservedStageName"}},
    {"Maintainer", "FROM scratch\nMAINTAINER me\n", {"2 MaintainerDeprecated"}},
    {"AuthorsLabel", "FROM scratch\nLABEL org.opencontainers.image.authors=me\n", {}},
    {"LegacyEnv", "FROM scratch\nENV a b c\n", {"2 LegacyKeyValueFormat"}},
    {"LegacyLabel", "FROM scratch\nLABEL a b\n", {"2 LegacyKeyValueFormat"}},
    {"ModernEnv", "FROM scratch\nENV a=b c=d\nLABEL a=b\n", {}},
    {"DescriptionIsOffByItself", "# nothing here\nARG V=1\nFROM scratch\n", {}},
    {"DescriptionOfAnArg",
     "# check=experimental=all\n# nothing here\nARG V=1\nFROM scratch\n",
     {"3 InvalidDefinitionDescription"}},
    {"DescriptionOfAStage",
     "# check=experimental=InvalidDefinitionDescription\n# nothing here\nFROM scratch AS base\n",
     {"3 InvalidDefinitionDescription"}},
    {"DescriptionThatFits",
     "# check=experimental=all\n# V is the version\nARG V=1\n# base holds tools\nFROM scratch AS "
     "base\n",
     {}},
    {"DescriptionOfOneOfSeveral",
     "# check=experimental=all\n# W is the version\nARG V=1 W=2\nFROM scratch\n",
     {}},
    {"CommentFurtherUpIsNoDescription",
     "# check=experimental=all\n# nothing here\n\nARG V=1\nFROM scratch\n",
     {}},
};
INSTANTIATE_TEST_SUITE_P(Text, BuildChecks, testing::ValuesIn(kTextCases), caseName);

const Case kFromCases[] = {
    {"UndeclaredArg", "ARG A=scratch\nFROM $A$B\n", {"2 UndefinedArgInFrom"}},
    {"UndeclaredArgWithDefault", "FROM ${A:-scratch}\n", {"1 UndefinedArgInFrom"}},
    {"DeclaredWithoutValue", "ARG V\nFROM alpine$V\n", {}},
    {"PredefinedArg", "FROM --platform=$BUILDPLATFORM alpine\n", {}},
    {"UndeclaredPlatform",
     "FROM --platform=linux/${BULIDARCH:-amd64} alpine\n",
     {"1 UndefinedArgInFrom"}},
    {"StageArgsAreNotGlobal",
     "FROM scratch AS a\nARG V=1\nFROM alpine:3$V\n",
     {"3 UndefinedArgInFrom"}},
    {"EmptyDefault", "ARG V\nFROM alpine:$V\n", {"2 InvalidDefaultArgInFrom"}},
    {"DefaultGivesAName", "ARG V=3\nFROM alpine:$V\n", {}},
    {"TargetPlatform", "FROM --platform=$TARGETPLATFORM alpine\n", {"1 RedundantTargetPlatform"}},
    {"TargetPlatformInBraces",
     "FROM --platform=${TARGETPLATFORM} alpine\n",
     {"1 RedundantTargetPlatform"}},
    {"TargetPlatformAsAPart", "FROM --platform=$TARGETOS/$TARGETARCH alpine\n", {}},
    {"ConstantPlatform",
     "FROM --platform=linux/arm64 alpine AS base\n",
     {"1 FromPlatformFlagConstDisallowed"}},
    {"ConstantPlatformThatTheNameTells", "FROM --platform=linux/arm64 alpine AS build-arm64\n", {}},
    {"ConstantPlatformThatTheNameTellsByOs", "FROM --platform=linux/arm64 alpine AS linux\n", {}},
};
INSTANTIATE_TEST_SUITE_P(From, BuildChecks, testing::ValuesIn(kFromCases), caseName);

const Case kStageCases[] = {
    {"ShellFormCommand", "FROM scratch\nCMD a b\n", {"2 JSONArgsRecommended"}},
    {"ShellFormEntrypoint", "FROM scratch\nENTRYPOINT a\n", {"2 JSONArgsRecommended"}},
    {"JsonForm", "FROM scratch\nENTRYPOINT [\"a\"]\nCMD [\"b\"]\n", {}},
    {"ShellFormUnderAShell", "FROM scratch\nSHELL [\"sh\", \"-c\"]\nCMD a b\n", {}},
    {"ShellOfTheParentStage", "FROM scratch AS a\nSHELL [\"sh\", \"-c\"]\nFROM a\nCMD a b\n", {}},
    {"UndefinedVariable", "FROM scratch\nENV A=$B\n", {"2 UndefinedVar"}},
    {"UndefinedWithDefault", "FROM scratch\nLABEL a=${B:-x}\n", {"2 UndefinedVar"}},
    {"UndefinedPositional", "FROM scratch\nENV A=$1\n", {"2 UndefinedVar"}},
    {"UndefinedEachOnce", "FROM scratch\nENV A=$B$B C=$B\n", {"2 UndefinedVar"}},
    {"ArgWithoutValueIsDeclared", "FROM scratch\nARG B\nENV A=$B\n", {}},
    {"ArgDefaultUsesAnother", "FROM scratch\nARG B=1 C=$B\nARG D=$E\n", {"3 UndefinedVar"}},
    {"EnvOfTheSameLineIsNotThereYet", "FROM scratch\nENV A=1 B=$A\n", {"2 UndefinedVar"}},
    {"EnvOfTheParentStage", "FROM scratch AS a\nENV A=1\nARG B\nFROM a\nENV C=$A$B\n", {}},
    {"EnvOfATriggerOfTheParent", "FROM scratch AS a\nONBUILD ENV A=1\nFROM a\nENV C=$A\n", {}},
    {"PathIsAlwaysThere", "FROM scratch\nENV PATH=/x:$PATH\n", {}},
    {"GlobalArgsAreNotInStages", "ARG V=1\nFROM scratch\nENV A=$V\n", {"3 UndefinedVar"}},
    {"CommandsAreLeftToTheShell", "FROM scratch\nRUN echo $A\nCMD [\"$A\"]\n", {}},
    {"UnknownBaseMaySetUsualNames", "FROM golang:1\nCOPY . $GOPATH/src\n", {}},
    {"UnknownBaseSetsNothingElse", "FROM golang:1\nCOPY . $GOPAHT/src\n", {"2 UndefinedVar"}},
    {"VariableOfAMount",
     "FROM scratch\nRUN --mount=type=cache,target=/c,id=$A x\n",
     {"2 UndefinedVar"}},
    {"VariableOfAHeredoc", "FROM scratch\nCOPY <<EOF /x\n$A\nEOF\n", {"2 UndefinedVar"}},
    {"QuotedHeredoc", "FROM scratch\nCOPY <<'EOF' /x\n$A\nEOF\n", {}},
    {"VariableOfExpose", "FROM scratch\nEXPOSE 80$A\n", {"2 UndefinedVar"}},
    {"VariablesElsewhere",
     "FROM scratch\nUSER $A\nVOLUME /v$A\nSTOPSIGNAL ${A:-9}\nADD --chown=$A x /\n",
     {"2 UndefinedVar", "3 UndefinedVar", "4 UndefinedVar", "5 UndefinedVar"}},
    {"RelativeWorkdir", "FROM scratch\nWORKDIR app\nWORKDIR sub\n", {"2 WorkdirRelativePath"}},
    {"RelativeAfterAbsolute", "FROM scratch\nWORKDIR /app\nWORKDIR sub\n", {}},
    {"RelativeAfterTheParents", "FROM scratch AS a\nWORKDIR /app\nFROM a\nWORKDIR sub\n", {}},
    {"WorkdirOfAVariable", "FROM scratch\nENV D=/app\nWORKDIR $D\n", {}},
    {"SecondCommand",
     "FROM scratch\nCMD [\"a\"]\nENTRYPOINT [\"e\"]\nCMD [\"b\"]\n",
     {"2 MultipleInstructionsDisallowed"}},
    {"ThirdCommand",
     "FROM scratch\nCMD [\"a\"]\nCMD [\"b\"]\nCMD [\"c\"]\n",
     {"2 MultipleInstructionsDisallowed", "3 MultipleInstructionsDisallowed"}},
    {"SecondHealthcheck",
     "FROM scratch\nHEALTHCHECK NONE\nHEALTHCHECK CMD a\n",
     {"2 MultipleInstructionsDisallowed"}},
    {"CommandsOfDifferentStages", "FROM scratch AS a\nCMD [\"a\"]\nFROM a\nCMD [\"b\"]\n", {}},
    {"SecretNames",
     "FROM scratch\nARG DB_Password\nENV token=x AWS_SECRET_KEY=y\n",
     {"2 SecretsUsedInArgOrEnv", "3 SecretsUsedInArgOrEnv", "3 SecretsUsedInArgOrEnv"}},
    {"GlobalSecretName", "ARG API_TOKEN\nFROM scratch\n", {"1 SecretsUsedInArgOrEnv"}},
    {"HarmlessNames",
     "FROM scratch\nENV PUBLIC_KEY=a PASSWORD_FILE=b TOKEN_VERSION=c MONKEY=d KEYBOARD=e\n",
     {}},
    {"UpperCaseProtocol", "FROM scratch\nEXPOSE 80/TCP 81/udp\n", {"2 ExposeProtoCasing"}},
    {"HostPort", "FROM scratch\nEXPOSE 8080:80 90\n", {"2 ExposeInvalidFormat"}},
    {"HostAddress", "FROM scratch\nEXPOSE 127.0.0.1:80:80\n", {"2 ExposeInvalidFormat"}},
    {"PlainPorts", "FROM scratch\nEXPOSE 80 90-92/udp\n", {}},
};
INSTANTIATE_TEST_SUITE_P(Stages, BuildChecks, testing::ValuesIn(kStageCases), caseName);

const Case kConfigCases[] = {
    {"SkipOne",
     "# check=skip=StageNameCasing\nFROM scratch AS A\nMAINTAINER x\n",
     {"3 MaintainerDeprecated"}},
    {"SkipSeveralWithBlanks",
     "# check=skip=StageNameCasing, MaintainerDeprecated; error=true\nFROM scratch AS "
     "A\nMAINTAINER "
     "x\n",
     {}},
    {"SkipAll", "# check=skip=all\nFROM scratch AS A\nMAINTAINER x\n", {}},
    {"SkipAllLeavesExperimentalOnes",
     "# check=skip=all;experimental=all\n# other\nARG x\nfrom scratch\n",
     {"3 InvalidDefinitionDescription"}},
    {"SkipAtAnInstruction",
     "FROM scratch\n# check=skip=MaintainerDeprecated // they insist\nMAINTAINER x\nMAINTAINER y\n",
     {"4 MaintainerDeprecated"}},
    {"SkipAllAtAnInstruction", "FROM scratch\n# check=skip=all\nMAINTAINER x\n", {}},
    {"ExperimentalAtAnInstruction",
     "FROM scratch\n# check=experimental=all\n# other\nARG x\n",
     {"4 InvalidDefinitionDescription"}},
    {"BrokenConfigIsAComment",
     "FROM scratch\n# check=skip\nMAINTAINER x\n",
     {"3 MaintainerDeprecated"}},
    {"SkipAtTheLaterOfTwo",
     "FROM scratch\nCMD [\"a\"]\n# check=skip=MultipleInstructionsDisallowed\nCMD [\"b\"]\n",
     {}},
    {"NamesAreCaseSensitive",
     "# check=skip=maintainerdeprecated\nFROM scratch\nMAINTAINER x\n",
     {"3 MaintainerDeprecated"}},
    {"SortedByLineThenRule",
     "FROM scratch As A\nmaintainer x\nCMD a\nCMD b\n",
     {"1 FromAsCasing", "1 StageNameCasing", "2 ConsistentInstructionCasing",
      "2 MaintainerDeprecated", "3 JSONArgsRecommended", "3 MultipleInstructionsDisallowed",
      "4 JSONArgsRecommended"}},
};
INSTANTIATE_TEST_SUITE_P(Config, BuildChecks, testing::ValuesIn(kConfigCases), caseName);

struct Message {
  std::string_view rule, text, expected;
};
void PrintTo(const Message& m, std::ostream* out) {
  *out << m.text;
}
class CheckMessages : public testing::TestWithParam<Message> {};
TEST_P(CheckMessages, AreThoseOfTheSpecification) {
  World world;
  world.request.ignoreName = ".dockerignore";
  world.request.ignoreText = "secret\n";
  world.images["foreign"] = imageWith({}, "s390x");
  std::vector<std::string> messages;
  for (const Finding& finding : check(std::string{GetParam().text}, world).findings) {
    if (finding.rule == GetParam().rule) messages.push_back(finding.message);
  }
  EXPECT_EQ(messages, (std::vector<std::string>{std::string{GetParam().expected}}));
}
const Message kMessages[] = {
    {"StageNameCasing", "FROM scratch AS Ab\n", "stage name \"Ab\" should be lower case"},
    {"FromAsCasing", "FROM scratch as b\n", "\"as\" does not match the case of \"FROM\""},
    {"NoEmptyContinuation", "FROM scratch\nRUN a\\\n\nb\n",
     "empty line inside a continued instruction"},
    {"ConsistentInstructionCasing", "FROM scratch\nrun a\n",
     "\"run\" should be upper case like the rest of the file"},
    {"DuplicateStageName", "FROM scratch AS a\nFROM scratch AS a\n",
     "stage name \"a\" is used more than once"},
    {"ReservedStageName", "FROM scratch AS context\n", "\"context\" is a reserved name"},
    {"JSONArgsRecommended", "FROM scratch\nCMD a\n",
     "use the JSON form for CMD so that signals reach the program"},
    {"MaintainerDeprecated", "FROM scratch\nMAINTAINER a\n",
     "MAINTAINER is deprecated; use LABEL org.opencontainers.image.authors"},
    {"UndefinedArgInFrom", "ARG VERSION=1\nFROM alpine$VERSIN\n",
     "FROM uses undeclared ARG \"VERSIN\", did you mean \"VERSION\"?"},
    {"UndefinedVar", "FROM scratch\nENV A=$PAHT\n",
     "variable \"PAHT\" is not set, did you mean \"PATH\"?"},
    {"UndefinedVar", "ARG V=1\nFROM scratch\nENV A=$V\n", "variable \"V\" is not set"},
    {"UndefinedVar", "FROM scratch\nENV A=1\nENV B=$C\n", "variable \"C\" is not set"},
    {"WorkdirRelativePath", "FROM scratch\nENV D=app\nWORKDIR $D\n",
     "relative WORKDIR \"app\" depends on the base image"},
    {"MultipleInstructionsDisallowed", "FROM scratch\nHEALTHCHECK NONE\nHEALTHCHECK NONE\n",
     "only the last HEALTHCHECK of a stage has an effect"},
    {"LegacyKeyValueFormat", "FROM scratch\nLABEL a b\n", "write LABEL key=value"},
    {"InvalidBaseImagePlatform", "FROM --platform=linux/riscv64 foreign\n",
     "base image \"foreign\" is \"linux/s390x\", expected \"linux/riscv64\""},
    {"RedundantTargetPlatform", "FROM --platform=$TARGETPLATFORM scratch\n",
     "--platform=\"$TARGETPLATFORM\" is the default"},
    {"SecretsUsedInArgOrEnv", "FROM scratch\nENV DB_PASSWD=a\n",
     "ENV \"DB_PASSWD\": do not pass secrets this way, use RUN --mount=type=secret"},
    {"InvalidDefaultArgInFrom", "ARG A\nFROM $A\n", "FROM \"$A\" is invalid without build args"},
    {"FromPlatformFlagConstDisallowed", "FROM --platform=linux/arm64 scratch\n",
     "--platform=\"linux/arm64\" is a constant"},
    {"CopyIgnoredFile", "FROM scratch\nADD a secret /\n",
     "ADD source \"secret\" is excluded by .dockerignore"},
    {"InvalidDefinitionDescription", "# check=experimental=all\n# x\nARG V\nFROM scratch\n",
     "describe \"V\" as \"# V text\""},
    {"ExposeProtoCasing", "FROM scratch\nEXPOSE 80/TCP\n",
     "EXPOSE \"80/TCP\": write the protocol in lower case"},
    {"ExposeInvalidFormat", "FROM scratch\nEXPOSE 80:81\n",
     "EXPOSE \"80:81\": only the container port is used"},
};
INSTANTIATE_TEST_SUITE_P(Rules, CheckMessages, testing::ValuesIn(kMessages), [](const auto& test) {
  return fmt::format("{}{}", test.param.rule, test.index);
});

struct Ignored {
  std::string_view name, patterns, source;
  bool isReported;
};
void PrintTo(const Ignored& i, std::ostream* out) {
  *out << i.patterns << " for " << i.source;
}
class CopyIgnored : public testing::TestWithParam<Ignored> {};
TEST_P(CopyIgnored, IsToldFromTheIgnoreFileAlone) {
  World world;
  world.request.ignoreName = ".dockerignore";
  world.request.ignoreText = GetParam().patterns;
  const CheckReport report =
      check(fmt::format("FROM scratch\nADD {} /\n", GetParam().source), world);
  EXPECT_EQ(places(report), GetParam().isReported ? Places{"2 CopyIgnoredFile"} : Places{});
}
const Ignored kIgnored[] = {
    {"File", "a.txt\n", "a.txt", true},
    {"FileWithDotSlash", "a.txt\n", "./a.txt", true},
    {"FileInAFolder", "d\n", "/d/a.txt", true},
    {"OtherFile", "a.txt\n", "b.txt", false},
    {"WildcardAsWritten", "*.md\n", "*.md", true},
    {"WholeContext", "a.txt\n", ".", false},
    {"WholeContextWhenAllIsIgnored", "*\n", ".", true},
    {"WholeContextByDoubleStar", "**\n", "/", true},
    {"WholeContextByBoth", "# all\n**/*\n", "./", true},
    {"ExceptionsAreNotJudged", "*\n!a.txt\n", "b.txt", false},
    {"Url", "*\n", "https://example.invalid/x", false},
    {"GitUrl", "*\n", "git@example.invalid:a/b.git", false},
};
INSTANTIATE_TEST_SUITE_P(Sources, CopyIgnored, testing::ValuesIn(kIgnored),
                         [](const auto& test) { return std::string{test.param.name}; });

TEST(CopyIgnored, SourcesOfOtherStagesAreNot) {
  World world;
  world.request.ignoreName = ".dockerignore";
  world.request.ignoreText = "a\n";
  EXPECT_EQ(places(check("FROM scratch AS s\nFROM scratch\nCOPY --from=s a /\n", world)), Places{});
}

TEST(BuildChecks, BuildArgumentReplacesTheDirective) {
  World world;
  world.request.buildArgs = {{"BUILDKIT_DOCKERFILE_CHECK", "skip=StageNameCasing"}};
  EXPECT_EQ(
      places(check("# check=skip=MaintainerDeprecated\nFROM scratch AS A\nMAINTAINER x\n", world)),
      Places{"3 MaintainerDeprecated"});
  world.request.buildArgs = {{"BUILDKIT_DOCKERFILE_CHECK", "error=yes please"}};
  try {
    check("FROM scratch\n", world);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.cause(),
              "build argument BUILDKIT_DOCKERFILE_CHECK: error must be true or false, got \"yes "
              "please\"");
  }
}

TEST(BuildChecks, ErrorFailsABuildOnlyWithAFinding) {
  EXPECT_TRUE(check("# check=error=true\nFROM scratch AS A\n").failsBuild);
  EXPECT_FALSE(check("# check=error=true\nFROM scratch AS a\n").failsBuild);
  EXPECT_FALSE(check("FROM scratch AS A\n").failsBuild);
  // There it would be about one instruction.
  EXPECT_FALSE(check("FROM scratch\n# check=error=true\nMAINTAINER x\n").failsBuild);
}

TEST(BuildChecks, TargetLimitsWhatIsWalkedThrough) {
  const std::string text =
      "FROM scratch AS base\nENV A=$X\nFROM scratch AS tools\nENV A=$Y\nFROM base AS app\n"
      "RUN --mount=from=tools,target=/t x\nFROM scratch AS last\nENV A=$Z\n";
  World world;
  EXPECT_EQ(places(check(text, world)),
            (Places{"2 UndefinedVar", "4 UndefinedVar", "8 UndefinedVar"}));
  world.request.target = "APP";
  EXPECT_EQ(places(check(text, world)), (Places{"2 UndefinedVar", "4 UndefinedVar"}));
  world.request.target = "0";
  EXPECT_EQ(places(check(text, world)), Places{"2 UndefinedVar"});
  world.request.target.clear();
  world.options.allStages = false;  // as in a build
  EXPECT_EQ(places(check(text, world)), Places{"8 UndefinedVar"});
  world.request.target = "ap";
  try {
    check(text, world);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.cause(), "no stage named \"ap\"");
    EXPECT_EQ(error.code(), "stage-unknown");
  }
}

TEST(BuildChecks, EnvironmentAndShellOfAKnownBaseCount) {
  World world;
  store::Image image = imageWith({"GOPATH=/go", "EMPTY"});
  image.config.shell = {"/bin/bash", "-c"};
  image.config.onBuild = {"ENV FROM_TRIGGER=1"};
  world.images["base"] = image;
  EXPECT_EQ(places(check("FROM base\nENV A=$GOPATH$EMPTY$FROM_TRIGGER\nCMD a\n", world)), Places{});
  // The image is known, so a usual name is nothing it might have.
  EXPECT_EQ(places(check("FROM base\nENV A=$JAVA_HOME\n", world)), Places{"2 UndefinedVar"});
}

TEST(BuildChecks, BaseOfAnotherPlatformIsReported) {
  World world;
  world.images["foreign"] = imageWith({}, "s390x");
  world.images["native"] = imageWith({});
  EXPECT_EQ(places(check("FROM foreign\n", world)), Places{"1 InvalidBaseImagePlatform"});
  EXPECT_EQ(places(check("FROM native\n", world)), Places{});
  EXPECT_EQ(places(check("FROM --platform=$TARGETOS/s390x foreign\n", world)), Places{});
}

TEST(BuildChecks, ValueOfABuildArgumentIsTaken) {
  World world;
  world.request.buildArgs = {{"DIR", "/app"}, {"BASE", "alpine:3"}};
  EXPECT_EQ(places(check("FROM scratch\nARG DIR=sub/$X\nWORKDIR $DIR\n", world)), Places{});
  // The default counts for this rule, whatever is given.
  EXPECT_EQ(places(check("ARG BASE\nFROM $BASE\n", world)), Places{"2 InvalidDefaultArgInFrom"});
}

TEST(BuildChecks, WhatABuildRefusesIsTheErrorBesideTheFindings) {
  const CheckReport report = check("FROM $A\nFROM scratch AS B\nENV C=\"${D:?is needed}\"\n");
  EXPECT_EQ(places(report), (Places{"1 InvalidDefaultArgInFrom", "1 UndefinedArgInFrom",
                                    "2 StageNameCasing", "3 UndefinedVar"}));
  ASSERT_TRUE(report.error);
  EXPECT_EQ(report.error->cause(), "FROM: image name \"$A\" expands to nothing");
  EXPECT_EQ(report.error->position()->line, 1);
  EXPECT_EQ(check("FROM scratch\nENV C=\"${D:?is needed}\"\n").error->cause(), "ENV: D: is needed");
  EXPECT_FALSE(check("FROM not-here\nCOPY missing /\n").error);
}

TEST(BuildChecks, WarningShowsTheTokenAtFault) {
  const parser::Dockerfile file =
      parser::parseDockerfile("FROM scratch AS Build\n", "a/Dockerfile");
  const CheckReport report = check(file.text);
  const Error warning = warningOf(file, report.findings.at(0));
  EXPECT_EQ(warning.cause(), "StageNameCasing: stage name \"Build\" should be lower case");
  EXPECT_EQ(warning.code(), "StageNameCasing");
  EXPECT_EQ(warning.position()->file, "a/Dockerfile");
  EXPECT_EQ(warning.position()->column, 17);
  EXPECT_EQ(warning.position()->width, 5);
}

const Case kExtendedCases[] = {
    {"NoTag", "FROM alpine\n", {"1 ImgLatestTag"}},
    {"LatestTag", "FROM alpine:latest\n", {"1 ImgLatestTag"}},
    {"FixedTag", "FROM alpine:3.20\nFROM scratch AS a\nFROM a\n", {}},
    {"AptListsKept",
     "FROM debian:12\nRUN apt-get update && apt-get install -y make\n",
     {"2 ImgAptListsKept"}},
    {"AptListsRemoved",
     "FROM debian:12\nRUN apt-get update && apt-get -y install make && rm -rf "
     "/var/lib/apt/lists/*\n",
     {}},
    {"AptListsInACache",
     "FROM debian:12\nRUN --mount=type=cache,target=/var/lib/apt/ apt-get update && apt-get "
     "install "
     "make\n",
     {}},
    {"AptInAScript",
     "FROM debian:12\nRUN <<EOF\napt-get update\napt-get install -y make\nEOF\n",
     {"2 ImgAptListsKept"}},
    {"AptUpdateAlone",
     "FROM debian:12\nRUN apt-get update\nRUN apt-get install -y make\n",
     {"2 ImgAptListsKept", "2 ImgAptUpdateAlone"}},
    {"ChownAfterCopy", "FROM a:1\nCOPY . /app\nRUN chown -R a:a /app\n", {"3 ImgCopyThenChown"}},
    {"ChownOfOneFile", "FROM a:1\nCOPY . /app\nRUN chown a:a /app/x\n", {}},
    {"ChownLater", "FROM a:1\nCOPY . /app\nRUN true\nRUN chown -R a:a /app\n", {}},
    {"CopyWithOwner", "FROM a:1\nCOPY --chown=b . /app\nRUN chown -R a:a /app\n", {}},
    {"AddOfPlainFiles", "FROM a:1\nADD x y /app/\n", {"2 ImgAddInsteadOfCopy"}},
    {"AddOfArchives", "FROM a:1\nADD x.tar.gz https://example.invalid/a /app/\n", {}},
    {"CdAlone", "FROM a:1\nRUN cd /app\n", {"2 ImgCdHasNoEffect"}},
    {"CdBeforeACommand", "FROM a:1\nRUN cd /app && make\n", {}},
    {"CanBeSkipped", "# check=skip=ImgLatestTag\nFROM alpine\n", {}},
};
class ExtendedChecks : public testing::TestWithParam<Case> {};
TEST_P(ExtendedChecks, FindExactlyThisAndOnlyWhenAskedFor) {
  World world;
  EXPECT_EQ(places(check(std::string{GetParam().text}, world)), Places{});
  world.options.extended = true;
  EXPECT_EQ(places(check(std::string{GetParam().text}, world)), GetParam().expected);
}
INSTANTIATE_TEST_SUITE_P(Rules, ExtendedChecks, testing::ValuesIn(kExtendedCases), caseName);

// What a rule without a case or a page would be: nobody notices when it stops to work.
TEST(BuildChecks, EveryRuleHasACase) {
  std::set<std::string> seen{"CopyIgnoredFile", "InvalidBaseImagePlatform"};  // tests of their own
  const auto collect = [&](const auto& cases) {
    for (const Case& c : cases) {
      for (const std::string& place : c.expected) seen.insert(place.substr(place.find(' ') + 1));
    }
  };
  collect(kTextCases);
  collect(kFromCases);
  collect(kStageCases);
  collect(kExtendedCases);
  for (const CheckRule& rule : checkRules()) EXPECT_TRUE(seen.contains(std::string{rule.name}));
}

TEST(BuildChecks, EveryRuleHasAPage) {
  for (const CheckRule& rule : checkRules()) {
    std::ifstream page{fmt::format(IMG_SOURCE_DIR "/docs/checks/{}.md", rule.name)};
    const std::string text{std::istreambuf_iterator<char>{page}, {}};
    EXPECT_TRUE(text.starts_with(fmt::format("# {}\n", rule.name))) << rule.name;
    for (const char* part : {"Bad:", "Good:", "```dockerfile\n"})
      EXPECT_NE(text.find(part), std::string::npos) << rule.name << " lacks " << part;
  }
}

// The examples of a page are tests as well: the bad one is reported, the good one is not.
TEST(BuildChecks, ExamplesOfThePagesBehaveAsTheySay) {
  const auto example = [](const std::string& text, const std::string& head) {
    const size_t fence = text.find("```dockerfile\n", text.find(head));
    const size_t start = text.find('\n', fence) + 1;
    return text.substr(start, text.find("```", start) - start);
  };
  for (const CheckRule& rule : checkRules()) {
    std::ifstream page{fmt::format(IMG_SOURCE_DIR "/docs/checks/{}.md", rule.name)};
    const std::string text{std::istreambuf_iterator<char>{page}, {}};
    World world;
    world.options.extended = rule.kind == CheckRule::Kind::extended;
    world.request.ignoreName = ".dockerignore";
    world.request.ignoreText = "*.log\n";
    world.images["example/arm-tools:1"] = imageWith({}, "s390x");
    const auto isFound = [&](const std::string& head) {
      const CheckReport report = check(example(text, head), world);
      return std::any_of(report.findings.begin(), report.findings.end(),
                         [&](const Finding& finding) { return finding.rule == rule.name; });
    };
    EXPECT_TRUE(isFound("Bad:")) << rule.name;
    EXPECT_FALSE(isFound("Good:")) << rule.name;
  }
}

TEST(BuildChecks, AreWarningsOfABuildBeforeItsFirstStep) {
  BuildFixture fixture;
  writeFile(fixture.context.get(), "f", "x");
  fixture.progress.onStart = [&] { EXPECT_EQ(fixture.progress.warnings.size(), 2U); };
  fixture.build("FROM scratch AS other\nENV A=$X\nFROM scratch AS Last\nCOPY f /\nENV A=$Y\n");
  EXPECT_EQ(fixture.progress.warnings,
            (std::vector<std::string>{"StageNameCasing: stage name \"Last\" should be lower case",
                                      "UndefinedVar: variable \"Y\" is not set"}));
  EXPECT_EQ(fixture.progress.started.size(), 1U);
}

TEST(BuildChecks, ErrorEndsABuildBeforeItsFirstStep) {
  BuildFixture fixture;
  writeFile(fixture.context.get(), "f", "x");
  const Error error = fixture.failure(
      "# check=error=true\nFROM scratch AS Last\nCOPY f /\nENV A=$Y B=$Z\nMAINTAINER x\n");
  EXPECT_EQ(error.cause(), "checks failed: MaintainerDeprecated, StageNameCasing, UndefinedVar");
  EXPECT_EQ(fixture.progress.warnings.size(), 4U);
  EXPECT_TRUE(fixture.progress.started.empty());
}

}  // namespace
}  // namespace img::builder
