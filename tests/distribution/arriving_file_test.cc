#include "distribution/arriving_file.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/fd.h"
#include "distribution/memory_file.h"

namespace img::distribution {
namespace {

// Adds to a file what the test sends, piece by piece; an empty piece is the end.
class Sent final : public Source {
 public:
  Sent() : file_(memoryFile("arriving")) {}
  [[nodiscard]] int file() const { return file_.get(); }

  void send(const std::string& piece) {
    const std::lock_guard lock{mutex_};
    pieces_.push_back(piece);
    changed_.notify_all();
  }
  void fail() {
    const std::lock_guard lock{mutex_};
    hasFailed_ = true;
    changed_.notify_all();
  }

  size_t read(std::span<std::byte> into) override {
    std::unique_lock lock{mutex_};
    changed_.wait(lock, [this] { return next_ < pieces_.size() || hasFailed_; });
    if (next_ == pieces_.size()) throw Error{Kind::failed, "the line is dead"};
    const std::string& piece = pieces_[next_++];
    EXPECT_LE(piece.size(), into.size());
    writeAll(file_.get(), piece, "a piece");
    return piece.size();
  }

 private:
  Fd file_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> pieces_;  // guarded by mutex_
  size_t next_ = 0;                  // guarded by mutex_
  bool hasFailed_ = false;           // guarded by mutex_
};

std::string readSome(Source& source, size_t room) {
  std::string text(room, '\0');
  text.resize(source.read(std::as_writable_bytes(std::span{text})));
  return text;
}

constexpr auto kNoSettling = [] {};

TEST(ArrivingFile, GivesWhatHasArrivedAndWaitsForTheRest) {
  Sent sent;
  ArrivingFile file{sent, sent.file(), kNoSettling};
  sent.send("first");
  EXPECT_EQ(readSome(file, 100), "first");
  sent.send("second");
  EXPECT_EQ(readSome(file, 3), "sec");
  EXPECT_EQ(readSome(file, 3), "ond");
  sent.send("");
  EXPECT_EQ(readSome(file, 3), "");
  EXPECT_EQ(readSome(file, 3), "");
  file.finish();
}

TEST(ArrivingFile, ReceivesToTheEndAndSettlesWithoutAReader) {
  Sent sent;
  bool isSettled = false;
  ArrivingFile file{sent, sent.file(), [&] { isSettled = true; }};
  for (int i = 0; i < 100; ++i) sent.send(std::string(1000, 'x'));
  sent.send("");
  file.finish();
  EXPECT_TRUE(isSettled);
  std::string all;
  while (true) {
    const std::string part = readSome(file, 999);
    if (part.empty()) break;
    all += part;
  }
  EXPECT_EQ(all, std::string(100'000, 'x'));
}

TEST(ArrivingFile, AFailureComesAfterTheBytesBeforeIt) {
  Sent sent;
  bool isSettled = false;
  ArrivingFile file{sent, sent.file(), [&] { isSettled = true; }};
  sent.send("the bytes before");
  sent.fail();
  EXPECT_THROW(file.finish(), Error);
  EXPECT_EQ(readSome(file, 100), "the bytes before");
  EXPECT_THROW(readSome(file, 100), Error);
  EXPECT_FALSE(isSettled);
}

TEST(ArrivingFile, WhatCannotSettleFailsAtTheEnd) {
  Sent sent;
  ArrivingFile file{sent, sent.file(), [] { throw Error{Kind::failed, "the disk is dead"}; }};
  sent.send("bytes");
  sent.send("");
  EXPECT_THROW(file.finish(), Error);
}

// There is always more of it.
class Endless final : public Source {
 public:
  Endless() : file_(memoryFile("endless")) {}
  [[nodiscard]] int file() const { return file_.get(); }
  size_t read(std::span<std::byte>) override {
    writeAll(file_.get(), std::string_view{"more"}, "a piece");
    return 4;
  }

 private:
  Fd file_;
};

TEST(ArrivingFile, AReaderThatGivesUpEndsTheReceiving) {
  Endless download;
  bool isSettled = false;
  {
    ArrivingFile file{download, download.file(), [&] { isSettled = true; }};
    EXPECT_EQ(readSome(file, 2), "mo");
  }
  EXPECT_FALSE(isSettled);
}

}  // namespace
}  // namespace img::distribution
