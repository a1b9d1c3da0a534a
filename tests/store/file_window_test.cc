#include "store/file_window.h"

#include <gtest/gtest.h>

#include "base/fs.h"
#include "base/sys.h"

namespace img::store {
namespace {

class FileWindows : public testing::Test {
 protected:
  void put(std::string_view text, off_t at) const {
    ASSERT_EQ(::pwrite(file.get(), text.data(), text.size(), at),
              static_cast<ssize_t>(text.size()));
  }
  // What this process has read with system calls, proc_pid_io(5).
  static std::uint64_t bytesRead() {
    const std::string text = fs::readFile(AT_FDCWD, "/proc/self/io");
    return std::stoull(text.substr(text.find("rchar: ") + 7));
  }
  const fs::TempDir dir;
  const Fd file = sys::openat(dir.fd(), "file", O_RDWR | O_CREAT, 0600);
};

TEST_F(FileWindows, GiveEveryByteInOrder) {
  std::string text(300'000, '\0');
  for (size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>(i * 2654435761U >> 11);
  put(text, 0);
  FileWindow window{file.get(), "file"};
  std::string read;
  for (auto piece = window.next(); !piece.empty(); piece = window.next()) read += asText(piece);
  EXPECT_TRUE(read == text);
  EXPECT_EQ(window.skip(1), 0U);
}

TEST_F(FileWindows, GoOnBehindAGap) {
  put("first", 0);
  put("second", 1'000'000);
  FileWindow window{file.get(), "file"};
  const std::string head{asText(window.next())};
  EXPECT_TRUE(head.starts_with("first"));
  EXPECT_EQ(window.skip(1'000'000 - head.size()), 1'000'000 - head.size());
  EXPECT_EQ(asText(window.next()), "second");
  EXPECT_TRUE(window.next().empty());
}

TEST_F(FileWindows, SkipNoFurtherThanTheEnd) {
  put("12345", 0);
  FileWindow window{file.get(), "file"};
  EXPECT_EQ(window.skip(3), 3U);
  EXPECT_EQ(window.skip(3), 2U);
  EXPECT_TRUE(window.next().empty());
}

TEST_F(FileWindows, DoNotReadWhatIsSkipped) {
  constexpr std::uint64_t kGap = 1 << 20;
  for (int i = 0; i < 100; ++i) put("head", static_cast<off_t>(i * kGap));
  FileWindow window{file.get(), "file"};
  const std::uint64_t before = bytesRead();
  for (int i = 0; i < 99; ++i) {
    const auto piece = window.next();
    ASSERT_TRUE(asText(piece).starts_with("head")) << i;
    window.skip(kGap - piece.size());
  }
  EXPECT_LT(bytesRead() - before, 100 * 4096U);
}

}  // namespace
}  // namespace img::store
