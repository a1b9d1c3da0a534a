#include "builder/done_steps.h"

#include <gtest/gtest.h>

#include "builder/borrowed_starts.h"
#include "store/blobs.h"
#include "tests/builder/support.h"

namespace img::builder {
namespace {

using Origin = DoneStep::Origin;
using When = DoneSteps::When;

class DoneStepsTest : public testing::Test {
 protected:
  void seal(const LayerRef& layer, const std::string& content) const {
    layer->descriptor = store::putBlob(layout_, content, "application/vnd.oci.image.layer.v1.tar");
    layer->diffId = layer->descriptor->digest;
  }
  [[nodiscard]] LayerRef sealed(const std::string& content) const {
    auto layer = std::make_shared<Layer>();
    seal(layer, content);
    return layer;
  }
  [[nodiscard]] DoneStep step(const LayerRef& layer, std::vector<LayerRef> below,
                              Origin origin = Origin::made) const {
    return {origin, layer, std::move(below), {{definition_}, own_}, state_, "RUN true"};
  }
  [[nodiscard]] bool isKnown(const DoneStep& step) const {
    const auto key = step.contentKey();
    return key && cache_.find(*key);
  }
  [[nodiscard]] size_t records() const {
    return fs::list(sys::openDirectory(layout_.fd(), "cache/steps").get()).size();
  }
  // Gone records come back only if somebody writes them again.
  void forget(const Digest& key) const {
    const Fd folder = sys::openDirectory(layout_.fd(), "cache/steps");
    ASSERT_TRUE(sys::tryUnlinkat(folder.get(), key.hex(), 0));
  }

  fs::TempDir temp_;
  store::Layout layout_ = store::Layout::open(temp_.path() + "/store");
  StepCache cache_{layout_};
  DoneSteps done_;
  const Digest definition_ = Digest::of("definition"), own_ = Digest::of("own"),
               state_ = Digest::of("state");
};

TEST_F(DoneStepsTest, WhatIsCompleteIsKnownWhileOthersAreSealed) {
  const LayerRef base = sealed("base"), late = std::make_shared<Layer>();
  const DoneStep first = step(sealed("first"), {base}), second = step(late, {base, first.layer});
  done_.add(1, first);
  done_.add(2, second);
  done_.remember(cache_, When::meanwhile);
  EXPECT_TRUE(isKnown(first));
  EXPECT_EQ(records(), 1U) << "nothing of a layer that is not sealed";

  seal(late, "second");
  done_.remember(cache_, When::meanwhile);
  EXPECT_TRUE(isKnown(second));
  EXPECT_EQ(cache_.find(*second.contentKey())->layer->diffId, late->diffId);
}

TEST_F(DoneStepsTest, WaitsForTheLayersBelow) {
  const LayerRef below = std::make_shared<Layer>();
  const DoneStep above = step(sealed("above"), {below});
  done_.add(2, above);
  done_.remember(cache_, When::meanwhile);
  EXPECT_EQ(records(), 0U);
  seal(below, "below");
  done_.remember(cache_, When::end);
  EXPECT_TRUE(isKnown(above));
}

TEST_F(DoneStepsTest, WritesEachRecordOnce) {
  const DoneStep made = step(sealed("made"), {sealed("base")});
  done_.add(1, made);
  done_.remember(cache_, When::meanwhile);
  forget(*made.contentKey());
  done_.remember(cache_, When::meanwhile);
  done_.remember(cache_, When::end);
  EXPECT_EQ(records(), 0U);

  done_.add(1, made);  // in another attempt
  done_.remember(cache_, When::end);
  EXPECT_TRUE(isKnown(made));
}

TEST_F(DoneStepsTest, TriesAgainInTheEndWhatFailedMeanwhile) {
  const DoneStep made = step(sealed("made"), {sealed("base")});
  done_.add(1, made);
  {
    const Fd folder = sys::openDirectory(layout_.fd(), "cache/steps");
    sys::mkdirat(folder.get(), made.contentKey()->hex(), 0755);  // a file cannot replace it
    EXPECT_THROW(done_.remember(cache_, When::meanwhile), Error);
    ASSERT_EQ(::unlinkat(folder.get(), made.contentKey()->hex().c_str(), AT_REMOVEDIR), 0);
  }
  done_.remember(cache_, When::end);
  EXPECT_TRUE(isKnown(made));
}

TEST_F(DoneStepsTest, SaysNothingNewOfWhatWasFound) {
  done_.add(1, step(sealed("found"), {sealed("base")}, Origin::found));
  done_.remember(cache_, When::meanwhile);
  done_.remember(cache_, When::end);
  EXPECT_EQ(records(), 0U);
  EXPECT_EQ(done_.exported().size(), 1U);
}

TEST_F(DoneStepsTest, AStepOfItsOwnHasNoContentKey) {
  DoneStep alone = step(sealed("alone"), {sealed("base")});
  alone.isIndependent = true;
  done_.add(1, alone);
  done_.remember(cache_, When::meanwhile);
  done_.remember(cache_, When::end);
  EXPECT_EQ(records(), 0U);
}

TEST_F(DoneStepsTest, WhatWasImportedIsKnownByItsKeysAsSoonAsItIsFetched) {
  const LayerRef remote = std::make_shared<Layer>();
  const DoneStep imported = step(remote, {sealed("base")}, Origin::imported);
  done_.add(1, imported);
  done_.remember(cache_, When::meanwhile);
  done_.remember(cache_, When::end);
  EXPECT_EQ(records(), 0U) << "nobody has fetched it";
  seal(remote, "fetched");
  done_.remember(cache_, When::meanwhile);
  EXPECT_TRUE(cache_.find(definition_));
  EXPECT_TRUE(isKnown(imported));
}

TEST_F(DoneStepsTest, WhatWasImportedIsKnownInTheEndAlsoOverLayersThatNobodyFetched) {
  const DoneStep imported = step(sealed("fetched"), {std::make_shared<Layer>()}, Origin::imported);
  done_.add(1, imported);
  done_.remember(cache_, When::meanwhile);
  EXPECT_EQ(records(), 0U);
  done_.remember(cache_, When::end);
  EXPECT_TRUE(cache_.find(definition_));
  EXPECT_EQ(records(), 1U);
}

TEST(BorrowedStarts, AreBounded) {
  BorrowedStarts starts;
  for (int i = 0; i < BorrowedStarts::kMost; ++i) ASSERT_TRUE(starts.take()) << i;
  for (int i = 0; i < 3; ++i) EXPECT_FALSE(starts.take());
}

}  // namespace
}  // namespace img::builder
