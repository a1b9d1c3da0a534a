#include "builder/build.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "base/process.h"
#include "builder/failed_step.h"
#include "store/blobs.h"
#include "store/layers.h"
#include "tests/builder/support.h"

namespace img::builder {
namespace {

class BuildTest : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root: containers are started";
    const auto busybox = fs::tryReadFile(AT_FDCWD, "/bin/busybox");
    if (!busybox) GTEST_SKIP() << "needs the package busybox-static";
    writeFile(fixture_.context.get(), "busybox", *busybox, 0755);
  }
  // A file of the topmost layer.
  std::string inTop(const store::Image& image, const std::string& path) {
    const Fd layer = store::Layers{fixture_.layout}.open(image.config.diffIds.back());
    return fs::readFile(layer.get(), path);
  }
  bool topHas(const store::Image& image, const std::string& path) {
    const Fd layer = store::Layers{fixture_.layout}.open(image.config.diffIds.back());
    return sys::tryFstatat(layer.get(), path).has_value();
  }
  std::vector<std::string>& started() { return fixture_.progress.started; }

  BuildFixture fixture_;
};

TEST_F(BuildTest, RunsStepsOverEarlierLayersAndRecordsOnlyTheirChanges) {
  const store::Image image =
      fixture_.build(kWithShell + "RUN echo one > /one\nRUN cat /one > /two; rm /one\n");
  EXPECT_EQ(inTop(image, "two"), "one\n");
  EXPECT_EQ(image.config.diffIds.size(), 4U);
  EXPECT_FALSE(topHas(image, "etc"));  // the mount points are no part of a layer
  EXPECT_FALSE(topHas(image, "proc"));
}

TEST_F(BuildTest, GivesEveryInstructionAHistoryEntryAndEveryLayerADiffId) {
  const store::Image image = fixture_.build(kWithShell + "ENV A=1\nWORKDIR /w\nCMD [\"x\"]\n");
  size_t layers = 0;
  for (const store::HistoryEntry& entry : image.config.history) layers += entry.emptyLayer ? 0 : 1;
  EXPECT_EQ(layers, image.config.diffIds.size());
  EXPECT_EQ(image.config.history.size(), 5U);
  EXPECT_EQ(image.config.history.back().comment, "img.dockerfile.v0");
  EXPECT_EQ(image.config.created, image.config.history.back().created);
}

TEST_F(BuildTest, TakesAnUnchangedBuildFromTheCacheAndGivesTheSameImage) {
  const std::string dockerfile = kWithShell + "RUN echo one > /one\n";
  const Digest first = fixture_.build(dockerfile).id;
  EXPECT_EQ(fixture_.build(dockerfile).id, first);
  EXPECT_TRUE(started().empty());
  EXPECT_EQ(fixture_.result.cachedSteps, fixture_.result.steps);
}

TEST_F(BuildTest, RunsAgainWhatAChangedFileReachesAndNothingAbove) {
  writeFile(fixture_.context.get(), "f", "1");
  const std::string dockerfile = kWithShell + "RUN echo before > /b\nCOPY f /f\nRUN cat /f > /g\n";
  fixture_.build(dockerfile);
  writeFile(fixture_.context.get(), "f", "2");
  EXPECT_EQ(inTop(fixture_.build(dockerfile), "g"), "2");
  EXPECT_EQ(started(), (std::vector<std::string>{"COPY f /f", "RUN cat /f > /g"}));
}

TEST_F(BuildTest, IgnoresAChangeOfTimesAndComments) {
  writeFile(fixture_.context.get(), "f", "1");
  fixture_.build(kWithShell + "COPY f /f\n");
  sys::utimensat(fixture_.context.get(), "f", {9, 0}, {9, 0});
  fixture_.build("# a comment\n" + kWithShell + "COPY   f   /f\n");
  EXPECT_TRUE(started().empty());
}

TEST_F(BuildTest, InvalidatesWithAnArgOnlyFromItsLineOn) {
  const std::string dockerfile = kWithShell + "RUN echo a > /a\nARG V=1\nRUN echo $V > /v\n";
  fixture_.build(dockerfile);
  fixture_.request.buildArgs = {{"V", "2"}};
  EXPECT_EQ(inTop(fixture_.build(dockerfile), "v"), "2\n");
  EXPECT_EQ(started().size(), 1U);
}

