// Why a step runs again, end to end: one test per reason of cli.md 9.3, and the table of what
// invalidates and what does not (dockerfile.md 6.2).
#include <gtest/gtest.h>
#include <unistd.h>

#include <functional>

#include "builder/build.h"
#include "builder/inputs.h"
#include "parser/value_checks.h"
#include "store/blobs.h"
#include "tests/builder/support.h"

namespace img::builder {
namespace {

class MissTest : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root: containers are started";
    const auto busybox = fs::tryReadFile(AT_FDCWD, "/bin/busybox");
    if (!busybox) GTEST_SKIP() << "needs the package busybox-static";
    write("busybox", *busybox, 0755);
    ask().names = {"docker.io/library/base:latest"};
    ask().dockerfileText = "FROM scratch\nCOPY busybox /bin/busybox\nCOPY busybox /bin/sh\n";
    builder::build(ask(), fixture_.layout, fixture_.progress);
    ask().names = {"docker.io/library/test:latest"};
  }
  Request& ask() { return fixture_.request; }
  void write(const std::string& path, std::string_view content, mode_t mode = 0644) {
    writeFile(fixture_.context.get(), path, content, mode);
  }
  // The misses of this build, in order.
  std::vector<Miss> build(const std::string& dockerfile) {
    fixture_.progress.misses.clear();
    fixture_.build(dockerfile);
    return fixture_.progress.misses;
  }
  // The only miss of a build.
  Miss missOf(const std::string& dockerfile) {
    const std::vector<Miss> misses = build(dockerfile);
    EXPECT_EQ(misses.size(), 1U);
    return misses.empty() ? Miss{} : misses.front();
  }
  // `before` is built, then `now`: "reason | text".
  std::string reasonOf(const std::string& before, const std::string& now) {
    build(before);
    const Miss miss = missOf(now);
    EXPECT_EQ(miss.comparedWith.size(), 8U);
    return miss.reason + " | " + miss.text;
  }
  // The key of a step's record, of the newest build of `kind`.
  std::vector<Digest> keys() {
    std::vector<Digest> keys;
    const Fd folder = sys::openDirectory(fixture_.layout.fd(), "cache/steps");
    for (const fs::Entry& entry : fs::list(folder.get()))
      keys.push_back(*Digest::tryParseHex(entry.name));
    return keys;
  }

  BuildFixture fixture_;
};

const std::string kBase = "FROM base\n";

TEST_F(MissTest, FirstBuild) {
  const Miss miss = missOf(kBase + "RUN true\n");
  EXPECT_EQ(miss.reason, "first-build");
  EXPECT_EQ(miss.text, "first build");
  EXPECT_TRUE(miss.comparedWith.empty());
}

TEST_F(MissTest, ParentOnlyWhenNothingElseChanged) {
  write("f", "1");
  const std::string dockerfile = kBase + "COPY f /f\nRUN true\nRUN echo 2\n";
  build(dockerfile);
  write("f", "2");
  const std::vector<Miss> misses = build(dockerfile);
  ASSERT_EQ(misses.size(), 3U);
  EXPECT_EQ(misses[0].reason, "file");
  EXPECT_EQ(misses[1].reason, "parent");
  EXPECT_EQ(misses[1].text, "parent #2");
  EXPECT_EQ(misses[2].text, "parent #3");
}

TEST_F(MissTest, InstructionWithTheWordsThatDiffer) {
  build(kBase + "RUN echo one two three\n");
  const Miss miss = missOf(kBase + "RUN echo one 2 three\n");
  EXPECT_EQ(miss.reason, "instruction");
  EXPECT_EQ(miss.text, "instruction changed");
  EXPECT_EQ(miss.changes, (std::vector<Change>{{"instruction", "RUN", "two", "2"}}));
}

