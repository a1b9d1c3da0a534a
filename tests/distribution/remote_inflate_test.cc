// Against the img-remote that was built beside these tests.
#include "distribution/remote_inflate.h"

#include <gtest/gtest.h>

#include <csignal>
#include <cstdlib>
#include <random>

#include "base/error.h"
#include "base/gunzip.h"
#include "base/process.h"
#include "base/sys.h"

namespace img::distribution {
namespace {

class FailingSource final : public Source {
 public:
  explicit FailingSource(std::string text) : inner_(std::move(text)) {}
  size_t read(std::span<std::byte> into) override {
    if (const size_t count = inner_.read(into)) return count;
    throw Error{Kind::denied, "the cable was pulled"};
  }

 private:
  StringSource inner_;
};

class RemoteInflate : public testing::Test {
 protected:
  void SetUp() override {
    ::signal(SIGPIPE, SIG_IGN);  // as in img
    const std::string self = sys::readlinkat(AT_FDCWD, "/proc/self/exe");
    const std::string folder = self.substr(0, self.rfind("/tests/"));
    ::setenv("IMG_REMOTE", (folder + "/bin/img-remote").c_str(), 1);
    std::mt19937 random{1};
    while (text_.size() < (size_t{12} << 20)) text_ += std::to_string(random()) + " ";
    packed_ = runProgram({"gzip", "-1", "-c"}, text_).out;
    ASSERT_GT(packed_.size(), size_t{4} << 20);
  }
  void TearDown() override { ::unsetenv("IMG_REMOTE"); }

  static std::string unpack(std::unique_ptr<Source> packed) {
    const auto plain = inflateRemotely(std::move(packed), "layer");
    return readAll(*plain, "layer");
  }
  static std::string unpack(const std::string& packed) {
    return unpack(std::make_unique<StringSource>(packed));
  }
  static Error errorOf(std::unique_ptr<Source> packed) {
    try {
      unpack(std::move(packed));
    } catch (const Error& error) {
      return error;
    }
    return Error{Kind::internal, "nothing was thrown"};
  }
  static std::string problemOf(const std::string& packed) {
    const Error error = errorOf(std::make_unique<StringSource>(packed));
    EXPECT_EQ(error.kind(), Kind::corrupt);
    return error.cause();
  }

  std::string text_, packed_;
};

TEST_F(RemoteInflate, GivesBackTheBytes) {
  EXPECT_TRUE(unpack(packed_) == text_);
  EXPECT_TRUE(unpack(packed_ + packed_) == text_ + text_);
  EXPECT_TRUE(unpack(packed_ + std::string(3'000'000, '\0')) == text_);
}

TEST_F(RemoteInflate, InflatesShortStreamsAndWithoutTheProgramHere) {
  EXPECT_EQ(unpack(runProgram({"gzip", "-c"}, "short").out), "short");
  ::setenv("IMG_REMOTE", "/nonexistent/img-remote", 1);
  EXPECT_TRUE(unpack(packed_) == text_);
}

TEST_F(RemoteInflate, CallsDamageCorrupt) {
  EXPECT_EQ(problemOf(packed_.substr(0, packed_.size() - 1)),
            "layer: damaged compressed data: it ends too early");
  EXPECT_EQ(problemOf(packed_.substr(0, packed_.size() / 2)),
            "layer: damaged compressed data: it ends too early");
  for (const size_t fromEnd : {size_t{1}, size_t{8}}) {  // of the length, of the CRC
    std::string wrong = packed_;
    wrong[wrong.size() - fromEnd] = static_cast<char>(wrong[wrong.size() - fromEnd] ^ 1);
    EXPECT_EQ(problemOf(wrong),
              "layer: damaged compressed data: its CRC-32 or its length is another one");
  }
  std::string broken = packed_;
  broken.replace(packed_.size() / 2, 4000, std::string(4000, '\xff'));
  EXPECT_TRUE(problemOf(broken).starts_with("layer: damaged compressed data: "));
}

TEST_F(RemoteInflate, PassesOnTheErrorOfItsInput) {
  const Error error =
      errorOf(std::make_unique<FailingSource>(packed_.substr(0, packed_.size() / 2)));
  EXPECT_EQ(error.kind(), Kind::denied);
  EXPECT_EQ(error.cause(), "the cable was pulled");
}

TEST_F(RemoteInflate, EndsWhenNobodyReadsOn) {
  const auto plain = inflateRemotely(std::make_unique<StringSource>(packed_), "layer");
  std::byte piece[100];
  EXPECT_GT(plain->read(piece), 0U);
}

TEST_F(RemoteInflate, IsWhatGunzipDoesWhereItIsInstalled) {
  installRemoteInflate();
  const auto plain = gunzip(std::make_unique<StringSource>(packed_), "layer");
  EXPECT_TRUE(readAll(*plain, "layer") == text_);
  installGunzip(gunzipHere);
}

}  // namespace
}  // namespace img::distribution
