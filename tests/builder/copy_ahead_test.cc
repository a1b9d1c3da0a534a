// Layers of copies whose files are read for the key and for the layer at once.
#include "builder/copy_ahead.h"

#include <gtest/gtest.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/digest.h"
#include "base/stream.h"
#include "builder/copy_key.h"
#include "store/erofs_image.h"
#include "store/layer_view.h"
#include "store/layers.h"
#include "tests/builder/support.h"

namespace img::builder {
namespace {

// Older than the tick of the clock: what was written just now could change again with equal times.
void waitForTheClock(int dir) {
  writeFile(dir, "../clock", "");
  const std::int64_t written = nanoseconds(sys::fstatat(dir, "../clock").st_ctim);
  while (currentNanoseconds() < written + 25'000'000) ::usleep(1000);
}

class CopyAheadTest : public testing::Test {
 protected:
  CopyAheadTest() {
    ::setenv("IMG_LAYER_VIEW", "erofs", 1);
    const int context = fixture_.context.get();
    writeFile(context, "tree/a", "first");
    writeFile(context, "tree/run", "program", 0755);
    writeFile(context, "tree/empty", "");
    writeFile(context, "tree/below/b", std::string(9'000'000, 'b'));
    sys::mkdirat(context, "tree/nothing", 0700);
    sys::symlinkat("a", context, "tree/link");
  }
  ~CopyAheadTest() override { ::unsetenv("IMG_LAYER_VIEW"); }
  CopyAheadTest(const CopyAheadTest&) = delete;
  CopyAheadTest& operator=(const CopyAheadTest&) = delete;

