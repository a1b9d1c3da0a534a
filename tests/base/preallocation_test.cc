#include "base/preallocation.h"

#include <gtest/gtest.h>

#include "base/fs.h"
#include "base/sys.h"

namespace img {
namespace {

class Preallocations : public testing::Test {
 protected:
  [[nodiscard]] std::uint64_t size() const {
    return static_cast<std::uint64_t>(sys::fstat(file.get()).st_size);
  }
  [[nodiscard]] std::uint64_t allocated() const {
    return static_cast<std::uint64_t>(sys::fstat(file.get()).st_blocks) * 512;
  }
  // As a writer does it, in pieces; returns the most that was ever allocated.
  std::uint64_t write(std::uint64_t bytes) {
    const std::string piece(256 << 10, 'x');
    std::uint64_t most = 0;
    for (std::uint64_t at = 0; at < bytes;) {
      const size_t now = static_cast<size_t>(std::min<std::uint64_t>(piece.size(), bytes - at));
      blocks.grow(at, at + now);
      writeAll(file.get(), std::string_view{piece}.substr(0, now), "file");
      at += now;
      most = std::max(most, allocated());
    }
    return most;
  }
  const fs::TempDir dir;
  const Fd file = sys::openat(dir.fd(), "file", O_RDWR | O_CREAT, 0600);
  Preallocation blocks{file.get()};
};

TEST_F(Preallocations, AreAheadOfTheEndAndGivenBack) {
  constexpr std::uint64_t kBytes = (9 << 20) + 1;
  const std::uint64_t most = write(kBytes);
  EXPECT_EQ(size(), kBytes);
  EXPECT_GE(most, kBytes);
  blocks.trim(kBytes);
  EXPECT_EQ(size(), kBytes);
  EXPECT_LT(allocated(), kBytes + (1 << 20));
  EXPECT_EQ(fs::readFile(dir.fd(), "file", 16 << 20), std::string(kBytes, 'x'));
}

TEST_F(Preallocations, TakeNoMoreThanAsMuchAgain) {
  constexpr std::uint64_t kBytes = 20 << 20;
  EXPECT_LE(write(kBytes), 2 * kBytes + (1 << 20));
}

TEST_F(Preallocations, LeaveSmallFilesAlone) {
  EXPECT_LE(write(100'000), 200'000U);
  blocks.trim(100'000);
  EXPECT_EQ(size(), 100'000U);
}

TEST_F(Preallocations, AreNoMatterWhereThereAreNone) {
  const Pipe pipe = Pipe::make();
  Preallocation none{pipe.write.get()};
  none.grow(0, 64 << 20);
  none.grow(64 << 20, 128 << 20);
  none.trim(128 << 20);
}

}  // namespace
}  // namespace img
