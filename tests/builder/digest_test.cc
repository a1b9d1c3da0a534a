#include <gtest/gtest.h>
#include <libdeflate.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "builder/content_digest.h"
#include "builder/tree_digest.h"
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
    std::vector<SeenFile> files;
    std::vector<SeenOther> others;
    digester.seen().forEachFile([&](const SeenFile& file) { files.push_back(file); });
    digester.seen().forEachOther([&](const SeenOther& other) { others.push_back(other); });
    EXPECT_EQ(files.at(0).path, "tree/a");
    EXPECT_EQ(others.at(0).link, "a");
    return std::pair{*whole, files.at(0)};
  };
  const auto [whole, file] = look(false);
  EXPECT_EQ(file.content, Digest::of("1"));
  EXPECT_EQ(file.mode, mode_t{S_IFREG | 0664});
  EXPECT_EQ(look(true).second.mode, mode_t{S_IFREG | 0644});
  const Digest git = look(true).first;
  sys::fchmodat(temp_.fd(), "tree/a", 0644);
  EXPECT_NE(look(false).first, whole);
  EXPECT_EQ(look(false).second.content, file.content);
  EXPECT_EQ(look(true).first, git);
  sys::fchmodat(temp_.fd(), "tree/a", 0744);
  EXPECT_NE(look(true).first, git);
}

// Enough that several threads walk it, one folder with more entries than a thread takes at once.
class LargeTree : public testing::Test {
 protected:
  LargeTree() {
    for (int folder = 0; folder < 12; ++folder) {
      for (int file = 0; file < (folder == 7 ? 300 : 10); ++file)
        writeFile(temp_.fd(), fmt::format("tree/d{}/e/f{}", folder, file), fmt::format("{}", file));
      sys::symlinkat("f1", temp_.fd(), fmt::format("tree/d{}/e/l", folder));
    }
  }
  struct Looked {
    std::optional<Digest> digest;
    std::vector<std::string> paths;
    Seen seen;
  };
  Looked look(size_t threads, const SourceFilter& filter = {}, StatCache* cache = nullptr) {
    const Fd handle = sys::openat(temp_.fd(), "tree", O_PATH);
    const ContentDigester rules{true, cache};
    Looked looked;
    TreeDigest tree{rules, filter, threads};
    looked.digest = tree.run(handle.get(), sys::fstat(handle.get()), "tree", looked.seen);
    EXPECT_EQ(tree.hasThreads(), threads != 0);
    looked.seen.forEachFile([&](const SeenFile& file) {
      looked.paths.push_back(file.path + " " + file.content.shortHex());
    });
    looked.seen.forEachOther(
        [&](const SeenOther& other) { looked.paths.push_back(other.path + " -> " + other.link); });
    return looked;
  }
  fs::TempDir temp_;
};

TEST_F(LargeTree, IsTheSameForOneThreadAndForSeveral) {
  const Looked alone = look(0);
  EXPECT_EQ(alone.paths.size(), 11U * 10 + 300 + 12 + 25);
  for (int round = 0; round < 5; ++round) {
    const Looked together = look(3);
    EXPECT_EQ(together.digest, alone.digest);
    EXPECT_EQ(together.paths, alone.paths);
    EXPECT_EQ(alone.seen.firstChange(together.seen), std::nullopt);
  }
}

TEST_F(LargeTree, LeavesOutWhatIsIgnoredInSeveralThreads) {
  const parser::IgnorePatterns ignore =
      parser::IgnorePatterns::compile({"tree/*", "!tree/d7/e/f1*", "**/f11"});
  SourceFilter filter;
  filter.ignore = &ignore;
  const Looked alone = look(0, filter);
  const Looked together = look(3, filter);
  EXPECT_EQ(together.digest, alone.digest);
  EXPECT_EQ(together.paths, alone.paths);
  EXPECT_EQ(alone.paths.size(), 110U + 3U);  // f1, f10-f19, f100-f199 without f11, three folders
}