TEST_F(MissTest, ArgWithBothValues) {
  const std::string dockerfile = kBase + "ARG VERSION=1\nRUN echo $VERSION\n";
  build(dockerfile);
  ask().buildArgs = {{"VERSION", "2"}};
  const Miss miss = missOf(dockerfile);
  EXPECT_EQ(miss.reason, "arg");
  EXPECT_EQ(miss.text, "arg VERSION changed");
  EXPECT_EQ(miss.changes, (std::vector<Change>{{"arg", "VERSION", "1", "2"}}));
}

TEST_F(MissTest, AnArgThatLooksSecretIsMaskedAndNotStored) {
  const std::string dockerfile = kBase + "ARG NPM_TOKEN\nRUN true\n";
  ask().buildArgs = {{"NPM_TOKEN", "hunter2-one"}};
  build(dockerfile);
  ask().buildArgs = {{"NPM_TOKEN", "hunter2-two"}};
  const Miss miss = missOf(dockerfile);
  EXPECT_EQ(miss.text, "arg NPM_TOKEN changed");
  EXPECT_EQ(miss.changes, (std::vector<Change>{{"arg", "NPM_TOKEN", "***", "***"}}));
  const Fd folder = sys::openDirectory(fixture_.layout.fd(), "cache/inputs");
  for (const fs::Entry& entry : fs::list(folder.get()))
    EXPECT_EQ(fs::readFile(folder.get(), entry.name).find("hunter2"), std::string::npos);
}

TEST_F(MissTest, Env) {
  EXPECT_EQ(reasonOf(kBase + "ENV A=1\nRUN true\n", kBase + "ENV A=2\nRUN true\n"),
            "env | env A changed");
}

TEST_F(MissTest, FileByContentModeTypeAndName) {
  write("src/a", "1");
  write("src/mode", "", 0644);
  write("src/type", "");
  write("src/old", "");
  const std::string dockerfile = kBase + "COPY src /src\n";
  build(dockerfile);
  write("src/a", "22");
  const Fd folder = sys::openDirectory(fixture_.context.get(), "src");
  sys::fchmodat(folder.get(), "mode", 0600);
  sys::unlinkat(folder.get(), "type", 0);
  sys::symlinkat("a", folder.get(), "type");
  sys::renameat(folder.get(), "old", folder.get(), "young");
  const Miss miss = missOf(dockerfile);
  EXPECT_EQ(miss.reason, "file");
  EXPECT_EQ(miss.text, "5 files changed");
  EXPECT_EQ(miss.changes, (std::vector<Change>{{"file", "src/a", Digest::of("1").hex(),
                                                Digest::of("22").hex(), "content", 1, 2},
                                               {"file", "src/mode", "0644", "0600", "mode"},
                                               {"file", "src/old", "file", "", "removed"},
                                               {"file", "src/type", "file", "link", "type"},
                                               {"file", "src/young", "", "file", "added"}}));
}

TEST_F(MissTest, OneFileIsNamed) {
  write("src/handler.c", "1");
  const std::string dockerfile = kBase + "COPY . /src\n";
  build(dockerfile);
  write("src/handler.c", "2");
  EXPECT_EQ(missOf(dockerfile).text, "src/handler.c changed");
  EXPECT_TRUE(build(dockerfile).empty());
}

TEST_F(MissTest, AFileThatAMountShows) {
  write("in", "1");
  const std::string dockerfile =
      kBase + "RUN --mount=type=bind,source=in,target=/in cat /in > /out\n";
  build(dockerfile);
  write("in", "2");
  EXPECT_EQ(missOf(dockerfile).text, "in changed");
}

