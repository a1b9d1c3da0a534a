#include "builder/sealer.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/process.h"
#include "store/layers.h"
#include "tests/builder/support.h"

namespace img::builder {
namespace {

class SealerTest : public testing::Test {
 protected:
  fs::TempDir temp_;
  store::Layout layout_ = store::Layout::open(temp_.path() + "/store");
  StepCache cache_{layout_};
  StepLocks locks_{layout_};
  RecordingProgress progress_;
  StepOptions options_;
  Sealer sealer_{layout_, cache_, progress_, std::nullopt, options_};
  int number_ = 0;

  Sealer::Work work(const LayerRef& layer) {
    const Digest key = Digest::of("step " + std::to_string(++number_));
    StepLabel label;
    label.number = number_;
    label.text = "step";
    return {layer, {key}, key, key, label, locks_.tryLock(key), nullptr};
  }

  LayerRef layerWith(const std::string& name, std::string_view content) const {
    LayerRef layer = newLayer(layout_);
    writeFile(layer->folder.get(), name, content);
    return layer;
  }

  // One that cannot be sealed: its folder is none.
  [[nodiscard]] LayerRef brokenLayer() const {
    LayerRef layer = newLayer(layout_);
    layer->folder = sys::openat(AT_FDCWD, "/dev/null", O_RDONLY);
    return layer;
  }

  // What the event loop does, until nothing is left; counts the errors.
  int sealAll() {
    int errors = 0;
    while (!sealer_.isIdle()) {
      sealer_.startNext();
      std::vector<pollfd> polls;
      for (const int fd : sealer_.fds()) polls.push_back({fd, POLLIN, 0});
      if (polls.empty()) {
        ADD_FAILURE() << "work is left, and nothing would ever wake us";
        return errors;
      }
      ::poll(polls.data(), polls.size(), -1);
      try {
        sealer_.reap();
      } catch (const Error&) {
        ++errors;
      }
    }
    return errors;
  }
};

size_t moreThanRunAtOnce() {
  return static_cast<size_t>(std::max(1L, ::sysconf(_SC_NPROCESSORS_ONLN))) + 2;
}

TEST_F(SealerTest, LayersWaitNoLongerThanForAFailedOneToEnd) {
  // All that run at first fail.
  for (size_t i = 0; i < moreThanRunAtOnce(); ++i) sealer_.add(work(brokenLayer()), {});
  const LayerRef last = layerWith("file", "content");
  Sealer::Work good = work(last);
  const Digest key = good.state;
  sealer_.add(std::move(good), {});
  EXPECT_GT(sealAll(), 0);
  EXPECT_TRUE(last->diffId);
  EXPECT_TRUE(cache_.find(key));
}

TEST_F(SealerTest, ALayerThatWaitsIsSealedOverWhatLayBelowThoughItsStageHasEnded) {
  std::vector<LayerRef> earlier;
  for (size_t i = 0; i < moreThanRunAtOnce(); ++i) {
    earlier.push_back(layerWith("earlier", std::to_string(i)));
    sealer_.add(work(earlier.back()), {});
  }
  const LayerRef copied = newLayer(layout_);
  {
    Snapshot below;
    below.layers.push_back(layerWith("file", "content"));
    // A mark that hides "file", and one that hides nothing.
    for (const char* name : {"file", "nothing"})
      sys::mknodat(copied->folder.get(), name, S_IFCHR, 0);
    sealer_.add(work(copied), below);
  }
  // Whoever gets the numbers of descriptors that were closed too early.
  std::vector<Fd> others;
  for (int i = 0; i < 8; ++i) others.push_back(sys::openDirectory(temp_.fd(), "."));
  EXPECT_EQ(sealAll(), 0);
  ASSERT_TRUE(copied->diffId);
  const std::string blob = temp_.path() + "/store/" + layout_.blobPath(copied->descriptor->digest);
  EXPECT_EQ(runProgram({"tar", "tf", blob}).out, ".wh.file\n");
}

TEST_F(SealerTest, NoChildIsStartedBeforeTheOwnerWaits) {
  sealer_.add(work(layerWith("file", "content")), {});
  EXPECT_TRUE(sealer_.fds().empty());
  EXPECT_FALSE(sealer_.isIdle());
  sealer_.startNext();
  EXPECT_EQ(sealer_.fds().size(), 1U);
  EXPECT_EQ(sealAll(), 0);
}

TEST_F(SealerTest, TheFolderOfTheStepBecomesTheLayersAsItIs) {
  const LayerRef layer = layerWith("file", "content");
  for (const char* name : {"mounts", "work/work"}) fs::makeDirs(layer->work->fd(), name);
  writeFile(layer->work->fd(), "script", "echo");
  sealer_.add(work(layer), {});
  EXPECT_EQ(sealAll(), 0);
  EXPECT_TRUE(layer->work->name().empty());
  EXPECT_TRUE(fs::list(sys::openDirectory(layout_.ingest(), ".").get()).empty());
  const Fd place = sys::openDirectory(layout_.fd(), layout_.layerPath(*layer->diffId));
  std::vector<std::string> names;
  for (const fs::Entry& entry : fs::listSorted(place.get())) names.push_back(entry.name);
  EXPECT_EQ(names, (std::vector<std::string>{"fs", "meta"}));
  // Whoever holds the folder sees the layer.
  EXPECT_EQ(fs::readFile(layer->folder.get(), "file"), "content");
}

TEST_F(SealerTest, AnInitLayerStaysWhereLaterStepsHaveIt) {
  const LayerRef layer = layerWith("file", "content");
  fs::makeDirs(layer->work->fd(), "init/proc");
  sealer_.add(work(layer), {});
  EXPECT_EQ(sealAll(), 0);
  EXPECT_TRUE(store::Layers{layout_}.has(*layer->diffId));
  EXPECT_TRUE(sys::tryFstatat(layout_.fd(), layer->work->path() + "/init/proc"));
  EXPECT_FALSE(sys::tryFstatat(layout_.fd(), layer->work->path() + "/work"));
}

TEST_F(SealerTest, ALayerThatIsThereAlreadyLeavesTheFolderToTheBuild) {
  const LayerRef first = layerWith("file", "content"), second = newLayer(layout_);
  sealer_.add(work(first), {});
  EXPECT_EQ(sealAll(), 0);
  const timespec time = sys::fstatat(first->folder.get(), "file").st_mtim;
  writeFile(second->folder.get(), "file", "content");
  sys::utimensat(second->folder.get(), "file", time, time);
  sealer_.add(work(second), {});
  EXPECT_EQ(sealAll(), 0);
  EXPECT_EQ(second->diffId, first->diffId);
  EXPECT_TRUE(sys::tryFstatat(layout_.fd(), second->work->path() + "/fs/file"));
}

TEST_F(SealerTest, TheLockOfAStepIsFreeOnceItsRecordIsThere) {
  Sealer::Work first = work(layerWith("file", "content"));
  const Digest key = first.state;
  sealer_.add(std::move(first), {});
  EXPECT_FALSE(locks_.tryLock(key));
  EXPECT_EQ(sealAll(), 0);
  EXPECT_TRUE(locks_.tryLock(key));
  EXPECT_TRUE(cache_.find(key));
}

}  // namespace
}  // namespace img::builder
