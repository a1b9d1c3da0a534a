#include "builder/next_step.h"

#include <gtest/gtest.h>

#include <tuple>

#include "base/fs.h"
#include "base/sys.h"
#include "tests/builder/support.h"

namespace img::builder {
namespace {

class NextStepTest : public testing::Test {
 protected:
  fs::TempDir temp_;
  store::Layout layout_ = store::Layout::open(temp_.path() + "/store");
  SpareLayer spare_{layout_};

  [[nodiscard]] size_t folders() const {
    size_t count = 0;
    for (const fs::Entry& entry : fs::list(sys::openDirectory(layout_.ingest(), ".").get())) {
      if (entry.name != "partial") ++count;
    }
    return count;
  }
};

TEST_F(NextStepTest, ASpareLayerIsMadeOnlyWhenOneIsWanted) {
  spare_.make();
  EXPECT_EQ(folders(), 0U);
  spare_.want();
  spare_.make();
  spare_.make();
  EXPECT_EQ(folders(), 1U);
}

TEST_F(NextStepTest, TheSpareLayerIsTakenOnce) {
  spare_.want();
  spare_.make();
  const LayerRef first = spare_.take(), second = spare_.take();
  EXPECT_EQ(folders(), 2U);
  EXPECT_NE(first->work->name(), second->work->name());
  for (const LayerRef& layer : {first, second}) {
    EXPECT_TRUE(layer->isNew);
    EXPECT_TRUE(layer->folder);
    EXPECT_TRUE(sys::tryFstatat(layer->work->fd(), "work"));
  }
}

TEST_F(NextStepTest, OneThatIsWantedWhileAnotherIsThereIsMadeAfterThat) {
  spare_.want();
  spare_.make();
  spare_.want();
  const LayerRef first = spare_.take();
  spare_.make();
  EXPECT_EQ(folders(), 2U);
}

TEST_F(NextStepTest, ASpareLayerThatNobodyTookGoes) {
  {
    SpareLayer other{layout_};
    other.want();
    other.make();
    EXPECT_EQ(folders(), 1U);
  }
  EXPECT_EQ(folders(), 0U);
}

TEST_F(NextStepTest, WithoutRoomForASpareLayerNothingIsSaid) {
  std::ignore = layout_.ingest();
  fs::removeTree(layout_.fd(), "ingest");
  SpareLayer spare{layout_};
  spare.want();
  EXPECT_NO_THROW(spare.make());
  EXPECT_THROW(spare.take(), Error);
}

TEST_F(NextStepTest, ARunFollowsOnlyBehindTheStep) {
  PlannedStage planned;
  planned.steps.resize(4);
  planned.steps[0].body = parser::RunInstruction{};
  planned.steps[1].body = parser::CopyInstruction{};
  planned.steps[2].body = parser::RunInstruction{};
  planned.steps[3].body = parser::CopyInstruction{};
  EXPECT_TRUE(isRunFollowing(planned, planned.steps[0]));
  EXPECT_TRUE(isRunFollowing(planned, planned.steps[1]));
  EXPECT_FALSE(isRunFollowing(planned, planned.steps[2]));
  EXPECT_FALSE(isRunFollowing(planned, planned.steps[3]));
  EXPECT_FALSE(isRunFollowing(planned, parser::Step{}));
}

}  // namespace
}  // namespace img::builder