TEST_F(MissTest, BaseWhoseTagMoved) {
  const std::string dockerfile = kBase + "RUN true\nRUN echo 2\n";
  build(dockerfile);
  const Digest before = store::Images{fixture_.layout}.get("base").manifestDescriptor.digest;
  write("marker", "1");
  ask().names = {"docker.io/library/base:latest"};
  ask().dockerfileText =
      "FROM scratch\nCOPY busybox /bin/busybox\nCOPY busybox /bin/sh\nCOPY marker /marker\n";
  builder::build(ask(), fixture_.layout, fixture_.progress);
  const Digest after = store::Images{fixture_.layout}.get("base").manifestDescriptor.digest;
  ask().names = {"docker.io/library/test:latest"};
  const std::vector<Miss> misses = build(dockerfile);
  ASSERT_EQ(misses.size(), 2U);
  EXPECT_EQ(misses[0].reason, "base");
  EXPECT_EQ(misses[0].text, "base base changed");
  EXPECT_EQ(misses[0].changes, (std::vector<Change>{{"base", "base", before.str(), after.str()}}));
  EXPECT_EQ(misses[1].text, "parent #2");
}

TEST_F(MissTest, StageWhoseResultChanged) {
  const auto dockerfile = [](const std::string& word) {
    return "FROM base AS make\nRUN echo " + word + " > /out\nFROM base\nCOPY --from=make /out /\n";
  };
  build(dockerfile("1"));
  const std::vector<Miss> misses = build(dockerfile("2"));
  ASSERT_EQ(misses.size(), 2U);
  EXPECT_EQ(misses[1].reason, "stage");
  EXPECT_EQ(misses[1].text, "stage make changed");
}

TEST_F(MissTest, Mount) {
  const std::string run = "RUN --mount=type=tmpfs,target=/t,size=";
  build(kBase + run + "1m true\n");
  const Miss miss = missOf(kBase + run + "2m true\n");
  EXPECT_EQ(miss.reason + " | " + miss.text, "mount | mount /t changed");
}

TEST_F(MissTest, User) {
  EXPECT_EQ(reasonOf(kBase + "USER 1\nRUN true\n", kBase + "USER 2\nRUN true\n"),
            "user | user changed");
}

TEST_F(MissTest, Shell) {
  EXPECT_EQ(reasonOf(kBase + "RUN true\n",
                     kBase + "SHELL [\"/bin/busybox\", \"sh\", \"-c\"]\nRUN true\n"),
            "shell | shell changed");
}

TEST_F(MissTest, Workdir) {
  const std::string folders = kBase + "WORKDIR /a\nWORKDIR /b\n";
  EXPECT_EQ(reasonOf(folders + "RUN true\n", folders + "WORKDIR /\nRUN true\n"),
            "workdir | workdir changed");
}

TEST_F(MissTest, Network) {
  const std::string dockerfile = kBase + "RUN true\n";
  ask().network = "none";
  build(dockerfile);
  ask().network = "host";
  const Miss miss = missOf(dockerfile);
  EXPECT_EQ(miss.reason + " | " + miss.text, "network | network changed");
  EXPECT_EQ(miss.changes, (std::vector<Change>{{"network", "", "none", "host"}}));
}

TEST_F(MissTest, Epoch) {
  const std::string dockerfile = kBase + "RUN true\n";
  ask().sourceDateEpoch = 1;
  build(dockerfile);
  ask().sourceDateEpoch = 2;
  const Miss miss = missOf(dockerfile);
  EXPECT_EQ(miss.reason + " | " + miss.text, "epoch | epoch changed");
  EXPECT_EQ(miss.changes, (std::vector<Change>{{"epoch", "", "1", "2"}}));
}

TEST_F(MissTest, Platform) {
  const std::string dockerfile =
      "FROM scratch\nCOPY busybox /busybox\nRUN [\"/busybox\", \"true\"]\n";
  build(dockerfile);
  const bool isArm = parser::hostPlatform().architecture == "arm64";
  ask().platforms = {parser::parsePlatform(isArm ? "linux/amd64" : "linux/arm64")};
  ask().isDryRun = true;
  ask().dockerfileText = dockerfile;
  const Result result = builder::build(ask(), fixture_.layout, fixture_.progress);
  ASSERT_EQ(result.reports.size(), 2U);
  EXPECT_TRUE(result.reports[0].isCached);
  EXPECT_EQ(result.reports[1].explanation.miss.reason, "platform");
  EXPECT_EQ(result.reports[1].reason, "platform changed");
}

