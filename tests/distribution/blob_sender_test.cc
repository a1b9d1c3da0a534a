#include "distribution/blob_sender.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <algorithm>

#include "store/blobs.h"
#include "store/lease.h"
#include "tests/distribution/remote_fixture.h"

namespace img::distribution::test {
namespace {

struct Told : PushProgress {
  void blobDone(const store::Descriptor&, std::string_view text) override {
    how.emplace_back(text);
  }
  std::vector<std::string> how;
};

class BlobSenderTest : public FakeRegistry {
 protected:
  BlobSenderTest() : layout_(store::Layout::open(dir().path() + "/store")), use_(layout_) {}

  // A layer that has to be compressed first.
  PushedBlob layer(size_t size) const {
    PushedBlob blob;
    blob.stored = store::putBlob(layout_, std::string(size, 'x'), store::media::kLayer);
    blob.diffId = blob.stored.digest;
    blob.form = LayerForm{Compression::gzip, 1};
    return blob;
  }
  // Sends it; the digest it has then.
  Digest send(const PushedBlob& blob) {
    const store::Reference destination = reference();
    Session session{destination, Action::push, AccessOptions{}};
    BlobSender sender{{layout_, session, destination}, told_};
    sender.add(blob);
    sender.run();
    return sender.replacements().at(blob.stored.digest).digest;
  }
  std::vector<std::string> operations() const {
    std::vector<std::string> names;
    for (const std::string& line : requests()) names.push_back(line.substr(0, line.find(' ')));
    return names;
  }

  static constexpr size_t kLarge = size_t{9} << 20;
  store::Layout layout_;
  store::StoreUse use_;
  Told told_;
};

TEST_F(BlobSenderTest, ALargeLayerIsSentWhileItIsCompressed) {
  const Digest sent = send(layer(kLarge));
  EXPECT_EQ(operations(), (std::vector<std::string>{"upload_growing", "has", "finish"}));
  EXPECT_EQ(Digest::of(read("blobs/" + sent.hex())), sent);
  EXPECT_TRUE(store::hasBlob(layout_, sent));
  EXPECT_EQ(told_.how, std::vector<std::string>{"pushed"});
}

TEST_F(BlobSenderTest, ASmallOneWhenItIsReady) {
  const Digest sent = send(layer(1000));
  EXPECT_EQ(operations(), (std::vector<std::string>{"has", "upload"}));
  EXPECT_EQ(Digest::of(read("blobs/" + sent.hex())), sent);
}

TEST_F(BlobSenderTest, WhatIsRefusedWhileItGrowsIsSentWhole) {
  write("faults/growing", "refused\n");
  const Digest sent = send(layer(kLarge));
  EXPECT_EQ(operations(), (std::vector<std::string>{"upload_growing", "has", "upload"}));
  EXPECT_EQ(Digest::of(read("blobs/" + sent.hex())), sent);
  EXPECT_EQ(told_.how, std::vector<std::string>{"pushed"});
}

TEST_F(BlobSenderTest, WhatTurnsOutToBeThereIsNotSentOn) {
  const PushedBlob blob = layer(kLarge);
  send(blob);
  fs::removeTree(layout_.fd(), "cache/compressed");
  forgetRequests();
  send(blob);
  EXPECT_EQ(operations(), (std::vector<std::string>{"upload_growing", "has", "cancel"}));
  EXPECT_EQ(told_.how.back(), "already there");
}

// On one processor img-remote often answers before its caller goes on.
class OneProcessor {
 public:
  OneProcessor() {
    EXPECT_EQ(::sched_getaffinity(0, sizeof before_, &before_), 0);
    cpu_set_t one;
    CPU_ZERO(&one);
    int cpu = 0;
    while (!CPU_ISSET(cpu, &before_)) ++cpu;
    CPU_SET(cpu, &one);
    EXPECT_EQ(::sched_setaffinity(0, sizeof one, &one), 0);
  }
  ~OneProcessor() { ::sched_setaffinity(0, sizeof before_, &before_); }

 private:
  cpu_set_t before_;
};

TEST_F(BlobSenderTest, AnAnswerThatComesAtOnceIsNotOverlooked) {
  const OneProcessor one;
  for (size_t i = 0; i < 8; ++i) send(layer(kLarge + i));
  EXPECT_EQ(told_.how, std::vector<std::string>(8, "pushed"));
}

}  // namespace
}  // namespace img::distribution::test