TEST_F(LargeTree, IsNotReadAgainWhenTheCacheKnowsIt) {
  const store::Layout layout = store::Layout::open(temp_.path() + "/store");
  // Files change their times in the tick in which they were written.
  const timespec old{1000, 5};
  for (const std::string& path : look(0).paths) {
    const std::string file = path.substr(0, path.find(' '));
    sys::utimensat(temp_.fd(), file, old, old);
  }
  StatCache first{layout, "/c"};
  first.remember("tree/d1/e/f3", sys::fstatat(temp_.fd(), "tree/d1/e/f3"),
                 {Digest::of("not its own"), Digest::of("x"), 0},
                 currentNanoseconds() + 10'000'000'000);
  first.save();
  StatCache second{layout, "/c"};
  const Looked known = look(3, {}, &second);
  EXPECT_NE(known.digest, look(0).digest) << "what the cache says counts";
  const std::string wanted = "tree/d1/e/f3 " + Digest::of("x").shortHex();
  EXPECT_EQ(std::count(known.paths.begin(), known.paths.end(), wanted), 1);
}

TEST_F(LargeTree, TellsTheFirstFileThatChanged) {
  const Looked before = look(0);
  const auto changeAfter = [&](const auto& change) {
    change();
    return before.seen.firstChange(look(3).seen).value_or("");
  };
  EXPECT_EQ(changeAfter([&] { writeFile(temp_.fd(), "tree/d7/z", "new"); }), "tree/d7/z");
  EXPECT_EQ(changeAfter([&] { writeFile(temp_.fd(), "tree/d7/e/f5", "longer"); }), "tree/d7/e/f5");
  EXPECT_EQ(changeAfter([&] { sys::unlinkat(temp_.fd(), "tree/d2/e/f0", 0); }), "tree/d2/e/f0");
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

TEST_F(StatCacheTest, SavesWhatItTookOverAndOnlyWhatWasFoundOfIt) {
  const FileDigest digest{Digest::of("x"), Digest::of("y"), 7};
  StatCache told{sys::openDirectory(temp_.fd(), "."), "told"};
  for (const char* path : {"b/f", "f", "b/g"})
    StatTable::setDigest(*told.expect(path, oldStat(), currentNanoseconds()), digest);
  told.save();
  for (const bool isAllFound : {true, false}) {
    const std::string context = isAllFound ? "/all" : "/some";
    StatCache cache{layout_, context};
    cache.absorb(temp_.fd(), "told");
    for (const char* path : {"f", "b/f"}) EXPECT_EQ(cache.find(path, oldStat()), digest);
    if (isAllFound) {
      EXPECT_EQ(cache.find("b/g", oldStat()), digest);
    }
    cache.save();
    StatCache saved{layout_, context};
    for (const char* path : {"f", "b/f"}) EXPECT_EQ(saved.find(path, oldStat()), digest);
    EXPECT_EQ(saved.find("b/g", oldStat()).has_value(), isAllFound);
  }
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

// Nor does a file that was made to look whole lead out of its bytes.
TEST_F(StatCacheTest, FollowsNoNumberThatLeadsOutOfTheFile) {
  constexpr size_t kChecksum = sizeof "img stat cache 5\n" - 1, kChecked = kChecksum + 4;
  constexpr size_t kFirst = 65;  // the number of the first file, in the folder's record
  StatCache first{layout_, "/context"};
  first.remember("f", oldStat(), kDigest, currentNanoseconds());
  first.save();
  const Fd folder = sys::openDirectory(layout_.fd(), "cache/stat");
  const std::string name = fs::list(folder.get()).front().name;
  const std::string whole = fs::readFile(folder.get(), name);
  for (size_t at = kChecked; at + 8 <= whole.size(); ++at) {
    std::string text = whole;
    text.replace(at, 8, 8, '\xff');
    const std::uint32_t checksum =
        ::libdeflate_crc32(0, text.data() + kChecked, text.size() - kChecked);
    std::memcpy(text.data() + kChecksum, &checksum, sizeof checksum);
    fs::replaceFile(folder.get(), name, text, 0600, fs::Sync::none);
    StatCache damaged{layout_, "/context"};
    const bool isKnown = damaged.find("f", oldStat()).has_value();
    EXPECT_FALSE(isKnown && at == kFirst);
    damaged.remember("g", oldStat(), kDigest, currentNanoseconds());
    damaged.save();
    EXPECT_TRUE((StatCache{layout_, "/context"}.find("g", oldStat()))) << at;
  }
}

}  // namespace
}  // namespace img::builder