TEST_F(BuildTest, RunsEverythingAgainWithoutTheCache) {
  const std::string dockerfile = kWithShell + "RUN echo one > /one\n";
  fixture_.build(dockerfile);
  fixture_.request.noCache = true;
  fixture_.build(dockerfile);
  EXPECT_EQ(started().size(), 3U);
}

TEST_F(BuildTest, TakesAMissingBlobForAMiss) {
  const std::string dockerfile = kWithShell + "RUN echo one > /one\n";
  const store::Image image = fixture_.build(dockerfile);
  sys::unlinkat(fixture_.layout.fd(), fixture_.layout.blobPath(image.manifest.layers.back().digest),
                0);
  fixture_.build(dockerfile);
  EXPECT_EQ(started().size(), 1U);
}

TEST_F(BuildTest, CopiesFromAStageWhoseFilesAreTheSameOutOfTheCache) {
  const auto dockerfile = [](const std::string& extra) {
    return "FROM scratch AS base\nCOPY busybox /bin/busybox\nRUN [\"/bin/busybox\", \"--install\", "
           "\"-s\", \"/bin\"]\n"
           "FROM base AS make\nRUN echo " +
           extra +
           " > /other; echo same > /made\n"
           "FROM base\nCOPY --from=make /made /made\n";
  };
  fixture_.build(dockerfile("1"));
  const store::Image image = fixture_.build(dockerfile("2"));
  EXPECT_EQ(started().size(), 1U) << "only the RUN of the stage, not the COPY of the same file";
  EXPECT_EQ(inTop(image, "made"), "same\n");
}

TEST_F(BuildTest, CopiesIntoFoldersOfLowerLayersAndNewOnesAlike) {
  const int dir = fixture_.context.get();
  writeFile(dir, "tree/a", "1");
  writeFile(dir, "tree/old/f", "new");
  sys::mkdirat(dir, "tree/new", 0750);
  sys::mkdirat(dir, "tree/new/deep", 0755);
  sys::linkat(dir, "tree/a", dir, "tree/new/deep/b",
              0);                                    // first in a merged folder, then in a new one
  sys::linkat(dir, "tree/a", dir, "tree/old/c", 0);  // and back in a merged one
  writeFile(dir, "lower/old/f", "old");
  writeFile(dir, "lower/old/kept", "kept");
  const store::Image image = fixture_.build(
      kWithShell +
      "COPY lower /dst\nCOPY tree lower /dst/\nRUN cat /dst/old/f /dst/old/kept /dst/new/deep/b > "
      "/out && "
      "stat -c '%a %h' /dst/new /dst/new/deep/b >> /out && test /dst/a -ef /dst/old/c\n");
  EXPECT_EQ(inTop(image, "out"), "oldkept1750 3\n644 3\n");
}

TEST_F(BuildTest, PassesTheExitCodeAndTheLastOutputOn) {
  const Error error = fixture_.failure(kWithShell + "RUN echo out; echo err >&2; exit 7\n");
  EXPECT_EQ(error.cause(), "RUN failed with exit code 7");
  EXPECT_EQ(error.exitCode(), 7);
  EXPECT_EQ(error.logTail(), (std::vector<std::string>{"out", "err"}));
  ASSERT_TRUE(error.position().has_value());
  EXPECT_EQ(error.position()->line, 4);
  EXPECT_EQ(error.stage(), "step 3/3");
}

TEST_F(BuildTest, NeverCachesAFailedStep) {
  fixture_.failure(kWithShell + "RUN exit 7\n");
  EXPECT_EQ(fixture_.failure(kWithShell + "RUN exit 7\n").exitCode(), 7);
}

TEST_F(BuildTest, LeavesNothingInIngest) {
  fixture_.build(kWithShell + "RUN echo one > /one\n");
  fixture_.failure(kWithShell + "RUN exit 7\n");
  const Fd ingest = sys::openDirectory(fixture_.layout.fd(), "ingest");
  EXPECT_TRUE(fs::list(ingest.get()).empty());
}

TEST_F(BuildTest, NamesANearFileForAMissingSource) {
  writeFile(fixture_.context.get(), "requirements.txt", "");
  const Error error = fixture_.failure("FROM scratch\nCOPY requirement.txt /\n");
  EXPECT_EQ(error.cause(), "COPY: source \"requirement.txt\" not found in the build context");
  EXPECT_EQ(error.code(), "copy-source-missing");
  EXPECT_EQ(error.hints().front(), "did you mean \"requirements.txt\"?");
}

