#include "base/mapped_file.h"

#include <gtest/gtest.h>

#include "base/fs.h"

namespace img {
namespace {

class MappedFileTest : public testing::Test {
 protected:
  void write(const std::string& content) {
    fs::replaceFile(temp_.fd(), "file", content, 0600, fs::Sync::none);
  }
  fs::TempDir temp_;
};

TEST_F(MappedFileTest, ShowsTheWholeFile) {
  const std::string content(100'000, 'x');
  write(content);
  const auto mapped = MappedFile::tryOpen(temp_.fd(), "file", 1 << 20);
  ASSERT_TRUE(mapped);
  EXPECT_EQ(mapped->bytes(), content);
}

TEST_F(MappedFileTest, AnEmptyFileIsEmpty) {
  write("");
  EXPECT_EQ(MappedFile::tryOpen(temp_.fd(), "file", 10)->bytes(), "");
}

TEST_F(MappedFileTest, NothingIsShownOfAMissingOrTooLongFile) {
  EXPECT_FALSE(MappedFile::tryOpen(temp_.fd(), "file", 10));
  write("12345678901");
  EXPECT_FALSE(MappedFile::tryOpen(temp_.fd(), "file", 10));
}

TEST_F(MappedFileTest, KeepsShowingAFileThatWasReplaced) {
  write("old");
  auto first = MappedFile::tryOpen(temp_.fd(), "file", 10);
  write("new");
  const MappedFile moved = std::move(*first);
  EXPECT_EQ(moved.bytes(), "old");
}

}  // namespace
}  // namespace img
