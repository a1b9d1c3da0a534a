#include "builder/inputs.h"

#include <gtest/gtest.h>

#include "base/fs.h"
#include "base/sys.h"

namespace img::builder {
namespace {

InputRecord sample() {
  InputRecord record;
  record.place = {"/src/Dockerfile", "build", "COPY", 2, "COPY . /src"};
  record.buildId = "0123456789ab";
  record.at = "2026-08-21T10:11:12Z";
  record.step = 5;
  record.seconds = 1.25;
  record.list.add("parent", "", "abc");
  record.list.add("base", "debian:12", "def", "sha256:1");
  record.list.files = {{"a", S_IFDIR | 0755, 0, {}, 3, {}},
                       {"a/file", S_IFREG | 0644, 300, Digest::of("x"), 0, {}},
                       {"a/filter", S_IFREG | 04755, 0, Digest::of(""), 7, {}},
                       {"b", S_IFLNK | 0777, 0, {}, 0, "a/file"}};
  return record;
}

void expectSame(const InputRecord& a, const InputRecord& b) {
  EXPECT_EQ(a.place.dockerfile, b.place.dockerfile);
  EXPECT_EQ(a.place.stage, b.place.stage);
  EXPECT_EQ(a.place.kind, b.place.kind);
  EXPECT_EQ(a.place.position, b.place.position);
  EXPECT_EQ(a.place.text, b.place.text);
  EXPECT_EQ(a.buildId, b.buildId);
  EXPECT_EQ(a.at, b.at);
  EXPECT_EQ(a.step, b.step);
  EXPECT_DOUBLE_EQ(a.seconds, b.seconds);
  EXPECT_EQ(a.list.inputs, b.list.inputs);
  EXPECT_EQ(a.list.files, b.list.files);
}

TEST(InputCodec, GivesBackWhatWasWritten) {
  const auto back = decodeInputs(encodeInputs(sample()));
  ASSERT_TRUE(back);
  expectSame(*back, sample());
}

TEST(InputCodec, TakesATornOrDamagedRecordForNone) {
  const std::string bytes = encodeInputs(sample());
  for (size_t size = 0; size < bytes.size(); ++size)
    EXPECT_FALSE(decodeInputs(std::string_view{bytes}.substr(0, size))) << size;
  for (size_t at = 0; at < bytes.size(); ++at) {
    std::string damaged = bytes;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x40);
    EXPECT_FALSE(decodeInputs(damaged)) << at;
  }
}

TEST(InputCodec, NeedsFewBytesForAFile) {
  InputRecord record;
  for (int i = 0; i < 10000; ++i) {
    record.list.files.push_back({fmt::format("src/module-{:03}/file-{:05}.cc", i / 100, i),
                                 S_IFREG | 0644,
                                 4000,
                                 Digest::of(std::to_string(i)),
                                 0,
                                 {}});
  }
  EXPECT_LT(encodeInputs(record).size(), 10000U * 52);
}

TEST(InputList, KeepsOnlyTheDigestOfASecretAndOfAVeryLongValue) {
  InputList list;
  list.addVariable("arg", "NPM_TOKEN", "hunter2");
  list.addVariable("arg", "VERSION", "1.0");
  list.add("instruction", "RUN", std::string(100'000, 'x'));
  EXPECT_EQ(list.inputs[0].value, Digest::of("hunter2").str());
  EXPECT_EQ(list.inputs[1].value, "1.0");
  EXPECT_LT(list.inputs[2].value.size(), 100U);
}

class InputStoreTest : public testing::Test {
 protected:
  InputStoreTest() : layout_(store::Layout::open(temp_.path() + "/store")), inputs_(layout_) {}
  Digest write(const std::string& buildId, const StepPlace& place) {
    InputRecord record;
    record.buildId = buildId;
    record.place = place;
    const Digest key = Digest::of(buildId);
    inputs_.write({key}, record);
    return key;
  }
  std::string closest(const StepPlace& place) {
    const auto record = inputs_.findClosest(place);
    return record ? record->buildId : "none";
  }
  fs::TempDir temp_;
  store::Layout layout_;
  InputStore inputs_;
};

TEST_F(InputStoreTest, FindsTheNewestRecordOfTheSamePlace) {
  const StepPlace place{"/Dockerfile", "build", "RUN", 2, "RUN make"};
  EXPECT_EQ(closest(place), "none");
  write("one", place);
  write("two", place);
  EXPECT_EQ(closest(place), "two");
  write("one", place);
  EXPECT_EQ(closest(place), "one");
}

TEST_F(InputStoreTest, PrefersTheSameTextToTheSamePlace) {
  const StepPlace old{"/Dockerfile", "build", "RUN", 2, "RUN make"};
  write("old", old);
  StepPlace moved = old;
  moved.position = 3;
  EXPECT_EQ(closest(moved), "old");
  StepPlace edited = old;
  edited.text = "RUN make -j2";
  EXPECT_EQ(closest(edited), "old");
  write("third", {"/Dockerfile", "build", "RUN", 3, "RUN other"});
  EXPECT_EQ(closest(moved), "old");
}

TEST_F(InputStoreTest, KnowsTheTextOfAnotherDockerfileWhenThereIsNothingCloser) {
  write("other", {"/other/Dockerfile", "x", "RUN", 1, "RUN make"});
  EXPECT_EQ(closest({"/Dockerfile", "build", "RUN", 2, "RUN make"}), "other");
  write("here", {"/Dockerfile", "build", "RUN", 2, "RUN test"});
  EXPECT_EQ(closest({"/Dockerfile", "build", "RUN", 2, "RUN make"}), "here");
  EXPECT_EQ(closest({"/Dockerfile", "build", "COPY", 2, "COPY a b"}), "none");
}

TEST_F(InputStoreTest, KeepsAFewRecordsPerPlaceAndSkipsWhatIsDamaged) {
  const StepPlace place{"/Dockerfile", "build", "RUN", 2, "RUN make"};
  for (int i = 0; i < 20; ++i) write(std::to_string(i), place);
  const Fd folder = sys::openDirectory(layout_.fd(), "cache/inputs");
  fs::replaceFile(folder.get(), Digest::of("19").hex(), "not a record", 0600, fs::Sync::none);
  EXPECT_EQ(closest(place), "18");
  const Fd last = sys::openDirectory(layout_.fd(), "cache/last");
  for (const fs::Entry& entry : fs::list(last.get()))
    EXPECT_LT(fs::readFile(last.get(), entry.name).size(), 10U * 65);
}

TEST_F(InputStoreTest, SaysWhoRemovedALayerUntilTheStepIsExecutedAgain) {
  const Digest key = write("one", {"/Dockerfile", "build", "RUN", 2, "RUN make"});
  EXPECT_FALSE(findEviction(layout_, key));
  noteEviction(layout_, key, "img builder prune");
  const auto eviction = findEviction(layout_, key);
  ASSERT_TRUE(eviction);
  EXPECT_EQ(eviction->by, "img builder prune");
  EXPECT_FALSE(eviction->at.empty());
  write("one", {"/Dockerfile", "build", "RUN", 2, "RUN make"});
  EXPECT_FALSE(findEviction(layout_, key));
}

}  // namespace
}  // namespace img::builder
