#include "registry/blob_receiver.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <csignal>

#include "base/error.h"

namespace img::registry {
namespace {

using Trouble = BlobReceiver::Trouble;

HttpAnswer answer(long status, const std::string& length = "", const std::string& range = "") {
  HttpAnswer answer{Url::parse("https://r.example/")};
  answer.status = status;
  if (!length.empty()) answer.headers["content-length"] = length;
  if (!range.empty()) answer.headers["content-range"] = range;
  return answer;
}

class Blob : public testing::Test {
 protected:
  BlobReceiver make(std::uint64_t offset, std::uint64_t size) {
    return BlobReceiver{std::move(pipe_.write), offset, size};
  }
  // What is in the pipe now.
  std::string taken() {
    std::array<char, 4096> room{};
    const ssize_t count = ::read(pipe_.read.get(), room.data(), room.size());
    return {room.data(), static_cast<size_t>(std::max<ssize_t>(count, 0))};
  }
  Pipe pipe_ = Pipe::make();
};

TEST_F(Blob, AWholeAnswerIsDeliveredAsItIs) {
  BlobReceiver blob = make(0, 5);
  blob.expect(false);
  EXPECT_TRUE(blob.begin(answer(200, "5")));
  EXPECT_TRUE(blob.write(asBytes("he")));
  EXPECT_FALSE(blob.isComplete());
  EXPECT_TRUE(blob.write(asBytes("llo")));
  EXPECT_TRUE(blob.isComplete());
  EXPECT_EQ(taken(), "hello");
}

TEST_F(Blob, APartGoesOnWhereTheFirstAnswerEnded) {
  BlobReceiver blob = make(0, 5);
  blob.expect(false);
  blob.begin(answer(200, "5"));
  blob.write(asBytes("he"));
  blob.expect(true);
  EXPECT_TRUE(blob.begin(answer(206, "3", "bytes 2-4/5")));
  EXPECT_TRUE(blob.write(asBytes("llo")));
  EXPECT_EQ(taken(), "hello");
  EXPECT_EQ(blob.received(), 5);
}

TEST_F(Blob, AWholeAnswerInsteadOfAPartIsSkippedToThePlace) {
  BlobReceiver blob = make(3, 5);
  blob.expect(true);
  EXPECT_TRUE(blob.begin(answer(200, "5")));
  for (const char* piece : {"h", "el", "l", "o"}) EXPECT_TRUE(blob.write(asBytes(piece)));
  EXPECT_EQ(taken(), "lo");
  EXPECT_EQ(blob.received(), 5);
}

TEST_F(Blob, NotOneByteTooManyIsDelivered) {
  BlobReceiver blob = make(0, 5);
  blob.expect(false);
  blob.begin(answer(200));
  EXPECT_TRUE(blob.write(asBytes("hell")));
  EXPECT_FALSE(blob.write(asBytes("o!")));
  EXPECT_EQ(blob.trouble(), Trouble::wrongLength);
  EXPECT_EQ(taken(), "hell");
}

struct Head {
  std::string_view name;
  long status;
  bool isPart;
  std::string_view length, range;
  Trouble expected;
};
void PrintTo(const Head& c, std::ostream* out) {
  *out << c.name;
}
constexpr Head kHeads[] = {
    {"Right", 200, false, "10", "", Trouble::none},
    {"LengthUntold", 200, false, "", "", Trouble::none},
    {"TooLong", 200, false, "11", "", Trouble::wrongLength},
    {"TooShort", 200, false, "9", "", Trouble::wrongLength},
    {"RightPart", 206, true, "6", "bytes 4-9/10", Trouble::none},
    {"ShorterPart", 206, true, "2", "bytes 4-5/10", Trouble::none},
    {"PartOfUnknownSize", 206, true, "6", "bytes 4-9/*", Trouble::none},
    {"OtherPart", 206, true, "6", "bytes 5-9/10", Trouble::wrongRange},
    {"PartOfAnother", 206, true, "6", "bytes 4-9/11", Trouble::wrongRange},
    {"PartBeyondTheEnd", 206, true, "7", "bytes 4-10/*", Trouble::wrongRange},
    {"PartWithoutRange", 206, true, "6", "", Trouble::wrongRange},
    {"UnaskedPart", 206, false, "10", "bytes 0-9/10", Trouble::unasked},
    {"NoContent", 204, false, "", "", Trouble::unasked},
    {"Accepted", 202, true, "", "", Trouble::unasked},
};
class Heads : public testing::TestWithParam<Head> {};
TEST_P(Heads, AreJudgedBeforeTheBody) {
  const Head& c = GetParam();
  Pipe pipe = Pipe::make();
  BlobReceiver blob{std::move(pipe.write), 4, 10};
  blob.expect(c.isPart);
  const bool isTaken = blob.begin(answer(c.status, std::string{c.length}, std::string{c.range}));
  EXPECT_EQ(blob.trouble(), c.expected);
  EXPECT_EQ(isTaken, c.expected == Trouble::none);
}
INSTANTIATE_TEST_SUITE_P(Answers, Heads, testing::ValuesIn(kHeads),
                         [](const auto& test) { return std::string{test.param.name}; });

TEST_F(Blob, WaitsWhileThePipeIsFull) {
  const std::string much(size_t{3} << 20, 'x');
  BlobReceiver blob = make(0, much.size());
  blob.expect(false);
  blob.begin(answer(200));
  EXPECT_TRUE(blob.write(asBytes(much)));
  EXPECT_GE(blob.blockedOn(), 0);
  std::string got;
  while (blob.blockedOn() >= 0) {
    got += taken();
    blob.flush();
  }
  blob.close();
  for (std::string more = taken(); !more.empty(); more = taken()) got += more;
  EXPECT_EQ(got, much);
  EXPECT_TRUE(blob.isComplete());
}

TEST_F(Blob, AReaderThatHasGoneIsAnError) {
  std::signal(SIGPIPE, SIG_IGN);
  BlobReceiver blob = make(0, 5);
  pipe_.read.reset();
  blob.expect(false);
  blob.begin(answer(200));
  EXPECT_THROW(blob.write(asBytes("hello")), Error);
}

}  // namespace
}  // namespace img::registry