TEST_F(MissTest, EvictedByWhomItIsKnown) {
  const std::string dockerfile = kBase + "RUN true\n";
  const std::vector<Digest> before = keys();
  build(dockerfile);
  for (const Digest& key : keys()) {
    if (std::find(before.begin(), before.end(), key) != before.end()) continue;
    sys::unlinkat(fixture_.layout.fd(), "cache/steps/" + key.hex(), 0);
    noteEviction(fixture_.layout, key, "img builder prune");
  }
  const Miss miss = missOf(dockerfile);
  EXPECT_EQ(miss.reason, "evicted");
  EXPECT_EQ(miss.text, "layer removed by img builder prune");
  EXPECT_FALSE(miss.changes.at(0).after.empty()) << "when";
  EXPECT_TRUE(build(dockerfile).empty());
}

TEST_F(MissTest, EvictedWhenTheBlobIsGone) {
  const std::string dockerfile = kBase + "RUN echo 1 > /f\n";
  build(dockerfile);
  const store::Image image = store::Images{fixture_.layout}.get("test");
  sys::unlinkat(fixture_.layout.fd(), fixture_.layout.blobPath(image.manifest.layers.back().digest),
                0);
  const Miss miss = missOf(dockerfile);
  EXPECT_EQ(miss.reason + " | " + miss.text, "evicted | layer removed");
}

TEST_F(MissTest, DamagedBlobOrRecord) {
  const std::string dockerfile = kBase + "RUN echo 1 > /f\n";
  const std::vector<Digest> before = keys();
  build(dockerfile);
  const store::Image image = store::Images{fixture_.layout}.get("test");
  const std::string blob = fixture_.layout.blobPath(image.manifest.layers.back().digest);
  fs::replaceFile(fixture_.layout.fd(), blob, "cut short", 0444, fs::Sync::none);
  Miss miss = missOf(dockerfile);
  EXPECT_EQ(miss.reason + " | " + miss.text, "damaged | layer damaged");
  for (const Digest& key : keys()) {
    if (std::find(before.begin(), before.end(), key) != before.end()) continue;
    fs::replaceFile(fixture_.layout.fd(), "cache/steps/" + key.hex(), "{}", 0600, fs::Sync::none);
  }
  miss = missOf(dockerfile);
  EXPECT_EQ(miss.reason, "damaged");
}

TEST_F(MissTest, Ttl) {
  const std::string dockerfile = kBase + "RUN true\n";
  build(dockerfile);
  ask().cacheTtl = 3600;
  EXPECT_TRUE(build(dockerfile).empty());
  ask().cacheTtl = 0;
  const Miss miss = missOf(dockerfile);
  EXPECT_EQ(miss.reason + " | " + miss.text, "ttl | older than --cache-ttl");
}

TEST_F(MissTest, NoCacheAndNoCacheFilter) {
  const std::string dockerfile =
      "FROM base AS one\nRUN true\nFROM base\nRUN true\nCOPY --from=one /bin/sh /other\n";
  build(dockerfile);
  ask().noCache = true;
  for (const Miss& miss : build(dockerfile)) {
    EXPECT_EQ(miss.reason, "no-cache");
    EXPECT_EQ(miss.text, "--no-cache");
  }
  ask().noCache = false;
  ask().noCacheStages = {"one"};
  const Miss miss = missOf(dockerfile);
  EXPECT_EQ(miss.reason + " | " + miss.text, "no-cache | --no-cache-filter");
}

