#include "parser/dockerfile.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "parser/checks.h"

namespace img::parser {
namespace {

using Strings = std::vector<std::string>;

// The body of the only step of a file "FROM a\n" + text.
template <class Type>
Type only(const std::string& text) {
  Dockerfile file = parseDockerfile("FROM a\n" + text + "\n", "Dockerfile");
  EXPECT_EQ(file.stages.size(), size_t{1});
  EXPECT_EQ(file.stages[0].steps.size(), size_t{1});
  return std::get<Type>(std::move(file.stages[0].steps.at(0).body));
}

TEST(Dockerfile, SortsStepsIntoStages) {
  const Dockerfile file = parseDockerfile(
      "ARG V=1\nARG W\nFROM --platform=$P img:$V AS Build\nRUN a\nRUN b\nFROM build\nFROM "
      "--platform= c\nUSER u\n",
      "D");
  ASSERT_EQ(file.stages.size(), size_t{3});
  EXPECT_EQ(file.globalArgs.size(), size_t{2});
  EXPECT_EQ(file.stages[0].baseName, "img:$V");
  EXPECT_EQ(file.stages[0].platform, "$P");
  EXPECT_EQ(file.stages[0].name, "build");
  EXPECT_EQ(file.stages[0].from.line, 3);
  EXPECT_EQ(file.stages[0].steps.size(), size_t{2});
  EXPECT_EQ(file.stages[1].name, "");
  EXPECT_FALSE(file.stages[2].platform.has_value());
  EXPECT_EQ(file.stages[2].steps[0].syntax.line, 8);
  EXPECT_TRUE(file.warnings.empty());
}

TEST(Dockerfile, ReadsArgAndEnv) {
  const auto arg = only<ArgInstruction>("ARG A B= C=\"d e\"");
  ASSERT_EQ(arg.items.size(), size_t{3});
  EXPECT_EQ(arg.items[0].name, "A");
  EXPECT_FALSE(arg.items[0].value.has_value());
  EXPECT_EQ(arg.items[1].value, "");
  EXPECT_EQ(arg.items[2].value, "\"d e\"");
  const auto env = only<EnvInstruction>("ENV a=1 b=$a");
  EXPECT_EQ(env.pairs, (KeyValues{{"a", "1"}, {"b", "$a"}}));
  EXPECT_FALSE(env.legacy);
  const auto legacy = only<LabelInstruction>("LABEL a b=c d");
  EXPECT_EQ(legacy.pairs, (KeyValues{{"a", "b=c d"}}));
  EXPECT_TRUE(legacy.legacy);
}

TEST(Dockerfile, ReadsRun) {
  const auto shell = only<RunInstruction>(
      "RUN --mount=type=cache,target=/c --mount=type=tmpfs,target=/t --network=none "
      "--security=sandbox a  'b'");
  EXPECT_FALSE(shell.command.exec);
  EXPECT_EQ(shell.command.words, Strings{"a  'b'"});
  EXPECT_EQ(shell.mounts, (Strings{"type=cache,target=/c", "type=tmpfs,target=/t"}));
  EXPECT_EQ(shell.network, "none");
  EXPECT_EQ(shell.security, "sandbox");
  EXPECT_EQ(shellText(shell), "a  'b'");
  const auto exec = only<RunInstruction>("RUN [\"a\", \"$b\"]");
  EXPECT_TRUE(exec.command.exec);
  EXPECT_EQ(exec.command.words, (Strings{"a", "$b"}));
}

TEST(Dockerfile, TellsScriptsFromHeredocsOfTheShell) {
  const auto script = only<RunInstruction>("RUN <<-EOF\n\tone\n\t  two\n\tEOF");
  EXPECT_TRUE(script.isHeredocScript);
  EXPECT_EQ(shellText(script), "one\n  two\n");
  const auto blank = only<RunInstruction>("RUN << EOF\nx\nEOF");
  EXPECT_TRUE(blank.isHeredocScript);
  const auto shell = only<RunInstruction>("RUN cat <<A && cat <<-B\na\nA\n\tb\n\tB");
  EXPECT_FALSE(shell.isHeredocScript);
  EXPECT_EQ(shellText(shell), "cat <<A && cat <<-B\na\nA\n\tb\nB");
  EXPECT_FALSE(only<RunInstruction>("RUN <<EOF sh\nx\nEOF").isHeredocScript);
}

TEST(Dockerfile, ReadsCopy) {
  const auto copy = only<CopyInstruction>(
      "COPY --from=Build --chown=1:2 --chmod=u=rwX --link --parents --exclude=a --exclude=!b x y "
      "/d/");
  EXPECT_FALSE(copy.isAdd);
  EXPECT_EQ(copy.from, "Build");
  EXPECT_EQ(copy.chown, "1:2");
  EXPECT_EQ(copy.chmod, "u=rwX");
  EXPECT_TRUE(copy.link);
  EXPECT_TRUE(copy.parents);
  EXPECT_EQ(copy.excludes, (Strings{"a", "!b"}));
  EXPECT_EQ(copy.sources, (Strings{"x", "y"}));
  EXPECT_EQ(copy.destination, "/d/");
  const auto add = only<CopyInstruction>(
      "ADD --unpack=False --keep-git-dir --checksum=sha256:0 --link=FALSE [\"a b\", \"/\"]");
  EXPECT_TRUE(add.isAdd);
  EXPECT_EQ(add.unpack, false);
  EXPECT_TRUE(add.keepGitDir);
  EXPECT_FALSE(add.link);
  EXPECT_EQ(add.checksum, "sha256:0");
  EXPECT_EQ(add.sources, Strings{"a b"});
  EXPECT_FALSE(only<CopyInstruction>("COPY --from= --chown= a b").from.has_value());
}

TEST(Dockerfile, GivesInlineFilesTheirContentByPosition) {
  const auto copy = only<CopyInstruction>("COPY a <<X <<-'X' b <<\"Y\" /d/\n1\nX\n\t2\n\tX\n$3\nY");
  EXPECT_EQ(copy.sources, (Strings{"a", "b"}));
  ASSERT_EQ(copy.inlineFiles.size(), size_t{3});
  EXPECT_EQ(copy.inlineFiles[0].name, "X");
  EXPECT_EQ(copy.inlineFiles[0].content, "1\n");
  EXPECT_TRUE(copy.inlineFiles[0].expand);
  EXPECT_EQ(copy.inlineFiles[1].content, "2\n");
  EXPECT_FALSE(copy.inlineFiles[1].expand);
  EXPECT_EQ(copy.inlineFiles[2].name, "Y");
  EXPECT_EQ(copy.inlineFiles[2].content, "$3\n");
  // A blank in the marker makes it a path (1.9).
  const auto path = only<CopyInstruction>("COPY << EOF /x\nbody\nEOF");
  EXPECT_EQ(path.sources, (Strings{"<<", "EOF"}));
  EXPECT_TRUE(path.inlineFiles.empty());
}

TEST(Dockerfile, RefusesWhatExpansionWouldChangeInFrom) {
  for (const std::string from : {"$a", "x${b}", "'a'", "a\\\\b", "\\\"a"}) {
    EXPECT_THROW(only<CopyInstruction>("COPY --from=\"" + from + "\" a b"), Error) << from;
  }
  EXPECT_EQ(only<CopyInstruction>("COPY --from=\"a\" a b").from, "a");
  EXPECT_EQ(only<CopyInstruction>("COPY --from=a$ a b").from, "a$");
}

TEST(Dockerfile, ReadsInstructionsWithOneArgument) {
  EXPECT_EQ(only<WorkdirInstruction>("WORKDIR  /a b ").path, "/a b");
  EXPECT_EQ(only<UserInstruction>("USER \"\"").user, "\"\"");
  EXPECT_EQ(only<StopSignalInstruction>("STOPSIGNAL $SIG").signal, "$SIG");
  EXPECT_EQ(only<MaintainerInstruction>("MAINTAINER a <b>").author, "a <b>");
  EXPECT_EQ(only<VolumeInstruction>("VOLUME /a $b").paths, (Strings{"/a", "$b"}));
  EXPECT_EQ(only<ExposeInstruction>("EXPOSE 80 $P").ports, (Strings{"80", "$P"}));
  EXPECT_EQ(only<ShellInstruction>("SHELL [\"a\",\"-c\"]").argv, (Strings{"a", "-c"}));
}

TEST(Dockerfile, ReadsHealthchecks) {
  const auto shell = only<HealthcheckInstruction>(
      "HEALTHCHECK --interval=1m30s --timeout=1.5s --start-period=0 --start-interval=1ms "
      "--retries=3 cmd  curl  -f x || exit 1");
  EXPECT_FALSE(shell.none);
  EXPECT_EQ(shell.interval, 90'000'000'000);
  EXPECT_EQ(shell.timeout, 1'500'000'000);
  EXPECT_EQ(shell.startPeriod, 0);
  EXPECT_EQ(shell.startInterval, 1'000'000);
  EXPECT_EQ(shell.retries, 3);
  EXPECT_FALSE(shell.command.exec);
  EXPECT_EQ(shell.command.words, Strings{"curl  -f x || exit 1"});
  const auto exec = only<HealthcheckInstruction>("HEALTHCHECK CMD [\"a\", \"b\"]");
  EXPECT_TRUE(exec.command.exec);
  EXPECT_EQ(exec.command.words, (Strings{"a", "b"}));
  EXPECT_TRUE(only<HealthcheckInstruction>("HEALTHCHECK none").none);
}

TEST(Dockerfile, StoresTriggersAsText) {
  EXPECT_EQ(only<OnbuildInstruction>("ONBUILD  RUN a \\\n  b").trigger, "RUN a   b");
  const auto heredoc = only<OnbuildInstruction>("ONBUILD COPY <<A <<B /d/\n1\nA\n2\nB");
  EXPECT_EQ(heredoc.trigger, "COPY <<A <<B /d/\n1\nA\n2\nB");
  const Instruction again = parseTrigger(heredoc.trigger, "image");
  const Step step = typeInstruction(again, "image", heredoc.trigger);
  EXPECT_EQ(std::get<CopyInstruction>(step.body).inlineFiles.at(1).content, "2\n");
}

TEST(Dockerfile, EmptyCommandsAreAllowedWithAWarning) {
  const Dockerfile file = parseDockerfile("FROM a\nCMD\nENTRYPOINT\nCMD []\n", "D");
  EXPECT_EQ(std::get<CmdInstruction>(file.stages[0].steps[0].body).command.words, Strings{""});
  EXPECT_EQ(std::get<CmdInstruction>(file.stages[0].steps[2].body).command.words, Strings{});
  ASSERT_EQ(file.warnings.size(), size_t{2});
  EXPECT_EQ(file.warnings[0].line, 2);
  EXPECT_EQ(file.warnings[0].text, "CMD: the command is empty");
}

TEST(Dockerfile, WarnsAboutBrokenJson) {
  const Dockerfile file =
      parseDockerfile("FROM a\nRUN [\"echo\", \"hi\"] && ls\nONBUILD CMD [\"a]\n", "D");
  ASSERT_EQ(file.warnings.size(), size_t{2});
  EXPECT_EQ(file.warnings[0].line, 2);
  EXPECT_EQ(file.warnings[1].line, 3);
}

TEST(Dockerfile, WarnsAboutForeignFrontends) {
  const auto warnings = [](const std::string& syntax) {
    return parseDockerfile("# syntax=" + syntax + "\nFROM a\n", "D").warnings;
  };
  for (const std::string known :
       {"docker/dockerfile", "docker/dockerfile:1.7-labs", "docker.io/docker/dockerfile:1",
        "docker/dockerfile-upstream:master", "dockerfile.v0", "docker/dockerfile:1 rest"}) {
    EXPECT_TRUE(warnings(known).empty()) << known;
  }
  ASSERT_EQ(warnings("example.org/other:1 x").size(), size_t{1});
  EXPECT_EQ(warnings("example.org/other:1 x")[0].text,
            "syntax \"example.org/other:1\" is not supported, using the built-in frontend");
}

TEST(CheckConfig, AllowsBlanksAroundSeparators) {
  const CheckConfig config = parseCheckConfig("skip = A, B ;error=true; experimental=all");
  EXPECT_EQ(config.skip, (Strings{"A", "B"}));
  EXPECT_TRUE(config.error);
  EXPECT_TRUE(config.experimentalAll);
  EXPECT_FALSE(config.skipAll);
  EXPECT_TRUE(parseCheckConfig("skip=all").skipAll);
  for (const std::string_view bad :
       {"", "skip", "x=y", "error=", "skip=A;;error=1", "a=b;c=d;e=f;g=h"}) {
    EXPECT_THROW(parseCheckConfig(bad), Error) << bad;
  }
}

}  // namespace
}  // namespace img::parser