  void SetUp() override {
    if (store::chooseLayerView(fixture_.layout).view != store::LayerView::erofs)
      GTEST_SKIP() << "layers cannot be indexes here";
  }
  // The diff ID of the top layer of a build in a store that knows nothing.
  Digest builtAnew(const std::string& dockerfile, const char* view = "erofs") {
    ::setenv("IMG_LAYER_VIEW", view, 1);
    const store::Layout layout =
        store::Layout::open(fixture_.temp.path() + "/anew" + std::to_string(++stores_));
    fixture_.request.dockerfileText = dockerfile;
    builder::build(fixture_.request, layout, fixture_.progress);
    return store::Images{layout}.get("test").config.diffIds.back();
  }
  BuildFixture fixture_;
  int stores_ = 0;
};

const std::string kCopy = "FROM scratch\nCOPY tree /to/\n";

TEST_F(CopyAheadTest, GivesTheLayerOfACopyThatIsMadeAfterItsKey) {
  fixture_.request.sourceDateEpoch = 1'000'000'000;
  const Digest racy = builtAnew(kCopy);  // nothing is certain of files as young as these
  waitForTheClock(fixture_.context.get());
  const Digest ahead = builtAnew(kCopy);
  EXPECT_EQ(ahead, racy);
  EXPECT_EQ(ahead, builtAnew(kCopy, "directory"));
}

// Its names are found to be one file when they are read.
TEST_F(CopyAheadTest, KeepsHardLinksInsideASourceAndModesThatAreGiven) {
  const int context = fixture_.context.get();
  sys::linkat(context, "tree/below/b", context, "tree/again", 0);
  sys::linkat(context, "tree/a", context, "alone", 0);
  writeFile(context, "other/x", "second source", 0600);
  sys::linkat(context, "other/x", context, "tree/y", 0);
  fixture_.request.sourceDateEpoch = 1'000'000'000;
  const std::string copies =
      "FROM scratch\nCOPY --chmod=u=rwX,go=r --chown=3:4 --exclude=run tree other /to/\n";
  const Digest racy = builtAnew(copies);
  waitForTheClock(context);
  const Digest ahead = builtAnew(copies);
  EXPECT_EQ(ahead, racy);
  EXPECT_EQ(ahead, builtAnew(copies, "directory"));
}

TEST_F(CopyAheadTest, LeavesOutWhatIsTheSameBelow) {
  const int context = fixture_.context.get();
  for (const char* folder : {"alone", "linked"})
    writeFile(context, std::string{folder} + "/new", folder);
  writeFile(context, "alone/b", std::string(9'000'000, 'b'));
  const struct stat like = sys::fstatat(context, "tree/run");
  writeFile(context, "alone/run", "program", 0755);
  sys::utimensat(context, "alone/run", like.st_mtim, like.st_mtim);
  sys::linkat(context, "tree/a", context, "linked/a", 0);
  sys::linkat(context, "tree/below/b", context, "linked/b", 0);
  for (const char* folder : {"alone", "linked"}) {
    const std::string copies =
        std::string{"FROM scratch\nCOPY tree /to/\nCOPY "} + folder + " /to/\n";
    waitForTheClock(context);
    const Digest ahead = builtAnew(copies);
    EXPECT_EQ(ahead, builtAnew(copies, "directory")) << folder;
  }
}

std::string contentOf(const Fd& file) {
  std::string text(static_cast<size_t>(sys::fstat(file.get()).st_size), '\0');
  EXPECT_EQ(preadFull(file.get(), std::as_writable_bytes(std::span{text}), 0, "test"), text.size());
  return text;
}

// Both write it while they write the tar: the copy that is made ahead, and the one after its key.
TEST_F(CopyAheadTest, MakesTheViewThatTheTarGives) {
  for (const bool isAhead : {false, true}) {
    if (isAhead) waitForTheClock(fixture_.context.get());
    const Digest layer = builtAnew(kCopy);
    const store::Layout layout =
        store::Layout::open(fixture_.temp.path() + "/anew" + std::to_string(stores_));
    const store::Layers layers{layout};
    const std::string made = contentOf(sys::openat(layout.fd(), layers.pathOf(layer), O_RDONLY));
    writeFile(fixture_.context.get(), "../index", "");
    const Fd index = sys::openat(fixture_.context.get(), "../index", O_RDWR);
    const auto stats =
        store::indexLayerFile(store::openBlob(layout, layer).get(), index.get(), "test");
    EXPECT_TRUE(made == contentOf(index)) << isAhead;
    EXPECT_EQ(layers.sizeOf(layer), stats.bytes);
    EXPECT_EQ(stats.entries, 8U);
  }
}

TEST_F(CopyAheadTest, HasTheKeyOfACopyThatIsMadeAfterIt) {
  fixture_.build(kCopy);
  waitForTheClock(fixture_.context.get());
  // The digests of files are forgotten, and so is that the step was made.
  const Fd known = sys::openDirectory(fixture_.layout.fd(), "cache/stat");
  for (const fs::Entry& entry : fs::list(known.get()))
    sys::unlinkat(known.get(), entry.name.c_str(), 0);
  fixture_.build(kCopy);
  EXPECT_TRUE(fixture_.progress.started.empty()) << "found by the same key";
  const Fd ingest = sys::openDirectory(fixture_.layout.fd(), "ingest");
  EXPECT_TRUE(fs::list(ingest.get()).empty()) << "what was made ahead is gone";
}

TEST_F(CopyAheadTest, HoldsWhatTheKeySaysWhenAFileChangesAfterwards) {
  waitForTheClock(fixture_.context.get());
  fixture_.request.sourceDateEpoch = 1'000'000'000;
  const Digest before = builtAnew(kCopy);
  fixture_.progress.onStart = [&] { writeFile(fixture_.context.get(), "tree/a", "later"); };
  const Digest changed = fixture_.build(kCopy).config.diffIds.back();
  fixture_.progress.onStart = nullptr;
  EXPECT_EQ(changed, before);
  EXPECT_NE(fixture_.build(kCopy).config.diffIds.back(), before);
}

TEST_F(CopyAheadTest, KnowsTheFilesInTheNextBuild) {
  waitForTheClock(fixture_.context.get());
  fixture_.build(kCopy);
  StatCache cache{fixture_.layout, fixture_.request.contextDir};
  EXPECT_TRUE(cache.knowsBelow("tree/"));
  const struct stat st = sys::fstatat(fixture_.context.get(), "tree/a");
  const auto known = cache.find("tree/a", st);
  ASSERT_TRUE(known.has_value());
  EXPECT_EQ(known->content, Digest::of("first"));
}

TEST_F(CopyAheadTest, LeavesErrorsToTheCopyItself) {
  waitForTheClock(fixture_.context.get());
  writeFile(fixture_.context.get(), "tree/.wh.x", "");
  const Error error = fixture_.failure(kCopy);
  EXPECT_NE(error.cause().find("names that begin with \".wh.\""), std::string::npos)
      << error.cause();
  EXPECT_EQ(fixture_.failure("FROM scratch\nCOPY tree missing /to/\n").code(),
            "copy-source-missing");
}

TEST_F(CopyAheadTest, IsNoReasonToWriteASecret) {
  waitForTheClock(fixture_.context.get());
  Secret secret;
  secret.id = "token";
  secret.content = "program of great secrecy";
  writeFile(fixture_.context.get(), "tree/leak", secret.content);
  waitForTheClock(fixture_.context.get());
  fixture_.request.step.secrets.push_back(secret);
  fixture_.request.step.secretGuard = StepOptions::Guard::error;
  EXPECT_EQ(fixture_.failure(kCopy).code(), "secret-leak");
}

// Its mode in the layer is that of the plan, while the key is made of what it is by then.
TEST_F(CopyAheadTest, IsOfNoUseWhenAModeChangesBetweenPlanAndReading) {
  const int context = fixture_.context.get();
  writeFile(context, "tree/a", "first");
  const Fd first = sys::openat(context, "tree/a", O_RDONLY);
  ASSERT_EQ(::fsetxattr(first.get(), "user.note", "x", 1, 0), 0);
  waitForTheClock(context);
  CopyJob job;
  job.root = SourceRoot{context, true, nullptr, "the build context"};
  job.keyword = "COPY";
  job.sources = {"tree"};
  job.destination = "/to/";
  const auto isOfUse = [&](const std::function<void()>& whenTheFirstIsRead) {
    CopyAhead ahead{fixture_.layout};
    store::PlannedLayer planned{{}};
    store::PlanOptions options;
    options.takesXattr = [&](const std::string&) {
      whenTheFirstIsRead();
      return true;
    };
    StatCache cache{fixture_.layout, "context"};
    ahead.written(ahead.write(job, {planned, fixture_.layout.fd()}, ContentDigester{true, nullptr},
                              StepOptions{}, options),
                  cache);
    ContentDigester digester{true, &cache};
    Hasher key;
    addSource(key, digester, job, "tree");
    return ahead.isWhatWasSeen(digester.takeSeen());
  };
  EXPECT_TRUE(isOfUse([] {}));
  EXPECT_FALSE(isOfUse([&] {
    sys::check([&] { return ::fchmodat(context, "tree/run", 0700, 0); }, "chmod");
    waitForTheClock(context);
  }));
}

}  // namespace
}  // namespace img::builder
