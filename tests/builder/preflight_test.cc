#include "builder/preflight.h"

#include <gtest/gtest.h>

#include "tests/builder/support.h"

namespace img::builder {
namespace {

// Plans and looks ahead in a context with a few files; images a, env and trigger are known.
class Preflight : public testing::Test {
 protected:
  Preflight() {
    sys::mkdirat(temp_.fd(), "in", 0755);
    const Fd folder = sys::openDirectory(temp_.fd(), "in");
    writeFile(folder.get(), "file.txt", "x");
    writeFile(folder.get(), "src/main.c", "x");
    writeFile(folder.get(), "secret.key", "x");
  }

  // The problems as `LINE: sentence`, in the order in which they are told.
  std::vector<std::string> problemsOf(const std::string& text) {
    std::vector<std::string> lines;
    for (const Error& error : errorsOf(text)) {
      const int line = error.position() ? error.position()->line : 0;
      lines.push_back(fmt::format("{}: {}", line, error.cause()));
    }
    return lines;
  }

  std::vector<Error> errorsOf(const std::string& text) {
    const parser::Dockerfile file = parser::parseDockerfile(text, "Dockerfile");
    Scope scope;
    scope.request = &request_;
    scope.file = &file;
    const Context context{hasContext_ ? temp_.path() + "/in" : "", {".dockerignore", "*.key\n"}};
    Problems problems;
    const Plan plan = planStages(file, scope, findImage, &problems);
    preflight(plan, scope, context, problems);
    try {
      problems.throwIfAny();
    } catch (const Error& error) {
      std::vector<Error> errors{error};
      errors.insert(errors.end(), error.others().begin(), error.others().end());
      return errors;
    }
    return {};
  }

  static std::optional<store::Image> findImage(const std::string& name) {
    store::Image image;
    if (name == "env") image.config.env = {"FROM_BASE=1", "PATH=/x"};
    if (name == "trigger") image.config.onBuild = {"COPY nowhere /", "RUN --mount=target=/ x"};
    return name == "a" || name == "env" || name == "trigger" ? std::optional{image} : std::nullopt;
  }

