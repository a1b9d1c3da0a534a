#include "runtime/attach.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>

#include "base/error.h"
#include "base/fs.h"
#include "base/sys.h"

namespace img::runtime::test {
namespace {

struct KeysCase {
  std::string_view name, keys, typed, passed;
  bool isComplete;
};
void PrintTo(const KeysCase& c, std::ostream* out) {
  *out << c.name;
}

constexpr KeysCase kKeysCases[] = {
    {"OrdinaryTextPasses", "ctrl-p,ctrl-q", "ls -l\r", "ls -l\r", false},
    {"TheSequenceEndsIt", "ctrl-p,ctrl-q", "ab\x10\x11", "ab", true},
    {"WhatFollowsIsLost", "ctrl-p,ctrl-q", "\x10\x11more", "", true},
    {"ABeginningIsHeldBack", "ctrl-p,ctrl-q", "a\x10", "a", false},
    {"ABeginningThatIsNoneComesLate", "ctrl-p,ctrl-q", "\x10x", "\x10x", false},
    {"ABeginningMayRepeat", "ctrl-p,ctrl-q", "\x10\x10\x11", "\x10", true},
    {"OneLetter", "q", "aq", "a", true},
    {"Brackets", "ctrl-],x", "\x1dx", "", true},
    {"NoSequence", "", "\x10\x11", "\x10\x11", false},
};
class Keys : public testing::TestWithParam<KeysCase> {};
TEST_P(Keys, LeaveOrPass) {
  DetachKeys keys{GetParam().keys};
  EXPECT_EQ(keys.pass(GetParam().typed), GetParam().passed);
  EXPECT_EQ(keys.isComplete(), GetParam().isComplete);
}
INSTANTIATE_TEST_SUITE_P(Typed, Keys, testing::ValuesIn(kKeysCases),
                         [](const auto& test) { return std::string{test.param.name}; });

TEST(DetachKeysText, ArrivesKeyByKeyToo) {
  DetachKeys keys{kDefaultDetachKeys};
  EXPECT_EQ(keys.pass("\x10"), "");
  EXPECT_FALSE(keys.isComplete());
  EXPECT_EQ(keys.pass("\x11"), "");
  EXPECT_TRUE(keys.isComplete());
}

TEST(DetachKeysText, RefusesWhatIsNoKey) {
  for (const char* text : {"ctrl-P", "ctrl-", "alt-x", "ctrl-p,,", "ctrl-1", "ab"}) {
    EXPECT_THROW(DetachKeys{text}, Error) << text;
  }
}

TEST(Frames, ComeBackWholeHoweverTheyArrive) {
  const std::string stream = frameOf('o', "first") + frameOf('e', "") + frameOf('o', "second");
  FrameReader reader;
  std::string seen;
  for (const char byte : stream) {
    reader.feed({&byte, 1});
    FrameReader::Frame frame;
    while (reader.next(frame)) seen += frame.kind + frame.content + ";";
  }
  EXPECT_EQ(seen, "ofirst;e;osecond;");
}

TEST(Frames, OfUnreasonableLengthAreRefused) {
  FrameReader reader;
  reader.feed(std::string("o\xff\xff\xff\x7f", 5));
  FrameReader::Frame frame;
  EXPECT_THROW(reader.next(frame), Error);
}

// The server driven as the monitor's loop does it.
class Attach : public testing::Test {
 protected:
  void turn(int timeoutMs = 2000) {
    std::vector<pollfd> polls;
    server.addTo(polls);
    ASSERT_GE(::poll(polls.data(), polls.size(), timeoutMs), 0);
    server.handle(polls);
  }
  Fd connect() {
    Fd socket = connectAttach(dir.fd());
    turn();
    return socket;
  }

  fs::TempDir dir;
  Fd folder = sys::openDirectory(dir.fd(), ".");
  AttachServer server{folder};
};

TEST_F(Attach, TheSocketIsPrivate) {
  const struct stat st = sys::fstatat(dir.fd(), kAttachSocket);
  EXPECT_TRUE(S_ISSOCK(st.st_mode));
  EXPECT_EQ(st.st_mode & 07777, 0600U);
}

TEST_F(Attach, OutputReachesEverybodyWhoIsThere) {
  const Fd first = connect();
  server.send(LogStream::out, "one");
  const Fd second = connect();
  server.send(LogStream::err, "two");
  server.finish();
  EXPECT_EQ(readAll(first.get(), "first"), frameOf('o', "one") + frameOf('e', "two"));
  EXPECT_EQ(readAll(second.get(), "second"), frameOf('e', "two"));
}

TEST_F(Attach, WhatIsTypedReachesTheContainer) {
  Pipe input = Pipe::make();
  server.setInput(input.write.get(), -1);
  const Fd client = connect();
  writeAll(client.get(), frameOf(kFrameInput, "ls\n"), "frame");
  turn();
  char typed[8] = {};
  EXPECT_EQ(::read(input.read.get(), typed, sizeof typed), 3);
  EXPECT_STREQ(typed, "ls\n");
}

TEST_F(Attach, AReaderThatStopsIsNoticedAndLosesNothingMeanwhile) {
  const Fd client = connect();
  std::string sent;
  while (!server.isBehind()) {
    server.send(LogStream::out, std::string(60000, 'x'));
    sent += std::string(60000, 'x');
    ASSERT_LT(sent.size(), size_t{64} << 20);
  }
  EXPECT_GT(server.timeoutMs(), 0);
  server.dropStalled();  // it has not stood still for long enough
  std::string got;
  FrameReader reader;
  char chunk[65536];
  while (got.size() < sent.size()) {
    turn(0);
    const ssize_t count = ::read(client.get(), chunk, sizeof chunk);
    ASSERT_GT(count, 0);
    reader.feed({chunk, static_cast<size_t>(count)});
    FrameReader::Frame frame;
    while (reader.next(frame)) got += frame.content;
  }
  EXPECT_EQ(got.size(), sent.size());
  EXPECT_FALSE(server.isBehind());
}

TEST_F(Attach, NonsenseEndsTheConnectionOnly) {
  const Fd bad = connect();
  writeAll(bad.get(), std::string(64, '\xff'), "nonsense");
  turn();
  EXPECT_EQ(readAll(bad.get(), "bad"), "");
  const Fd good = connect();
  server.send(LogStream::out, "still here");
  server.finish();
  EXPECT_EQ(readAll(good.get(), "good"), frameOf('o', "still here"));
}

TEST_F(Attach, AFolderWithoutAKeeperSaysSo) {
  const fs::TempDir empty;
  EXPECT_THROW(connectAttach(empty.fd()), Error);
}

TEST_F(Attach, ALongPathToTheStoreIsNoObstacle) {
  const Fd deep = fs::makeDirs(dir.fd(), std::string(100, 'a') + "/" + std::string(100, 'b'));
  AttachServer far{deep};
  EXPECT_TRUE(connectAttach(deep.get()));
}

}  // namespace
}  // namespace img::runtime::test