TEST_F(BuildTest, NamesTheRuleThatHidesASource) {
  writeFile(fixture_.context.get(), "secret.txt", "");
  fixture_.request.ignoreName = ".dockerignore";
  fixture_.request.ignoreText = "# no secrets\n*.txt\n";
  const Error error = fixture_.failure("FROM scratch\nCOPY secret.txt /\n");
  EXPECT_EQ(error.code(), "copy-source-ignored");
  EXPECT_EQ(error.hints().front(),
            "\"secret.txt\" is excluded by .dockerignore line 2 (\"*.txt\")");
}

TEST_F(BuildTest, RunsHeredocsAsCommandAndAsScript) {
  const store::Image image =
      fixture_.build(kWithShell + "RUN <<EOF\necho a > /a\necho b >> /a\nEOF\n");
  EXPECT_EQ(inTop(image, "a"), "a\nb\n");
  const store::Image script =
      fixture_.build(kWithShell + "RUN <<EOF\n#!/bin/sh\necho $0 > /s\nEOF\n");
  EXPECT_EQ(inTop(script, "s"), "/dev/pipes/script\n");
  const store::Image file = fixture_.build(kWithShell + "ENV N=1\nCOPY <<EOF /f\nn=$N\nEOF\n");
  EXPECT_EQ(inTop(file, "f"), "n=1\n");
}

TEST_F(BuildTest, ShowsTheImagesOwnMetadataOfFoldersThatAlsoHoldMountPoints) {
  const store::Image image = fixture_.build(kWithShell +
                                            "RUN true\nRUN chmod 700 /etc && echo x > /etc/f\n"
                                            "RUN stat -c %a /etc > /mode && ls /etc > /list\n");
  EXPECT_EQ(inTop(image, "mode"), "700\n");
  EXPECT_EQ(inTop(image, "list"), "f\nhostname\nhosts\nresolv.conf\n");
}

TEST_F(BuildTest, CreatesAWorkdirForTheUser) {
  const store::Image image = fixture_.build(kWithShell + "USER 12:34\nWORKDIR /a/b\n");
  const Fd layer = store::Layers{fixture_.layout}.open(image.config.diffIds.back());
  EXPECT_EQ(sys::fstatat(layer.get(), "a/b").st_uid, 12U);
  EXPECT_EQ(sys::fstatat(layer.get(), "a/b").st_gid, 34U);
  EXPECT_EQ(image.config.workingDir, "/a/b");
}

TEST_F(BuildTest, FixesAllTimesWithAnEpoch) {
  fixture_.request.sourceDateEpoch = 1000000000;
  const store::Image image = fixture_.build(kWithShell + "RUN echo one > /one\n");
  EXPECT_EQ(image.config.created, "2001-09-09T01:46:40Z");
  for (const store::HistoryEntry& entry : image.config.history)
    EXPECT_EQ(entry.created, "2001-09-09T01:46:40Z");
  BuildFixture other;
  other.request = fixture_.request;
  other.request.noCache = true;
  EXPECT_EQ(other.build(fixture_.request.dockerfileText).id, image.id)
      << "the same image in another store";
}

TEST_F(BuildTest, WarnsAboutABuildArgThatNobodyDeclares) {
  fixture_.request.buildArgs = {{"NOPE", "1"}};
  fixture_.build("FROM scratch\nENV A=1\n");
  EXPECT_EQ(fixture_.progress.warnings,
            (std::vector<std::string>{"build argument NOPE is not declared by any ARG"}));
}

TEST_F(BuildTest, BuildsAnImageWithoutLayers) {
  const store::Image image = fixture_.build("FROM scratch\nLABEL a=b\n");
  EXPECT_TRUE(image.config.diffIds.empty());
  const std::string json = store::readBlob(fixture_.layout, image.id);
  EXPECT_EQ(parseJson(json, "config").at("rootfs").at("diff_ids"), Json::array());
}

