#include "cli/byte_progress.h"

#include <gtest/gtest.h>

#include "base/fs.h"
#include "base/sys.h"

namespace img::cli {
namespace {

TEST(RenderBytes, ShowsBytesOfTheTotal) {
  EXPECT_EQ(renderBytes("loading a.tar", 12'000'000, 240'000'000, 80),
            "loading a.tar  12MB/240MB (5 %)");
  EXPECT_EQ(renderBytes("loading stdin", 12'000'000, 0, 80), "loading stdin  12MB");
  EXPECT_EQ(renderBytes("x", 99, 99, 80), "x  99B/99B (100 %)");
}

TEST(RenderBytes, NeverExceedsTotalOrTerminal) {
  EXPECT_EQ(renderBytes("x", 500, 400, 80), "x  500B/400B (100 %)");
  EXPECT_EQ(renderBytes("loading a.tar", 1, 2, 7), "loading");
}

TEST(ByteProgress, CountsAndShowsNothingWithoutATerminal) {
  fs::TempDir folder;
  const Fd err = sys::openat(folder.fd(), "err", O_WRONLY | O_CREAT, 0600);
  Context context{1, err.get()};
  ByteProgress progress{context, false, "loading", 10};
  StringSource inner{"0123456789"};
  CountedSource source{inner, progress};
  StringSink out;
  CountedSink sink{out, progress};
  copyAll(source, sink);
  progress.finish();
  EXPECT_EQ(out.text, "0123456789");
  EXPECT_EQ(fs::readFile(folder.fd(), "err"), "");
}

}  // namespace
}  // namespace img::cli
