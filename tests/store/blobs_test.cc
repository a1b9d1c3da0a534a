#include "store/blobs.h"

#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <thread>
#include <vector>

#include "base/process.h"
#include "tests/store/store_fixture.h"

namespace img::store {
namespace {

using test::errorOf;
using Blobs = test::StoreTest;

TEST_F(Blobs, AreReadOnlyFilesUnderTheirDigest) {
  ::unsetenv("IMG_DURABILITY");  // without fsync they are not (boot_test.cc)
  const Descriptor descriptor = putBlob(layout, "hello", media::kConfig);
  EXPECT_EQ(descriptor.digest, Digest::of("hello"));
  EXPECT_EQ(descriptor.size, 5U);
  EXPECT_EQ(descriptor.mediaType, media::kConfig);
  const auto st = sys::fstatat(layout.fd(), layout.blobPath(descriptor.digest));
  EXPECT_EQ(st.st_mode & 07777, 0444U);
  EXPECT_EQ(readBlob(layout, descriptor.digest), "hello");
  EXPECT_EQ(countIn("ingest"), 0U);
}

TEST_F(Blobs, MayBeCommittedTwice) {
  putBlob(layout, "same", media::kConfig);
  const auto first = sys::fstatat(layout.fd(), layout.blobPath(Digest::of("same")));
  putBlob(layout, "same", media::kConfig);
  EXPECT_EQ(sys::fstatat(layout.fd(), layout.blobPath(Digest::of("same"))).st_ino, first.st_ino);
  EXPECT_EQ(countIn("ingest"), 0U);
}

TEST_F(Blobs, ThatACrashHasCutShortAreReplaced) {
  const Digest digest = Digest::of("whole");
  fs::replaceFile(layout.blobs(), digest.hex(), "", 0444, fs::Sync::none);
  EXPECT_EQ(errorOf([&] { readBlob(layout, digest); }).code(), "digest-mismatch");
  putBlob(layout, "whole", media::kConfig);
  EXPECT_EQ(readBlob(layout, digest), "whole");
}

TEST_F(Blobs, OfAnotherDigestThanExpectedAreNotPublished) {
  BlobWriter writer{layout};
  writer.write(asBytes("something"));
  const Error error = errorOf([&] { writer.commit(media::kLayer, Digest::of("else")); });
  EXPECT_EQ(error.kind(), Kind::corrupt);
  EXPECT_EQ(error.code(), "digest-mismatch");
  EXPECT_EQ(countIn("blobs/sha256"), 0U);
}

TEST_F(Blobs, LeaveNothingWhenTheyAreNotCommitted) {
  { BlobWriter{layout}.write(asBytes("x")); }
  EXPECT_EQ(countIn("ingest"), 0U);
}

TEST_F(Blobs, ThatAreMissingAreNotFound) {
  const Digest digest = Digest::of("nothing");
  EXPECT_FALSE(hasBlob(layout, digest));
  EXPECT_EQ(errorOf([&] { std::ignore = openBlob(layout, digest); }).kind(), Kind::notFound);
  EXPECT_EQ(errorOf([&] { blobSize(layout, digest); }).kind(), Kind::notFound);
}

TEST_F(Blobs, ThatSomebodyChangedAreCorrupt) {
  const Digest digest = putBlob(layout, "genuine", media::kConfig).digest;
  fs::replaceFile(layout.blobs(), digest.hex(), "altered", 0444, fs::Sync::none);
  EXPECT_EQ(errorOf([&] { readBlob(layout, digest); }).code(), "digest-mismatch");
}

TEST_F(Blobs, ThatSomebodyChangedAreReplacedByTheNextWriter) {
  const Digest digest = putBlob(layout, "genuine", media::kConfig).digest;
  fs::replaceFile(layout.blobs(), digest.hex(), "altered", 0444, fs::Sync::none);
  putBlob(layout, "genuine", media::kConfig);
  EXPECT_EQ(readBlob(layout, digest), "genuine");
}

TEST_F(Blobs, OfADocumentHaveALimit) {
  const Digest digest = putBlob(layout, std::string(100, ' '), media::kConfig).digest;
  EXPECT_EQ(errorOf([&] { readBlob(layout, digest, 99); }).kind(), Kind::corrupt);
  EXPECT_EQ(readBlob(layout, digest, 100).size(), 100U);
}

TEST_F(Blobs, AreAdoptedFromAnIngestFolder) {
  const IngestDir staging{layout};
  fs::replaceFile(staging.fd(), "m0", "content", 0600, fs::Sync::none);
  adoptBlob(layout, staging, "m0", Digest::of("content"), 7);
  EXPECT_EQ(readBlob(layout, Digest::of("content")), "content");
  EXPECT_TRUE(fs::list(staging.fd()).empty());
}

TEST_F(Blobs, OfAProcessKilledBeforeTheRenameAreLitterOnly) {
  Child child = Child::fork([&] {
    ::setenv("IMG_FAILPOINT", "blobs.beforeRename", 1);
    return putBlob(layout, "lost", media::kConfig).digest.str();
  });
  EXPECT_THROW(child.finish(), Error);
  EXPECT_EQ(countIn("blobs/sha256"), 0U);
  EXPECT_EQ(countIn("ingest"), 1U);
  const Layout again = Layout::open(layout.root());
  again.recover();
  EXPECT_EQ(countIn("ingest"), 0U);
  putBlob(again, "lost", media::kConfig);
  EXPECT_TRUE(hasBlob(again, Digest::of("lost")));
}

TEST_F(Blobs, OnAFullDiskFailWithAHintAndGiveTheSpaceBack) {
  if (!test::isRoot()) GTEST_SKIP() << "mounting needs root";
  Child::fork([this] {
    const std::string disk = folder.path() + "/disk";
    sys::mkdirat(AT_FDCWD, disk, 0755);
    sys::unshare(CLONE_NEWNS);
    sys::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr);
    sys::mount("tmpfs", disk, "tmpfs", 0, "size=256k");
    const Layout small = Layout::open(disk);
    const Error error = errorOf([&] {
      BlobWriter writer{small};
      writer.write(asBytes(std::string(1 << 20, 'x')));
      writer.commit(media::kLayer);
    });
    if (error.code() != "no-space" || error.hints().empty()) throw Error{error};
    if (!fs::list(small.ingest()).empty()) throw Error{Kind::failed, "litter is left"};
    return putBlob(small, "small", media::kLayer).digest.str();
  }).finish();
}

// How many of the pages of a blob from `begin` on the page cache holds.
size_t cachedPages(const Layout& layout, const Digest& digest, size_t begin) {
  const Fd fd = openBlob(layout, digest);
  const size_t size = blobSize(layout, digest) - begin;
  void* map = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, fd.get(), static_cast<off_t>(begin));
  std::vector<unsigned char> pages((size + 4095) / 4096);
  EXPECT_EQ(::mincore(map, size, pages.data()), 0);
  ::munmap(map, size);
  return static_cast<size_t>(
      std::count_if(pages.begin(), pages.end(), [](unsigned char page) { return page & 1; }));
}

