#include "builder/wasted.h"

#include <gtest/gtest.h>

#include "store/whiteout.h"
#include "tests/builder/support.h"

namespace img::builder {
namespace {

constexpr std::uint64_t kMB = 1'000'000;

class WastedTest : public testing::Test {
 protected:
  // A layer with files of so many MB.
  int layer(const std::string& instruction,
            const std::vector<std::pair<std::string, int>>& files = {}) {
    const std::string name = std::to_string(layers.size());
    folders.push_back(fs::makeDirs(temp.fd(), name));
    StepLabel label;
    label.number = static_cast<int>(layers.size()) + 1;
    label.fileName = "Dockerfile";
    label.line = 11 + static_cast<int>(layers.size());
    label.text = instruction;
    const int folder = folders.back().get();
    for (const auto& [path, size] : files) {
      writeFile(folder, path, name);
      const Fd file = sys::openat(folder, path, O_WRONLY);
      sys::ftruncate(file.get(), static_cast<off_t>(size) * 1'000'000);
      const timespec time{1'000'000 + label.line, 0};  // a file made anew has a time of its own
      sys::futimens(file.get(), time, time);
    }
    layers.push_back({folder, label});
    return folder;
  }
  std::vector<std::string> found(std::uint64_t imageMB = 10) {
    std::vector<std::string> lines;
    for (const Waste& waste : findWaste(layers, imageMB * kMB))
      lines.push_back(std::to_string(waste.bytes / kMB) + "MB " + wasteText(waste));
    return lines;
  }

  fs::TempDir temp;
  std::vector<Fd> folders;
  std::vector<WasteLayer> layers;
};

TEST_F(WastedTest, NamesWhoWroteAFileAndWhoWroteItAgain) {
  layer("COPY . /src", {{"src/a", 3}, {"src/sub/b", 4}, {"src/c", 5}});
  layer("RUN chown -R app /src", {{"src/a", 3}, {"src/sub/b", 4}});
  EXPECT_EQ(found(), (std::vector<std::string>{
                         "7MB Dockerfile:12 chown -R copies files of Dockerfile:11; use COPY "
                         "--chown"}));
}

TEST_F(WastedTest, CountsDeletedFilesAndFolders) {
  layer("RUN make", {{"build/a", 2}, {"build/sub/b", 3}, {"x", 4}});
  const int second = layer("RUN rm -rf /build /x");
  store::makeWhiteout(second, "build");
  store::makeWhiteout(second, "x");
  EXPECT_EQ(found(), (std::vector<std::string>{
                         "9MB Dockerfile:12 rm -rf deletes files of Dockerfile:11; delete it in "
                         "the step that makes it"}));
}

TEST_F(WastedTest, CountsWhatAnOpaqueFolderHides) {
  layer("COPY a /a", {{"a/one", 2}});
  const int second = layer("RUN rm -r /a && mkdir /a", {{"a/two", 1}});
  store::markOpaque(sys::openDirectory(second, "a").get());
  EXPECT_EQ(found(), (std::vector<std::string>{
                         "2MB Dockerfile:12 rm -r deletes files of Dockerfile:11; do not copy "
                         "what is deleted"}));
}

TEST_F(WastedTest, CountsABytesLossOnce) {
  layer("COPY a /", {{"f", 2}});
  layer("RUN one", {{"f", 3}});
  layer("RUN two", {{"f", 4}});
  EXPECT_EQ(found(),
            (std::vector<std::string>{
                "3MB Dockerfile:13 two copies files of Dockerfile:12; do both in one step",
                "2MB Dockerfile:12 one copies files of Dockerfile:11; do both in one step"}));
}

TEST_F(WastedTest, DoesNotCountWhatADeletedFileHid) {
  layer("RUN one", {{"f", 5}});
  store::makeWhiteout(layer("RUN rm /f"), "f");
  layer("RUN again", {{"f", 2}});
  EXPECT_EQ(found(), (std::vector<std::string>{
                         "5MB Dockerfile:12 rm /f deletes files of Dockerfile:11; delete it in "
                         "the step that makes it"}));
}

TEST_F(WastedTest, LeavesOutWhatWasOnlyCopiedUp) {
  const int first = layer("RUN one", {{"f", 5}});
  const int second = layer("RUN two", {{"f", 5}});
  const struct stat st = sys::fstatat(first, "f");
  sys::utimensat(second, "f", st.st_atim, st.st_mtim);
  EXPECT_EQ(found(), std::vector<std::string>{});
}

TEST_F(WastedTest, IsSilentBelowOneMegabyteOrOnePercent) {
  layer("RUN one", {{"f", 1}});
  layer("RUN two", {{"f", 1}});
  EXPECT_EQ(found(), std::vector<std::string>{}) << "not above 1 MB";
  layer("RUN three", {{"f", 1}});
  EXPECT_EQ(found().size(), 2u);
  EXPECT_EQ(found(300), std::vector<std::string>{}) << "2 MB of 300 MB";
}

TEST_F(WastedTest, FollowsNoLinks) {
  layer("RUN one", {{"real/f", 5}});
  const int second = layer("RUN two");
  sys::symlinkat("../0/real", second, "link");
  sys::symlinkat(temp.path() + "/0/real", second, "real");  // in the place of the folder
  EXPECT_EQ(
      found().front(),
      "5MB Dockerfile:12 two deletes files of Dockerfile:11; delete it in the step that makes "
      "it");
}

TEST(WastedInABuild, IsPartOfTheResult) {
  BuildFixture fixture;
  const std::string big(3'000'000, 'x');
  writeFile(fixture.context.get(), "big", big);
  fixture.build("FROM scratch\nCOPY big /a\nCOPY big /a\n");
  EXPECT_TRUE(fixture.result.wasted.empty()) << "the same bytes and time are left out of the layer";
  writeFile(fixture.context.get(), "other", big + "y");
  fixture.build("FROM scratch\nCOPY big /a\nWORKDIR /w\nCOPY other /a\n");
  EXPECT_TRUE(fixture.result.wasted.empty()) << "the first layer is not new";
  fixture.build("FROM scratch\nWORKDIR /v\nCOPY big /a\nCOPY other /a\n");
  ASSERT_EQ(fixture.result.wasted.size(), 1u);
  EXPECT_EQ(fixture.result.wasted[0].bytes, big.size());
  EXPECT_EQ(fixture.result.wasted[0].earlier.line, 3);
  EXPECT_EQ(fixture.result.wasted[0].later.line, 4);
}

}  // namespace
}  // namespace img::builder
