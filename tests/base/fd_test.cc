#include "base/fd.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/process.h"
#include "base/sys.h"

namespace img {
namespace {

bool isOpen(int fd) {
  return ::fcntl(fd, F_GETFD) >= 0;
}

Fd memory(std::string_view content) {
  Fd fd{::memfd_create("test", MFD_CLOEXEC)};
  writeAll(fd.get(), content, "memory");
  ::lseek(fd.get(), 0, SEEK_SET);
  return fd;
}

TEST(Fd, IsClosedOnceAndEmptyAfterAMove) {
  int number = -1;
  {
    Fd first = memory("");
    number = first.get();
    Fd second{std::move(first)};
    EXPECT_FALSE(first);  // NOLINT(bugprone-use-after-move): what is tested
    EXPECT_EQ(second.get(), number);
    second = memory("");
    EXPECT_NE(second.get(), number);
    EXPECT_FALSE(isOpen(number)) << "assignment closes what was held";
    number = second.get();
  }
  EXPECT_FALSE(isOpen(number));
}

TEST(Fd, AssignedToItselfKeepsItsDescriptor) {
  Fd fd = memory("x");
  Fd& same = fd;
  fd = std::move(same);
  EXPECT_EQ(readAll(fd.get(), "x"), "x");
}

TEST(Fd, ReleasesWithoutClosing) {
  Fd fd = memory("");
  const Fd owner{fd.release()};
  EXPECT_FALSE(fd);
  EXPECT_TRUE(isOpen(owner.get()));
}

TEST(Fd, DuplicatesWithCloseOnExecAndSharedOffset) {
  const Fd fd = memory("abc");
  const Fd copy = fd.duplicate();
  EXPECT_NE(copy.get(), fd.get());
  EXPECT_NE(::fcntl(copy.get(), F_GETFD) & FD_CLOEXEC, 0);
  EXPECT_EQ(readAll(copy.get(), "copy"), "abc");
  EXPECT_EQ(readAll(fd.get(), "fd"), "");
  EXPECT_THROW((void)Fd{}.duplicate(), Error);
}

TEST(Fd, CloseReportsABadDescriptorAndForgetsIt) {
  Fd fd = memory("");
  ::close(fd.get());
  EXPECT_THROW(fd.close("memory"), Error);
  EXPECT_FALSE(fd);
  fd.close("nothing");
}

TEST(Pipe, IsCloseOnExecAtBothEnds) {
  const Pipe pipe = Pipe::make();
  EXPECT_NE(::fcntl(pipe.read.get(), F_GETFD) & FD_CLOEXEC, 0);
  EXPECT_NE(::fcntl(pipe.write.get(), F_GETFD) & FD_CLOEXEC, 0);
}

TEST(ReadAll, TakesExactlyTheLimitAndNotOneByteMore) {
  const std::string text(50'000, 'x');
  EXPECT_EQ(readAll(memory(text).get(), "t", text.size()), text);
  try {
    readAll(memory(text).get(), "t", text.size() - 1);
    ADD_FAILURE() << "read";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), Kind::corrupt);
    EXPECT_EQ(error.cause(), "t is longer than 49999 bytes");
  }
}

TEST(ReadFull, PutsThePiecesOfAPipeTogether) {
  Pipe pipe = Pipe::make();
  std::string got(300'000, '\0');
  Child writer = Child::fork([&] {
    pipe.read.reset();
    for (int i = 0; i < 200; ++i) writeAll(pipe.write.get(), std::string(1000, 'p'), "pipe");
    return std::string{};
  });
  pipe.write.reset();
  const size_t count = readFull(pipe.read.get(), std::as_writable_bytes(std::span{got}), "pipe");
  writer.finish();
  EXPECT_EQ(count, 200'000U) << "end of file comes before the buffer is full";
  EXPECT_EQ(got.substr(0, count), std::string(count, 'p'));
}

TEST(PreadFull, ReadsAtAnOffsetAndLeavesThePositionAlone) {
  const Fd fd = memory("0123456789");
  std::string got(4, '\0');
  EXPECT_EQ(preadFull(fd.get(), std::as_writable_bytes(std::span{got}), 3, "m"), 4U);
  EXPECT_EQ(got, "3456");
  EXPECT_EQ(preadFull(fd.get(), std::as_writable_bytes(std::span{got}), 8, "m"), 2U);
  EXPECT_EQ(readAll(fd.get(), "m"), "0123456789");
}

TEST(WriteAll, NamesItsObjectWhenItFails) {
  try {
    writeAll(-1, "x", "blob 7");
    ADD_FAILURE() << "written";
  } catch (const Error& error) {
    EXPECT_EQ(error.cause(), "write blob 7: Bad file descriptor (EBADF)");
  }
}

TEST(WriteUncached, WritesAtThePositionOrSaysThatItCannot) {
  const fs::TempDir folder;
  const Fd fd = sys::openat(folder.fd(), "file", O_RDWR | O_CREAT | O_EXCL, 0600);
  writeAll(fd.get(), std::string(4096, 'a'), "file");
  const std::string more(10'000, 'b');
  const bool isWritten = writeUncached(fd.get(), asBytes(more), "file");
  ::lseek(fd.get(), 0, SEEK_SET);
  EXPECT_EQ(readAll(fd.get(), "file"), std::string(4096, 'a') + (isWritten ? more : ""));
}

TEST(WriteUncached, WritesNothingIntoMemoryThatIsNothingButCache) {
  const Fd fd = memory("");
  EXPECT_FALSE(writeUncached(fd.get(), asBytes("x"), "memory"));
  EXPECT_EQ(readAll(fd.get(), "memory"), "");
}

TEST(WriteUncached, NamesItsObjectWhenItFails) {
  try {
    writeUncached(-1, asBytes("x"), "blob 7");
    ADD_FAILURE() << "written";
  } catch (const Error& error) {
    EXPECT_EQ(error.cause(), "write blob 7: Bad file descriptor (EBADF)");
  }
}

}  // namespace
}  // namespace img