TEST_F(BuildTest, TakesTheEpochFromAGlobalArgUnlessTheCallerGivesOne) {
  const std::string file = "ARG SOURCE_DATE_EPOCH=1000000000\nFROM scratch\nWORKDIR /w\n";
  EXPECT_EQ(fixture_.build(file).config.created, "2001-09-09T01:46:40Z");
  fixture_.request.buildArgs = {{"SOURCE_DATE_EPOCH", "0"}};
  fixture_.request.sourceDateEpoch = 0;
  EXPECT_EQ(fixture_.build(file).config.created, "1970-01-01T00:00:00Z");
  fixture_.request.buildArgs = {};
  fixture_.request.sourceDateEpoch.reset();
  EXPECT_EQ(fixture_.failure("ARG SOURCE_DATE_EPOCH=soon\nFROM scratch\n").cause(),
            "SOURCE_DATE_EPOCH: \"soon\" is not a number of seconds");
}

TEST_F(BuildTest, LeavesAnEmptyCommandOutOfTheConfig) {
  EXPECT_FALSE(fixture_.build("FROM scratch\nCMD []\n").config.cmd.has_value());
}

TEST_F(BuildTest, NamesAUserThatTheStageLacksAsAFailureOfTheBuild) {
  for (const std::string step : {"RUN true", "WORKDIR /w"}) {
    const Error error = fixture_.failure(kWithShell + "USER nobody-there\n" + step + "\n");
    EXPECT_TRUE(error.cause().starts_with(step.substr(0, step.find(' ')) + ": unable to find user"))
        << error.cause();
    EXPECT_EQ(error.exitCode().value_or(1), 1);
  }
  EXPECT_EQ(fixture_.failure(kWithShell + "USER 99999999999\nRUN true\n").kind(), Kind::failed);
}

TEST_F(BuildTest, NamesTheMissingShellButNotForTheExecForm) {
  const Error shell = fixture_.failure("FROM scratch\nRUN true\n");
  EXPECT_EQ(shell.code(), "shell-missing");
  EXPECT_EQ(shell.exitCode(), 127);
  EXPECT_EQ(shell.hints(),
            (std::vector<std::string>{"the stage has no shell /bin/sh; use the JSON form, RUN "
                                      "[\"program\", \"argument\"], or SHELL"}));
  EXPECT_TRUE(fixture_.failure("FROM scratch\nRUN [\"/true\"]\n").hints().empty());
  EXPECT_TRUE(listFailedSteps(fixture_.layout).empty()) << "nobody could look around in it";
}

TEST_F(BuildTest, KeepsAStepOnlyWhenItsCommandWasExecuted) {
  EXPECT_TRUE(fixture_.failure(kWithShell + "RUN [\"/bin/nothing\"]\n").hints().empty());
  EXPECT_TRUE(listFailedSteps(fixture_.layout).empty());
  const Error error = fixture_.failure(kWithShell + "RUN nothing-of-that-name\n");
  EXPECT_EQ(error.exitCode(), 127);
  ASSERT_EQ(error.hints().size(), 1u);
  EXPECT_EQ(error.hints()[0],
            "look around in the failed step: img debug " + fixture_.progress.outline.buildId);
  EXPECT_EQ(listFailedSteps(fixture_.layout).size(), 1u);
}

TEST_F(BuildTest, TellsThatASourceIsALinkToNowhereOfTheContext) {
  sys::symlinkat("/etc/hostname", fixture_.context.get(), "link");
  const Error error = fixture_.failure("FROM scratch\nCOPY link /\n");
  EXPECT_EQ(error.code(), "copy-outside");
  EXPECT_NE(error.why().find("\"/etc/hostname\""), std::string::npos) << error.why();
  EXPECT_TRUE(error.hints().empty());
}

TEST_F(BuildTest, RefusesAFileThatChangesBetweenKeyAndCopy) {
  writeFile(fixture_.context.get(), "a", "old");
  fixture_.build("FROM scratch\nCOPY a /a\n");
  // The step is announced after its key is known and before its files are copied.
  fixture_.progress.onStart = [&] { writeFile(fixture_.context.get(), "a", "newer"); };
  writeFile(fixture_.context.get(), "a", "other");
  const Error error = fixture_.failure("FROM scratch\nCOPY a /a\n");
  fixture_.progress.onStart = nullptr;
  EXPECT_EQ(error.cause(), "COPY: file \"a\" changed while it was read");
  writeFile(fixture_.context.get(), "a", "other");
  fixture_.build("FROM scratch\nCOPY a /a\n");
  EXPECT_EQ(fixture_.progress.started.size(), 1u) << "the wrong layer is not in the cache";
}