TEST_F(MissTest, GitPermissionsEndMissesByTheUmask) {
  write("f", "1", 0664);
  ask().hasGitPermissions = true;
  const std::string dockerfile = kBase + "COPY f /f\nRUN stat -c %a /f\n";
  build(dockerfile);
  EXPECT_EQ(fixture_.progress.output, "644\n");
  sys::fchmodat(fixture_.context.get(), "f", 0640);
  EXPECT_TRUE(build(dockerfile).empty());
  ask().hasGitPermissions = false;
  const std::vector<Miss> misses = build(dockerfile);
  ASSERT_EQ(misses.size(), 2U);
  EXPECT_EQ(misses[0].text, "mode of f changed");
  EXPECT_EQ(misses[0].hint, "only modes differ; --context-perms=git ignores group and other bits");
}

TEST_F(MissTest, ADryRunSaysWhatWouldRunAndMakesNothing) {
  write("f", "1");
  const std::string dockerfile =
      "FROM base AS make\nCOPY f /f\nRUN cat /f > /out\n"
      "FROM base\nCOPY --link busybox /b\nCOPY --from=make /out /out\nRUN true\n";
  build(dockerfile);
  write("f", "2");
  const size_t before = keys().size();
  ask().isDryRun = true;
  build(dockerfile);
  std::vector<std::string> texts;
  for (const StepReport& report : fixture_.result.reports)
    texts.push_back(report.isCached ? "cached" : report.explanation.miss.text);
  EXPECT_EQ(texts, (std::vector<std::string>{"cached", "f changed", "parent #2", "cached", "cached",
                                             "stage make changed", "parent #6"}));
  EXPECT_EQ(keys().size(), before);
  EXPECT_TRUE(fixture_.progress.started.empty());
  EXPECT_EQ(fixture_.result.reports[5].needs, (std::vector<int>{5, 3}));
  EXPECT_TRUE(fixture_.result.reports[1].key);
  EXPECT_FALSE(fixture_.result.reports[2].key);
}

// dockerfile.md 6.2: what has been built once is changed in one way and built again.
struct TableCase {
  std::string name;
  std::string before, now;  // Dockerfiles after FROM base; empty `now`: the same
  std::function<void(Request&, int context)> change;
  size_t misses;
};
void PrintTo(const TableCase& c, std::ostream* out) {
  *out << c.name;
}
class Invalidation : public MissTest, public testing::WithParamInterface<TableCase> {};
TEST_P(Invalidation, IsExact) {
  const TableCase& c = GetParam();
  write("src/f", "1");
  write("other", "1");
  build(kBase + c.before);
  if (c.change) c.change(ask(), fixture_.context.get());
  EXPECT_EQ(build(kBase + (c.now.empty() ? c.before : c.now)).size(), c.misses);
}