TEST_F(Blobs, ThatNeedNotBeCachedLeaveOnlyTheirBeginInThePageCache) {
  ::unsetenv("IMG_DURABILITY");  // what is not on the disk yet is cached
  constexpr size_t kBegin = size_t{64} << 20;
  const std::string block(size_t{512} << 10, 'b');
  const auto write = [&](std::string_view end, BlobWriter::Caching caching) {
    BlobWriter writer{layout, caching};
    while (writer.size() < kBegin + 8 * block.size()) writer.write(asBytes(block));
    writer.write(asBytes(end));
    return writer.commit(media::kLayer).digest;
  };
  const Digest kept = write("kept", BlobWriter::Caching::kept);
  const Digest dropped = write("dropped", BlobWriter::Caching::dropped);

  const Fd probe = sys::openat(layout.ingest(), "probe", O_RDWR | O_CREAT, 0600);
  const bool canDrop = writeUncached(probe.get(), asBytes(block), "probe");
  constexpr size_t kPages = 8 * 128 + 1;
  EXPECT_EQ(cachedPages(layout, kept, kBegin), kPages);
  // The kernel drops them some time after the disk has them; the page with the end may stay.
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds{10};
  while (canDrop && cachedPages(layout, dropped, kBegin) > 1) {
    ASSERT_LT(std::chrono::steady_clock::now(), deadline) << cachedPages(layout, dropped, kBegin);
    std::this_thread::yield();
  }
  if (!canDrop) {
    EXPECT_EQ(cachedPages(layout, dropped, kBegin), kPages);
  }
  EXPECT_NO_THROW(checkBlob(layout, dropped));
}

TEST_F(Blobs, AreNotTakenForLitterWhileTheyAreWritten) {
  BlobWriter writer{layout};
  writer.write(asBytes("in progress"));
  Child::fork([&] {
    Layout::open(layout.root()).recover();
    return std::string{};
  }).finish();
  EXPECT_EQ(writer.commit(media::kLayer).digest, Digest::of("in progress"));
}

}  // namespace
}  // namespace img::store
