#include "distribution/growing_blob.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/fs.h"
#include "base/json.h"
#include "base/sys.h"
#include "distribution/messages.h"
#include "store/blobs.h"

namespace img::distribution {
namespace {

class Growing : public testing::Test {
 protected:
  // The next word of the writer: the size; its file, if there is one, goes to `file_`.
  std::uint64_t hear() {
    Message message = receiveMessage(listener_.get(), Receive::ifThere, "writer");
    EXPECT_EQ(message.state, Message::State::arrived);
    if (message.fd) file_ = std::move(message.fd);
    return parseJson(message.text, "word")["size"].get<std::uint64_t>();
  }
  bool isQuiet() {
    return receiveMessage(listener_.get(), Receive::ifThere, "writer").state ==
           Message::State::none;
  }
  Fd makeSocket() {
    auto [ours, theirs] = sys::socketPair();
    listener_ = std::move(theirs);
    return std::move(ours);
  }

  fs::TempDir dir_;
  store::Layout layout_ = store::Layout::open(dir_.path() + "/store");
  store::StoreUse use_{layout_};
  Fd listener_, file_;
};

TEST_F(Growing, TellsHowFarItIsEveryMebibyteAndAtItsEnd) {
  GrowingBlob blob{layout_, makeSocket()};
  EXPECT_EQ(hear(), 0);
  const std::string half(512 << 10, 'a');
  blob.write(asBytes(half));
  EXPECT_TRUE(isQuiet());
  blob.write(asBytes(half));
  EXPECT_EQ(hear(), 1 << 20);
  blob.write(asBytes("end"));
  const store::Descriptor made = blob.commit();
  EXPECT_EQ(hear(), (1 << 20) + 3);
  EXPECT_EQ(made.size, (1 << 20) + 3);
  EXPECT_EQ(made.digest, Digest::of(half + half + "end"));
  EXPECT_EQ(store::blobSize(layout_, made.digest), made.size);
}

TEST_F(Growing, WhatIsHandedOutShowsTheBlobAndCannotBeWritten) {
  GrowingBlob blob{layout_, makeSocket()};
  hear();
  blob.write(asBytes("content"));
  EXPECT_EQ(readAll(file_.get(), "the file"), "content");
  EXPECT_EQ(::fcntl(file_.get(), F_GETFL) & O_ACCMODE, O_RDONLY);
}

TEST_F(Growing, IsMadeAsWellWhenNobodyListensAnyMore) {
  GrowingBlob blob{layout_, makeSocket()};
  listener_.reset();
  const std::string content(3 << 20, 'b');
  blob.write(asBytes(content));
  EXPECT_EQ(blob.commit().digest, Digest::of(content));
}

TEST_F(Growing, LeavesNothingWhenItIsGivenUp) {
  {
    GrowingBlob blob{layout_, {}};
    blob.write(asBytes("content"));
  }
  EXPECT_TRUE(fs::list(layout_.ingest()).empty());
  EXPECT_TRUE(fs::list(layout_.blobs()).empty());
}

}  // namespace
}  // namespace img::distribution