const std::string kCopyRun = "COPY src /src\nRUN true\n";
const std::vector<TableCase> kTable{
    {"Touch", kCopyRun, "",
     [](Request&, int context) {
       sys::utimensat(context, "src/f", {5, 0}, {5, 0});
     },
     0},
    {"Chmod", kCopyRun, "", [](Request&, int context) { sys::fchmodat(context, "src/f", 0600); },
     2},
    {"SameContentWrittenAgain", kCopyRun, "",
     [](Request&, int context) { writeFile(context, "src/f", "1"); }, 0},
    {"UnrelatedContextFile", kCopyRun, "",
     [](Request&, int context) { writeFile(context, "other", "2"); }, 0},
    {"Comment", kCopyRun, "# more\nCOPY src /src\n# words\nRUN true\n", {}, 0},
    {"Label", kCopyRun, "LABEL a=b\n" + kCopyRun + "LABEL c=d\n", {}, 0},
    {"Cmd", kCopyRun, kCopyRun + "CMD [\"x\"]\nEXPOSE 80\n", {}, 0},
    {"UnusedBuildArg", kCopyRun, "",
     [](Request& request, int) {
       request.buildArgs = {{"UNUSED", "1"}};
     },
     0},
    {"ArgAboveRunAndNotUsed", "ARG V=1\nRUN true\n", "ARG V=2\nRUN true\n", {}, 1},
    {"ArgAboveCopyAndNotUsed", "ARG V=1\nCOPY src /src\n", "ARG V=2\nCOPY src /src\n", {}, 0},
    {"ArgInCopy", "ARG V=a\nCOPY src /$V\n", "ARG V=b\nCOPY src /$V\n", {}, 1},
    {"ArgBelow", "RUN true\nARG V=1\n", "RUN true\nARG V=2\n", {}, 0},
    {"EnvAfter", "RUN true\nENV A=1\n", "RUN true\nENV A=2\n", {}, 0},
    {"EnvBefore", "ENV A=1\nRUN true\n", "ENV A=2\nRUN true\n", {}, 1},
    {"Proxy", "RUN true\n", "",
     [](Request& request, int) {
       request.buildArgs = {{"HTTP_PROXY", "http://p"}};
     },
     0},
    {"AddHostName", "RUN true\n", "",
     [](Request& request, int) {
       request.addHosts = {{"h", "10.0.0.1"}};
     },
     1},
    {"Exclude", "COPY src /src\n", "COPY --exclude=none src /src\n", {}, 1},
    {"Destination", "COPY src /src\n", "COPY src /other\n", {}, 1},
    {"FolderOfTheSource", "COPY src/f /f\n", "COPY moved/src/f /f\n",
     [](Request&, int context) { writeFile(context, "moved/src/f", "1"); }, 0},
    {"NameOfTheSource", "COPY src/f /f\n", "COPY src/g /f\n",
     [](Request&, int context) { writeFile(context, "src/g", "1"); }, 1},
    {"LinkDoesNotSeeTheStateBelow",
     "RUN echo 1\nCOPY --link src /src\n",
     "RUN echo 2\nCOPY --link src /src\n",
     {},
     1},
    {"Workdir", "WORKDIR /a\n", "WORKDIR /b\n", {}, 1},
    {"Jobs", kCopyRun, "", [](Request& request, int) { request.jobs = 1; }, 0},
};
INSTANTIATE_TEST_SUITE_P(Table, Invalidation, testing::ValuesIn(kTable),
                         [](const auto& test) { return test.param.name; });

TEST_F(MissTest, TheAddressOfAnAddedHostIsNotInTheKey) {
  ask().addHosts = {{"h", "10.0.0.1"}};
  build(kBase + "RUN true\n");
  ask().addHosts = {{"h", "10.0.0.2"}};
  EXPECT_TRUE(build(kBase + "RUN true\n").empty());
  ask().addHosts = {{"other", "10.0.0.2"}};
  EXPECT_EQ(missOf(kBase + "RUN true\n").text, "2 inputs changed");
}

TEST_F(MissTest, ATagThatMovedToTheSameFilesIsNoMiss) {
  build(kBase + "RUN true\n");
  ask().names = {"docker.io/library/base:latest"};
  ask().labels = {{"a", "b"}};
  ask().dockerfileText = "FROM scratch\nCOPY busybox /bin/busybox\nCOPY busybox /bin/sh\n";
  builder::build(ask(), fixture_.layout, fixture_.progress);
  ask().names = {"docker.io/library/test:latest"};
  ask().labels.clear();
  EXPECT_TRUE(build(kBase + "RUN true\n").empty());
}

// A second change within the tick of the clock in which the file was read leaves size and times
// alone (git's racy-git.txt).
TEST_F(MissTest, AFileThatChangedInTheTickInWhichItWasReadIsSeen) {
  const std::string dockerfile = kBase + "COPY f /f\n";
  write("f", "1");
  build(dockerfile);
  for (const char* content : {"2", "3", "4", "5"}) {
    write("f", content);
    EXPECT_EQ(missOf(dockerfile).text, "f changed");
  }
}

}  // namespace
}  // namespace img::builder
