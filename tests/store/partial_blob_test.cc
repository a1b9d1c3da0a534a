#include "store/partial_blob.h"

#include "base/process.h"
#include "tests/store/store_fixture.h"

namespace img::store::test {
namespace {

class PartialBlobTest : public testing::Test {
 protected:
  PartialBlobTest() : layout_(Layout::open(dir_.path() + "/store")) {
    ::setenv("IMG_DURABILITY", "fast", 1);
  }
  [[nodiscard]] bool isLeft() const {
    return sys::tryFstatat(layout_.ingest(), "partial/" + kDigest.hex()).has_value();
  }
  static void add(PartialBlob& partial, std::string_view text) { partial.append(asBytes(text)); }

  const std::string kText = "some bytes";
  const Digest kDigest = Digest::of(kText);
  fs::TempDir dir_;
  Layout layout_;
};

TEST_F(PartialBlobTest, OutlivesItsOwnerAndGoesOn) {
  {
    PartialBlob first{layout_, kDigest};
    add(first, "some ");
  }
  layout_.recover();
  PartialBlob second{layout_, kDigest};
  EXPECT_EQ(second.size(), 5);
  add(second, "bytes");
  second.publish();
  EXPECT_EQ(readBlob(layout_, kDigest), kText);
  EXPECT_FALSE(isLeft());
}

TEST_F(PartialBlobTest, AnEmptyOneLeavesNothing) {
  { PartialBlob partial{layout_, kDigest}; }
  EXPECT_FALSE(isLeft());
  {
    PartialBlob partial{layout_, kDigest};
    add(partial, "wrong");
    partial.clear();
    EXPECT_EQ(partial.size(), 0);
  }
  EXPECT_FALSE(isLeft());
}

TEST_F(PartialBlobTest, OneOfAKilledProcessThatIsOfNoUseGoes) {
  const auto kill = [&](std::string_view content) {
    Child owner = Child::fork([&]() -> std::string {
      PartialBlob partial{layout_, kDigest};
      add(partial, content);
      ::_exit(1);
    });
    EXPECT_ANY_THROW(owner.finish());
    EXPECT_TRUE(isLeft());
  };
  kill("");
  layout_.recover();
  EXPECT_FALSE(isLeft());
  kill("some ");
  putBlob(layout_, kText, "");  // by another way
  layout_.recover();
  EXPECT_FALSE(isLeft());
}

TEST_F(PartialBlobTest, OneThatSomebodyHasIsLeftAlone) {
  const PartialBlob partial{layout_, kDigest};
  layout_.recover();
  EXPECT_TRUE(isLeft());
}

TEST_F(PartialBlobTest, TheSecondWaitsForTheFirstAndFindsTheBlob) {
  std::optional<PartialBlob> first{std::in_place, layout_, kDigest};
  add(*first, kText);
  Pipe ready = Pipe::make();
  Child second = Child::fork([&] {
    writeAll(ready.write.get(), std::string_view{"x"}, "pipe");
    const PartialBlob waiting{layout_, kDigest};
    return std::string{hasBlob(layout_, kDigest) && waiting.size() == 0 ? "found" : "not found"};
  });
  std::byte started{};
  EXPECT_EQ(readFull(ready.read.get(), {&started, 1}, "pipe"), 1);
  first->publish();
  first.reset();
  EXPECT_EQ(second.finish(), "found");
  EXPECT_FALSE(isLeft());
}

TEST_F(PartialBlobTest, ALinkInItsPlaceIsNotFollowed) {
  const Fd folder = fs::makeDirs(layout_.ingest(), "partial");
  fs::replaceFile(AT_FDCWD, dir_.path() + "/victim", "untouched", 0600, fs::Sync::none);
  sys::symlinkat(dir_.path() + "/victim", folder.get(), kDigest.hex());
  EXPECT_EQ(errorOf([&] { PartialBlob partial(layout_, kDigest); }).errnum(), ELOOP);
  EXPECT_EQ(fs::readFile(AT_FDCWD, dir_.path() + "/victim"), "untouched");
}

}  // namespace
}  // namespace img::store::test