  using Lines = std::vector<std::string>;
  fs::TempDir temp_;
  Request request_;
  bool hasContext_ = true;
};

TEST_F(Preflight, FindsNothingInAGoodFile) {
  EXPECT_EQ(problemsOf("ARG V=1\nFROM a AS b\nARG V\nCOPY file.txt src /x/\nRUN "
                       "--mount=type=cache,target=/c,uid=${V} --mount=target=/s,source=src y\n"
                       "FROM b\nCOPY --from=b /not/looked/at /\nADD *.none http://h.test/f /d/\n"
                       "COPY --parents src/./main.c /p\nEXPOSE $V\nWORKDIR ${V:?set above}\n"),
            Lines{});
}

TEST_F(Preflight, TellsAllProblemsInTheOrderOfTheFile) {
  request_.target = "app";
  EXPECT_EQ(
      problemsOf("FROM a AS one\nCOPY missing /\nENV A=${X:?give-X}\n"
                 "FROM nobody/has:it AS two\nCOPY also-missing /\n"
                 "FROM a AS app\nRUN --mount=type=chace,target=/x y\nSTOPSIGNAL SIGNOPE\n"
                 "COPY --chmod=99 --from=one /a /b\nCOPY --from=later /a /b\n"
                 "COPY --from=two /a /b\nEXPOSE 99999\nVOLUME \"\"\nFROM a AS later\n"),
      (Lines{"2: COPY: source \"missing\" not found in the build context", "3: ENV: X: give-X",
             "4: FROM: nobody/has:it: not found",
             "5: COPY: source \"also-missing\" not found in the build context",
             "7: RUN: unknown mount type \"chace\"", "8: STOPSIGNAL: unknown signal \"SIGNOPE\"",
             "9: COPY: --chmod \"99\": use octal 0-7777 or a symbolic mode such as "
             "u=rwX,go=rX",
             "10: COPY: stage \"later\" is defined later", "12: EXPOSE: bad port \"99999\"",
             "13: VOLUME: a volume needs a path"}));
}

TEST_F(Preflight, TellsEveryMissingSourceOfOneCopy) {
  EXPECT_EQ(problemsOf("FROM a\nCOPY none file.txt src/none secret.key /d/\n"),
            (Lines{"2: COPY: source \"none\" not found in the build context",
                   "2: COPY: source \"src/none\" not found in the build context",
                   "2: COPY: source \"secret.key\" not found in the build context"}));
}

TEST_F(Preflight, GivesEachProblemItsPlaceCodeAndHint) {
  const auto errors = errorsOf("FROM a AS x\nRUN one\nCOPY flie.txt /\nCOPY secret.key /\n");
  ASSERT_EQ(errors.size(), 2U);
  EXPECT_EQ(errors[0].code(), "copy-source-missing");
  EXPECT_EQ(errors[0].hints(), Lines{"did you mean \"file.txt\"?"});
  EXPECT_EQ(errors[0].stage(), "stage \"x\", step 3/4");
  EXPECT_EQ(errors[0].position()->line, 3);
  EXPECT_EQ(errors[1].code(), "copy-source-ignored");
  EXPECT_EQ(errors[1].hints(),
            Lines{"\"secret.key\" is excluded by .dockerignore line 1 (\"*.key\")"});
}

TEST_F(Preflight, LeavesOutStagesThatTheTargetDoesNotNeed) {
  EXPECT_EQ(problemsOf("FROM nobody/has:it AS unused\nCOPY none /\nFROM a\n"), Lines{});
}

TEST_F(Preflight, KnowsTheVariablesOfBaseImagesAndParentStages) {
  EXPECT_EQ(problemsOf("FROM env AS p\nENV B=${FROM_BASE:?}\nFROM p\nRUN "
                       "--mount=type=cache,target=${B:?} x\nWORKDIR ${C:?not set}\n"),
            Lines{"5: WORKDIR: C: not set"});
}

TEST_F(Preflight, DoesNotRepeatAProblemThroughVariables) {
  EXPECT_EQ(problemsOf("FROM a\nARG A=${X:?first}\nENV B=${A:?second}\nCOPY $B /\nCOPY none /\n"),
            (Lines{"2: ARG: X: first", "5: COPY: source \"none\" not found in the build context"}));
  EXPECT_EQ(problemsOf("FROM nope\nENV B=${A:?maybe}\nCOPY none /\n"),
            (Lines{"1: FROM: nope: not found",
                   "3: COPY: source \"none\" not found in the build context"}));
}

TEST_F(Preflight, LooksAtTriggersWhereTheyFire) {
  EXPECT_EQ(problemsOf("ARG X\nFROM trigger\n"),
            (Lines{"2: COPY: source \"nowhere\" not found in the build context",
                   "2: RUN: cannot mount over /"}));
}

TEST_F(Preflight, SaysThatThereIsNoContext) {
  hasContext_ = false;
  EXPECT_EQ(problemsOf("FROM a\nCOPY file.txt /\nCOPY <<EOF /x\nEOF\n"),
            Lines{"2: COPY: there is no build context to copy from"});
}

TEST_F(Preflight, FindsAMissingBindSource) {
  EXPECT_EQ(problemsOf("FROM a\nARG D=src\nRUN --mount=target=/x,source=$D/none y\n"),
            Lines{"3: RUN: mount source \"src/none\" not found in the build context"});
}

TEST_F(Preflight, TellsNoMoreThanTwentyProblems) {
  std::string text = "FROM a\n";
  for (int i = 0; i < 30; ++i) text += fmt::format("COPY none{} /\n", i);
  EXPECT_EQ(problemsOf(text).size(), Problems::kMax);
}

TEST_F(Preflight, TellsTheSameProblemAtTheSamePlaceOnce) {
  EXPECT_EQ(problemsOf("FROM a AS p\nONBUILD COPY none /\nFROM p AS q\nCOPY --from=r / /\n"
                       "FROM a AS r\nFROM q\n")
                .size(),
            2U);
}

TEST_F(Preflight, ReadsVariablesInMountsAfterPlanning) {
  EXPECT_EQ(problemsOf("FROM a AS s\nFROM a\nARG T=tmpfs I=7\nRUN --mount=type=$T,target=/x "
                       "--mount=from=s,type=cache,target=/y,uid=${I} z\n"),
            Lines{});
  EXPECT_EQ(problemsOf("FROM a\nARG I=x\nRUN --mount=type=cache,target=/y,uid=${I} "
                       "--mount=from=$I,target=/z --mount=type=cache,target=${Q:?q} z\n"),
            (Lines{"3: RUN: mount option \"uid\": bad value \"x\"",
                   "3: RUN: mount option from does not take variables; use a stage alias",
                   "3: RUN: Q: q"}));
}

TEST_F(Preflight, MissesSecretsAndAgentsThatAreRequired) {
  request_.step.secrets.push_back({"given", "x"});
  const auto errors = errorsOf(
      "FROM a\nRUN --mount=type=secret,id=given,required "
      "--mount=type=secret,id=free --mount=type=secret,id=tok,required "
      "--mount=type=ssh,required x\n");
  ASSERT_EQ(errors.size(), 2U);
  EXPECT_EQ(errors[0].cause(), "RUN: secret \"tok\" was not passed (--secret id=tok,...)");
  EXPECT_EQ(errors[0].code(), "secret-missing");
  EXPECT_EQ(errors[1].cause(), "RUN: ssh agent \"default\" was not passed (--ssh default)");
}

}  // namespace
}  // namespace img::builder
