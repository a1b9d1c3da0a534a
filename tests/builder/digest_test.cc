#include <gtest/gtest.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "builder/content_digest.h"
#include "tests/builder/support.h"

namespace img::builder {
namespace {

class ContentDigest : public testing::Test {
 protected:
  std::optional<Digest> digest(const SourceFilter& filter = {}) {
    const Fd handle = sys::openat(temp_.fd(), "tree", O_PATH);
    return ContentDigester{true, nullptr}.digest(handle.get(), "tree", filter);
  }
  fs::TempDir temp_;
};

TEST_F(ContentDigest, IsBlindForTimes) {
  writeFile(temp_.fd(), "tree/a", "1");
  const auto before = digest();
  sys::utimensat(temp_.fd(), "tree/a", {1, 0}, {1, 0});
  EXPECT_EQ(digest(), before);
}

TEST_F(ContentDigest, SeesContentModeNamesAndLinks) {
  writeFile(temp_.fd(), "tree/a", "1");
  const auto first = digest();
  writeFile(temp_.fd(), "tree/a", "2");
  const auto content = digest();
  EXPECT_NE(content, first);
  sys::fchmodat(temp_.fd(), "tree/a", 0755);
  const auto mode = digest();
  EXPECT_NE(mode, content);
  sys::renameat(temp_.fd(), "tree/a", temp_.fd(), "tree/b");
  const auto name = digest();
  EXPECT_NE(name, mode);
  sys::symlinkat("b", temp_.fd(), "tree/l");
  const auto link = digest();
  EXPECT_NE(link, name);
  sys::unlinkat(temp_.fd(), "tree/l", 0);
  sys::symlinkat("c", temp_.fd(), "tree/l");
  EXPECT_NE(digest(), link);
}

TEST_F(ContentDigest, SeesXattrs) {
  writeFile(temp_.fd(), "tree/a", "1");
  const auto before = digest();
  if (::setxattr((temp_.path() + "/tree/a").c_str(), "user.k", "v", 1, 0) != 0)
    GTEST_SKIP() << "no user xattrs here";
  EXPECT_NE(digest(), before);
}

TEST_F(ContentDigest, LeavesOutWhatIsIgnored) {
  writeFile(temp_.fd(), "tree/a", "1");
  const auto before = digest();
  writeFile(temp_.fd(), "tree/b.log", "1");
  const parser::IgnorePatterns ignore = parser::IgnorePatterns::compile({"**/*.log"});
  SourceFilter filter;
  filter.ignore = &ignore;
  EXPECT_EQ(digest(filter), before);
}

TEST_F(ContentDigest, TellsContentXattrsAndModeApart) {
  writeFile(temp_.fd(), "tree/a", "1", 0664);
  sys::symlinkat("a", temp_.fd(), "tree/l");
  const auto look = [&](bool isGit) {
    const Fd handle = sys::openat(temp_.fd(), "tree", O_PATH);
    ContentDigester digester{true, nullptr};
    if (isGit) digester.useGitPermissions();
    const auto whole = digester.digest(handle.get(), "tree", {});
    EXPECT_EQ(digester.seen().at(0).path, "tree/a");
    EXPECT_EQ(digester.seenOthers().at(0).link, "a");
    return std::pair{*whole, digester.seen().at(0)};
  };
  const auto [whole, file] = look(false);
  EXPECT_EQ(file.digest.content, Digest::of("1"));
  EXPECT_EQ(file.mode, mode_t{S_IFREG | 0664});
  EXPECT_EQ(look(true).second.mode, mode_t{S_IFREG | 0644});
  const Digest git = look(true).first;
  sys::fchmodat(temp_.fd(), "tree/a", 0644);
  EXPECT_NE(look(false).first, whole);
  EXPECT_EQ(look(false).second.digest.content, file.digest.content);
  EXPECT_EQ(look(true).first, git);
  sys::fchmodat(temp_.fd(), "tree/a", 0744);
  EXPECT_NE(look(true).first, git);
}

const FileDigest kDigest{Digest::of("x"), Digest::of("y"), 0};

class StatCacheTest : public testing::Test {
 protected:
  StatCacheTest() : layout_(store::Layout::open(temp_.path() + "/store")) {
    writeFile(temp_.fd(), "f", "1");
  }
  // Times long past: nothing here is racily clean.
  struct stat oldStat() {
    struct stat st = sys::fstatat(temp_.fd(), "f");
    st.st_mtim = {1000, 5};
    st.st_ctim = {1000, 6};
    return st;
  }
  fs::TempDir temp_;
  store::Layout layout_;
};

TEST_F(StatCacheTest, GivesBackWhatWasSaved) {
  const FileDigest digest{Digest::of("x"), Digest::of("y"), 7};
  StatCache first{layout_, "/context"};
  EXPECT_EQ(first.find("f", oldStat()), std::nullopt);
  first.remember("f", oldStat(), digest, currentNanoseconds());
  first.save();
  StatCache second{layout_, "/context"};
  ASSERT_NE(second.find("f", oldStat()), std::nullopt);
  EXPECT_EQ(*second.find("f", oldStat()), digest);
  StatCache other{layout_, "/elsewhere"};
  EXPECT_EQ(other.find("f", oldStat()), std::nullopt);
}

TEST_F(StatCacheTest, ForgetsAFileOfWhichAnythingChanged) {
  StatCache first{layout_, "/context"};
  first.remember("f", oldStat(), kDigest, currentNanoseconds());
  first.save();
  const auto isKnown = [&](auto change) {
    struct stat st = oldStat();
    change(st);
    return StatCache{layout_, "/context"}.find("f", st) != std::nullopt;
  };
  EXPECT_TRUE(isKnown([](struct stat&) {}));
  EXPECT_FALSE(isKnown([](struct stat& st) { ++st.st_size; }));
  EXPECT_FALSE(isKnown([](struct stat& st) { ++st.st_mtim.tv_nsec; }));
  EXPECT_FALSE(isKnown([](struct stat& st) { ++st.st_ctim.tv_nsec; }));
  EXPECT_FALSE(isKnown([](struct stat& st) { ++st.st_ino; }));
  EXPECT_FALSE(isKnown([](struct stat& st) { st.st_mode ^= 0100; }));
}

TEST_F(StatCacheTest, DoesNotTrustAFileThatWasReadInTheTickOfItsChange) {
  const struct stat st = sys::fstatat(temp_.fd(), "f");
  StatCache first{layout_, "/context"};
  first.remember("f", st, kDigest, nanoseconds(st.st_ctim) + 1);
  first.save();
  EXPECT_EQ((StatCache{layout_, "/context"}.find("f", st)), std::nullopt);
}

TEST_F(StatCacheTest, DoesNotTrustAFileOfAFileSystemWithWholeSecondsForSomeOfThem) {
  struct stat st = oldStat();
  st.st_mtim.tv_nsec = st.st_ctim.tv_nsec = 0;
  const auto isKeptWhenRead = [&](std::int64_t later) {
    StatCache cache{layout_, "/context"};
    cache.remember("f", st, kDigest, nanoseconds(st.st_ctim) + later);
    cache.save();
    return StatCache{layout_, "/context"}.find("f", st) != std::nullopt;
  };
  EXPECT_FALSE(isKeptWhenRead(900'000'000));
  EXPECT_FALSE(isKeptWhenRead(1'900'000'000)) << "FAT counts in twos";
  EXPECT_TRUE(isKeptWhenRead(3'000'000'000));
}

TEST_F(StatCacheTest, TakesADamagedFileForNoCache) {
  StatCache first{layout_, "/context"};
  first.remember("f", oldStat(), kDigest, currentNanoseconds());
  first.save();
  const Fd folder = sys::openDirectory(layout_.fd(), "cache/stat");
  const std::string name = fs::list(folder.get()).front().name;
  std::string text = fs::readFile(folder.get(), name);
  text[text.size() / 2] = static_cast<char>(text[text.size() / 2] ^ 1);
  fs::replaceFile(folder.get(), name, text, 0600, fs::Sync::none);
  EXPECT_EQ((StatCache{layout_, "/context"}.find("f", oldStat())), std::nullopt);
}

}  // namespace
}  // namespace img::builder