TEST_F(BuildTest, RefusesALinkThatChangesBetweenKeyAndCopy) {
  sys::mkdirat(fixture_.context.get(), "d", 0755);
  sys::symlinkat("older", fixture_.context.get(), "d/l");
  fixture_.build("FROM scratch\nCOPY d /d\n");  // the first time it is written with its key
  sys::unlinkat(fixture_.context.get(), "d/l", 0);
  sys::symlinkat("old", fixture_.context.get(), "d/l");
  fixture_.progress.onStart = [&] {
    sys::unlinkat(fixture_.context.get(), "d/l", 0);
    sys::symlinkat("new", fixture_.context.get(), "d/l");
  };
  const Error error = fixture_.failure("FROM scratch\nCOPY d /d\n");
  EXPECT_EQ(error.cause(), "COPY: file \"d/l\" changed while it was read");
}

TEST_F(BuildTest, LeavesAStoreInTheContextOut) {
  fixture_.request.contextDir = fixture_.temp.path();  // holds store/ and context/
  const store::Image image = fixture_.build("FROM scratch\nCOPY . /all/\n");
  EXPECT_TRUE(topHas(image, "all/context/busybox"));
  EXPECT_FALSE(topHas(image, "all/store"));
  const Error error = fixture_.failure("FROM scratch\nCOPY store/index.json /\n");
  EXPECT_EQ(error.why(), "the image store lies there, which is no part of the context");
}

TEST_F(BuildTest, RefusesNulBytesInsteadOfCuttingOffThere) {
  using std::string_literals::operator""s;
  EXPECT_EQ(fixture_.failure("FROM scratch\nCOPY busybox /a\0b\n"s).cause(),
            "COPY: a NUL byte in \"/a\\x00b\"");
}

TEST_F(BuildTest, EndsAStepThatClosedItsOutputOnASignal) {
  Child build = Child::fork([this] {
    fixture_.progress.onStart = [this] {
      if (started().size() != 3 || ::fork() != 0) return;
      ::usleep(200000);  // time to close the output; an earlier signal ends the build as well
      ::kill(::getppid(), SIGINT);
      ::_exit(0);
    };
    return fixture_.failure(kWithShell + "RUN exec >/dev/null 2>&1; sleep 60\n").cause();
  });
  EXPECT_EQ(build.finish(), "interrupted");
}

TEST_F(BuildTest, LetsAStepThatCatchesTermEndByItself) {
  writeFile(fixture_.context.get(), "wait.sh",
            "trap 'echo bye; exit 0' TERM\necho ready\nwhile :; do sleep 0.05; done\n");
  int output[2];
  ASSERT_EQ(::pipe2(output, O_CLOEXEC), 0);
  const Fd from{output[0]};
  Fd to{output[1]};
  Child build = Child::fork([&] {
    fixture_.progress.forward = to.get();
    try {
      fixture_.build(kWithShell + "COPY wait.sh /\nRUN [\"/bin/sh\", \"/wait.sh\"]\n");
    } catch (const Error& error) {
      return fmt::format("{} {}", error.cause(), error.exitCode().value_or(0));
    }
    return std::string{"no error"};
  });
  to.reset();
  std::byte first[1];
  ASSERT_EQ(readFull(from.get(), first, "output"), 1U) << "the step has said that it is ready";
  const std::int64_t start = sys::monotonicMs();
  build.kill(SIGTERM);
  EXPECT_EQ(build.finish(), "interrupted 143");
  EXPECT_LT(sys::monotonicMs() - start, 1900)
      << "the step ended by itself, nobody waited to kill it";
}

TEST_F(BuildTest, EndsOnASignalAndLeavesTheStoreUsable) {
  Child build = Child::fork([this] {
    try {
      fixture_.build(kWithShell + "RUN echo running; sleep 60\n");
    } catch (const Error& error) {
      return fmt::format("{} {}", error.cause(), error.exitCode().value_or(0));
    }
    return std::string{"no error"};
  });
  // The step is running when its layer folder is there and holds a mounted upper: wait for the
  // third ingest entry.
  const Fd ingest = sys::openDirectory(fixture_.layout.fd(), "cache/steps");
  const std::int64_t limit = sys::monotonicMs() + 20000;
  while (fs::list(ingest.get()).size() < 2 && sys::monotonicMs() < limit) ::usleep(10000);
  build.kill(SIGINT);
  EXPECT_EQ(build.finish(), "interrupted 130");
  EXPECT_FALSE(fixture_.build(kWithShell).config.diffIds.empty());
}

}  // namespace
}  // namespace img::builder
