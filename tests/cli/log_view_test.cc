#include "cli/log_view.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>

#include "base/fs.h"
#include "base/sys.h"

namespace img::cli {
namespace {

using runtime::LogReader;
using runtime::LogStream;
using runtime::LogWriter;

struct Shown {
  std::string out, err;
};

void collect(const std::vector<LogChunk>& chunks, Shown& shown) {
  for (const LogChunk& chunk : chunks) {
    (chunk.stream == LogStream::out ? shown.out : shown.err) += chunk.text;
  }
}

class Logs : public testing::Test {
 protected:
  fs::TempDir dir_;

  Shown show(LogFilter filter) {
    LogReader reader{dir_.fd()};
    LogView view{std::move(filter)};
    while (const auto line = reader.nextLine()) {
      if (const auto record = runtime::parseLogRecord(*line)) view.add(*record);
    }
    Shown shown;
    collect(view.finish(), shown);
    return shown;
  }
  void writeRaw(std::string_view text) {
    fs::replaceFile(dir_.fd(), "log", text, 0600, fs::Sync::none);
  }
};

TEST_F(Logs, ComeBackByteByByteAndStreamByStream) {
  const std::string bytes("a\n\nb\xff\x00\x1b[0m\n tail", 15);
  LogWriter writer{dir_.fd()};
  writer.write(LogStream::out, bytes);
  writer.write(LogStream::err, "e1\ne2");
  writer.write(LogStream::out, " goes on\nlast");
  const Shown shown = show({});
  EXPECT_EQ(shown.out, bytes + " goes on\nlast");
  EXPECT_EQ(shown.err, "e1\ne2");
}

TEST_F(Logs, ShowTheNameOncePerLine) {
  LogWriter writer{dir_.fd()};
  writer.write(LogStream::out, "one\ntw");
  writer.write(LogStream::out, "o\n");
  writer.write(LogStream::err, "three\n");
  LogFilter filter;
  filter.name = "web";
  const Shown shown = show(filter);
  EXPECT_EQ(shown.out, "web one\nweb two\n");
  EXPECT_EQ(shown.err, "web three\n");
}

TEST_F(Logs, OfAnEarlierRunAreKept) {
  LogWriter{dir_.fd()}.write(LogStream::out, "one\n");
  LogWriter{dir_.fd()}.write(LogStream::out, "two\n");
  EXPECT_EQ(show({}).out, "one\ntwo\n");
}

TEST_F(Logs, OutliveAFullDisk) {
  rlimit before{};
  ::getrlimit(RLIMIT_FSIZE, &before);
  const auto old = ::signal(SIGXFSZ, SIG_IGN);
  LogWriter writer{dir_.fd()};
  writer.write(LogStream::out, "before\n");
  const rlimit small{100, before.rlim_max};  // the second record fits in part
  ::setrlimit(RLIMIT_FSIZE, &small);
  EXPECT_NO_THROW(writer.write(LogStream::out, std::string(80, 'x') + "\n"));
  ::setrlimit(RLIMIT_FSIZE, &before);
  ::signal(SIGXFSZ, old);
  writer.write(LogStream::out, "after\n");
  EXPECT_EQ(show({}).out, "before\nafter\n");
}

TEST_F(Logs, RotateAndAreReadInOrder) {
  LogWriter writer{dir_.fd(), 100};
  for (const char c : {'a', 'b', 'c'}) writer.write(LogStream::out, std::string(40, c) + "\n");
  EXPECT_TRUE(sys::tryFstatat(dir_.fd(), "log.1"));
  EXPECT_EQ(show({}).out, std::string(40, 'a') + "\n" + std::string(40, 'b') + "\n" +
                              std::string(40, 'c') + "\n");
}

// A keeper that was late reads a lot at once.
TEST_F(Logs, RotateWithinWhatWasReadAtOnce) {
  constexpr size_t kLimit = 100;
  constexpr size_t kRecord = sizeof "2026-01-01T00:00:00.000000000Z stdout F line 99";
  std::string bytes;
  for (int i = 10; i < 100; ++i) bytes += fmt::format("line {}\n", i);
  LogWriter{dir_.fd(), kLimit, 3}.write(LogStream::out, bytes);
  for (const char* name : {"log.2", "log.1"}) {
    const auto size = static_cast<size_t>(sys::fstatat(dir_.fd(), name).st_size);
    EXPECT_GE(size, kLimit) << name;
    EXPECT_LT(size, kLimit + kRecord) << name;
  }
  const std::string kept = show({}).out;
  EXPECT_LT(kept.size(), bytes.size());
  EXPECT_TRUE(bytes.ends_with(kept)) << kept;
}

TEST_F(Logs, AReaderFollowsThroughARotation) {
  LogWriter writer{dir_.fd(), 50};
  LogReader reader{dir_.fd()};
  EXPECT_FALSE(reader.nextLine());
  writer.write(LogStream::out, std::string(60, 'a') + "\n");
  ASSERT_TRUE(reader.nextLine());
  EXPECT_FALSE(reader.nextLine());
  writer.write(LogStream::out, "b\n");
  const auto line = reader.nextLine();
  ASSERT_TRUE(line);
  EXPECT_EQ(runtime::parseLogRecord(*line)->text, "b");
}

TEST_F(Logs, AHalfWrittenLineWaitsForItsEnd) {
  writeRaw("2026-01-01T00:00:00.000000000Z stdout F a");
  LogReader reader{dir_.fd()};
  EXPECT_FALSE(reader.nextLine());
}

TEST_F(Logs, RubbishIsSkipped) {
  writeRaw(
      "garbage\n2026-01-01T00:00:00.000000000Z stdout X a\n2026-01-01T00:00:00.000000000Z stdout F "
      "good\n");
  EXPECT_EQ(show({}).out, "good\n");
}

constexpr char kFour[] =
    "2026-01-01T00:00:01.500000000Z stdout F one\n"
    "2026-01-01T00:00:02.500000000Z stderr P par\n"
    "2026-01-01T00:00:03.500000000Z stdout F two\n"
    "2026-01-01T00:00:04.500000000Z stderr F tial\n"
    "2026-01-01T00:00:05.500000000Z stdout P end\n";

struct Case {
  std::string_view name;
  LogFilter filter;
  std::string_view out, err;
};
void PrintTo(const Case& c, std::ostream* out) {
  *out << c.name;
}
const Case kCases[] = {
    {"All", {}, "one\ntwo\nend", "partial\n"},
    {"LastLine", {"", "", 1, false}, "end", ""},
    {"LastTwo", {"", "", 2, false}, "two\nend", ""},
    {"LastThreeWithTheWholePartialLine", {"", "", 3, false}, "two\nend", "partial\n"},
    {"MoreThanThereAre", {"", "", 99, false}, "one\ntwo\nend", "partial\n"},
    {"None", {"", "", 0, false}, "", ""},
    {"Since", {"2026-01-01T00:00:03Z", "", {}, false}, "two\nend", "tial\n"},
    {"Until", {"", "2026-01-01T00:00:03Z", {}, false}, "one\n", "par"},
    {"Timestamps",
     {"2026-01-01T00:00:03Z", "2026-01-01T00:00:04Z", {}, true},
     "2026-01-01T00:00:03.500000000Z two\n",
     ""},
};
class LogSelection : public Logs, public testing::WithParamInterface<Case> {};
TEST_P(LogSelection, ShowsWhatWasAskedFor) {
  writeRaw(kFour);
  const Shown shown = show(GetParam().filter);
  EXPECT_EQ(shown.out, GetParam().out);
  EXPECT_EQ(shown.err, GetParam().err);
}
INSTANTIATE_TEST_SUITE_P(Options, LogSelection, testing::ValuesIn(kCases),
                         [](const auto& test) { return std::string{test.param.name}; });

TEST_F(Logs, ATimestampStandsOnlyAtTheBeginningOfALine) {
  writeRaw(kFour);
  LogFilter filter;
  filter.timestamps = true;
  EXPECT_EQ(show(filter).err, "2026-01-01T00:00:02.500000000Z partial\n");
}

}  // namespace
}  // namespace img::cli
