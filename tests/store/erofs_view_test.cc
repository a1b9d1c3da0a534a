// The index of a layer's tar against the folder that the same tar becomes: what the hostile
// archives of the other tests do not have (they are indexed as well, see erofs_helpers.h).
#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <random>

#include "base/error.h"
#include "base/fs.h"
#include "base/sys.h"
#include "store/erofs_image.h"
#include "store/tar.h"
#include "tests/store/erofs_helpers.h"
#include "tests/store/tar_helpers.h"

namespace img::store {
namespace {

using testing_erofs::canMount, testing_erofs::describeAll, testing_erofs::indexAndMount,
    testing_erofs::unpackBothWays, testing_tar::isRoot, testing_tar::RawTar;

class ErofsView : public testing::Test {
 protected:
  void SetUp() override {
    if (!isRoot()) GTEST_SKIP() << "needs root for owners and devices";
    if (!canMount()) GTEST_SKIP() << "this kernel mounts no EROFS from files";
  }
  void compare(const std::string& tar) {
    const fs::TempDir folder;
    unpackBothWays(tar, folder.fd());
  }
  std::string refusal(const std::string& tar) {
    const fs::TempDir folder;
    try {
      unpackBothWays(tar, folder.fd());
    } catch (const Error& error) {
      return error.cause();
    }
    return "";
  }
};

std::string repeated(std::string_view text, size_t count) {
  std::string all;
  for (size_t i = 0; i < count; ++i) all += text;
  return all;
}

// A list of entries (tag, permissions, id) as an attribute has it.
std::string acl(const std::vector<std::array<std::uint32_t, 3>>& entries) {
  std::string value{"\2\0\0\0", 4};
  for (const auto& [tag, permissions, id] : entries) {
    for (const auto& [number, bytes] : {std::pair{tag, 2}, {permissions, 2}, {id, 4}}) {
      for (int i = 0; i < bytes; ++i) value += static_cast<char>(number >> 8 * i & 0xff);
    }
  }
  return value;
}
constexpr std::uint32_t kNobody = 0xffffffff;
const std::string kNamedUser =
    acl({{1, 7, kNobody}, {2, 5, 1000}, {4, 4, kNobody}, {0x10, 5, kNobody}, {0x20, 1, kNobody}});
const std::string kOnlyMode = acl({{1, 6, kNobody}, {4, 4, kNobody}, {0x20, 0, kNobody}});

TEST_F(ErofsView, ShowsEveryKindOfFile) {
  RawTar tar;
  tar.add({.name = "./", .type = '5', .mode = 01777, .uid = 70000, .gid = 80000, .mtime = 5});
  tar.folder("d").file("d/f", repeated("0123456789", 1000)).file("empty", "");
  tar.symlink("short", "d/f").symlink("long", repeated("x/", 900));
  tar.symlink("block", std::string(512, 'y'));
  tar.add({.name = "fifo", .type = '6', .mode = 0600}).hardLink("d/second", "d/f");
  tar.add({.name = "c", .type = '3', .devMajor = 4095, .devMinor = 0xfffff});
  tar.add({.name = "b", .type = '4', .devMajor = 8, .devMinor = 300});
  tar.hardLink("pipe", "fifo").hardLink("link", "short");
  compare(tar.end());
}

TEST_F(ErofsView, KeepsLargeIdsAndFineTimes) {
  compare(
      RawTar{}
          .pax({{"uid", "4294967294"}, {"gid", "3000000000"}, {"mtime", "1700000000.123456789"}})
          .file("a")
          .pax({{"mtime", "-1.5"}})
          .file("b")
          .end());
}

TEST_F(ErofsView, TimesBeyondThoseOfOtherFileSystems) {
  RawTar tar;
  int i = 0;
  for (const char* time : {"-2147483648.5", "-2147483649", "-99999999999", "-2147483647.5",
                           "15032385534.7", "15032385535.7", "15032385536", "253402300799"}) {
    tar.pax({{"mtime", time}}).file(fmt::format("f{}", i));
    tar.pax({{"mtime", time}}).folder(fmt::format("d{}", i));
    tar.pax({{"mtime", time}}).symlink(fmt::format("l{}", i++), "x");
  }
  compare(tar.end());
  const auto layer = indexAndMount(RawTar{}.pax({{"mtime", "253402300799.5"}}).file("f").end());
  const struct stat st = sys::fstatat(layer.root.get(), "f");
  EXPECT_EQ(st.st_mtim.tv_sec, 15032385535);
  EXPECT_EQ(st.st_mtim.tv_nsec, 0);
}

TEST_F(ErofsView, SortsDotsWhereTheyBelong) {
  // Names before, between and behind "." and "..", and enough of them for several blocks.
  RawTar tar;
  for (const char* name : {"!", "+", "-", ".a", "..b", "...", "/", "0", "~", "\x01", "\xff\xfe"})
    tar.file(std::string{"d/"} + name + "x");
  for (int i = 0; i < 200; ++i) tar.file(fmt::format("d/{}{:03}", std::string(i, 'n'), i), "");
  compare(tar.end());
}

TEST_F(ErofsView, LongNamesFillBlocksToTheByte) {
  RawTar tar;
  for (const size_t size : {255, 254, 250, 245, 200, 100, 1}) {
    for (char c = 'a'; c < 'e'; ++c)
      tar.pax({{"path", "d/" + std::string(size, c)}}).file("x", std::string(size, c));
  }
  compare(tar.end());
}

// The tail of a folder or link behind its inode may not cross a block, whatever stands before it.
TEST_F(ErofsView, TailsOfAllSizes) {
  RawTar tar;
  for (size_t size = 1; size < 1100; size += 7) {
    tar.pax({{"SCHILY.xattr.user.a", std::string(size % 90, 'v')}})
        .folder(fmt::format("d{}", size));
    tar.pax({{"path", fmt::format("d{}/{}", size, std::string(size % 250 + 1, 'n'))}}).file("x");
    tar.pax({{"linkpath", std::string(size, 't')}}).symlink(fmt::format("l{}", size), "t");
  }
  compare(tar.end());
}

TEST_F(ErofsView, KeepsAttributesAsTheKernelWould) {
  RawTar tar;
  const std::string capability{"\1\0\0\2\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20};
  tar.pax({{"SCHILY.xattr.user.small", "1"},
           {"SCHILY.xattr.user.large", std::string(3000, 'z')},
           {"SCHILY.xattr.security.capability", capability},
           {"SCHILY.xattr.security.selinux", "left out"},
           {"SCHILY.xattr.trusted.other", "left out"}});
  tar.file("a").hardLink("b", "a");
  // user.* only for files and folders.
  tar.pax({{"SCHILY.xattr.user.small", "1"}}).add({.name = "fifo", .type = '6'});
  tar.pax({{"SCHILY.xattr.user.small", "1"}}).symlink("link", "a");
  compare(tar.end());
}

TEST_F(ErofsView, AccessListsChangeTheMode) {
  RawTar tar;
  tar.pax({{"SCHILY.xattr.system.posix_acl_access", kNamedUser}}).file("named");
  tar.pax({{"SCHILY.xattr.system.posix_acl_access", kOnlyMode}}).file("mode");
  tar.pax({{"SCHILY.xattr.system.posix_acl_access", acl({})}}).file("none");
  tar.pax({{"SCHILY.xattr.system.posix_acl_access", acl({{1, 7, kNobody}, {2, 5, 1}})}});
  tar.file("incomplete");
  tar.pax({{"SCHILY.xattr.system.posix_acl_access", kNamedUser},
           {"SCHILY.xattr.system.posix_acl_default", kNamedUser}});
  tar.folder("d").file("d/inherits-nothing");
  tar.pax({{"SCHILY.xattr.system.posix_acl_access", kNamedUser}}).folder("twice");
  tar.add({.name = "twice", .type = '5', .mode = 0500});
  tar.pax({{"SCHILY.xattr.system.posix_acl_access", kNamedUser}}).add({.name = "f", .type = '6'});
  compare(tar.end());
}

TEST_F(ErofsView, ADefaultListOnAFileIsRefused) {
  const std::string cause = refusal(
      RawTar{}.pax({{"SCHILY.xattr.system.posix_acl_default", kNamedUser}}).file("f").end());
  EXPECT_NE(cause.find("posix_acl_default"), std::string::npos) << cause;
}

TEST_F(ErofsView, DeletionsAndWhatComesOverThem) {
  RawTar tar;
  tar.file(".wh.gone", "").file("d/.wh.gone", "").folder("o").file("o/.wh..wh..opq", "");
  tar.file(".wh.back", "").file("back", "again").file(".wh.dir", "").folder("dir").file("dir/x");
  tar.file("late").file(".wh.late", "").folder("kept").file("kept/x").file(".wh.kept", "");
  tar.file(".wh.parent", "").file("parent/inside");
  compare(tar.end());
}

TEST_F(ErofsView, LinksThatLoseTheirTarget) {
  EXPECT_NE(refusal(RawTar{}.file("d/t").hardLink("d", "d/t").end()), "");
  compare(RawTar{}.file("d/t").file("keep").hardLink("d/l", "keep").file("d", "now a file").end());
  compare(RawTar{}.file("a", "1").hardLink("b", "a").hardLink("c", "b").file("a", "2").end());
}

TEST_F(ErofsView, PathsAndTargetsBeyondTheKernelsLength) {
  const std::string deep = repeated("0123456789/", 400);
  EXPECT_NE(refusal(RawTar{}.pax({{"path", deep + "file"}}).file("x").end()), "");
  EXPECT_NE(refusal(RawTar{}.pax({{"linkpath", std::string(4096, 'x')}}).symlink("l", "x").end()),
            "");
  compare(RawTar{}.pax({{"linkpath", std::string(4095, 'x')}}).symlink("l", "x").end());
}

// --- Sparse files: offsets, lengths, size ---

struct SparseCase {
  const char* name;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> extents;
  std::uint64_t size;
};
void PrintTo(const SparseCase& c, std::ostream* out) {
  *out << c.name;
}

const SparseCase kSparse[] = {
    {"Empty", {}, 0},
    {"OneHole", {}, 5000},
    {"AlignedBlocks", {{4096, 4096}, {16384, 8192}}, 65536},
    {"DataAtTheEnd", {{1 << 20, 777}}, (1 << 20) + 777},
    {"DataAtTheStart", {{0, 512}}, 100000},
    {"OddPlaces", {{1, 3}, {513, 1}, {1000, 2000}, {9999, 1}}, 10000},
    {"OddLengthsMoveWhatFollows", {{0, 100}, {4096, 4096}, {12288, 5}}, 20000},
    {"TouchingExtents", {{0, 300}, {300, 212}, {512, 1024}}, 4096},
    {"FarApart", {{512, 512}, {std::uint64_t{1} << 30, 512}}, std::uint64_t{1} << 32},
    {"BeyondFourGiB", {{(std::uint64_t{5} << 30) + 512, 1024}}, (std::uint64_t{5} << 30) + 4096},
};

class SparseView : public ErofsView, public testing::WithParamInterface<SparseCase> {};

TEST_P(SparseView, IsTheSameFile) {
  const SparseCase& c = GetParam();
  StringSink sink;
  TarWriter writer{sink};
  TarEntry entry;
  entry.path = "sparse";
  entry.mode = 0644;
  entry.size = c.size;
  entry.sparse = true;
  std::string data;
  for (const auto& [offset, length] : c.extents) {
    entry.extents.push_back({offset, length});
    for (std::uint64_t i = 0; i < length; ++i) data += static_cast<char>('a' + (offset + i) % 23);
  }
  writer.add(entry);
  writer.data(std::as_bytes(std::span{data}));
  TarEntry next;
  next.path = "next";
  next.size = 4;
  writer.add(next);
  writer.data(std::as_bytes(std::span{"next", 4}));
  writer.finish();

  const auto layer = indexAndMount(sink.text);
  const Fd file = sys::openat(layer.root.get(), "sparse", O_RDONLY);
  EXPECT_EQ(sys::fstat(file.get()).st_size, static_cast<off_t>(c.size));
  size_t at = 0;
  for (const auto& [offset, length] : c.extents) {
    // A byte of the hole on both sides shows that nothing is out of place.
    const std::uint64_t before = offset > 0 ? 1 : 0;
    std::string got(before + length + 1, '?');
    const ssize_t count =
        ::pread(file.get(), got.data(), got.size(), static_cast<off_t>(offset - before));
    got.resize(static_cast<size_t>(std::max<ssize_t>(count, 0)));
    const bool touches = at > 0 && offset == c.extents[0].first + at;
    if (before > 0 && !touches) {
      EXPECT_EQ(got[0], '\0') << offset;
    }
    EXPECT_EQ(got.substr(before, length), data.substr(at, length)) << offset;
    at += length;
  }
  if (c.size <= (1 << 21)) compare(sink.text);
  EXPECT_EQ(fs::readFile(layer.root.get(), "next"), "next");
  // In proportion to what the archive holds, not to what the file claims.
  EXPECT_LT(sys::fstat(layer.index.get()).st_blocks, 400);
}
INSTANTIATE_TEST_SUITE_P(Files, SparseView, testing::ValuesIn(kSparse),
                         [](const auto& test) { return std::string{test.param.name}; });

// --- Many ---

TEST_F(ErofsView, ManyNamesInOneFolder) {
  StringSink sink;
  TarWriter writer{sink};
  for (int i = 0; i < 100'000; ++i) {
    TarEntry entry;
    entry.path = fmt::format("d/{}-{:07}", i % 7, i);
    entry.mode = 0644;
    writer.add(entry);
  }
  writer.finish();
  const auto layer = indexAndMount(sink.text);
  const Fd folder = sys::openDirectory(layer.root.get(), "d");
  EXPECT_EQ(fs::list(folder.get()).size(), 100'000U);
  for (const int i : {0, 1, 6, 7, 49'999, 99'999})
    EXPECT_TRUE(sys::tryFstatat(folder.get(), fmt::format("{}-{:07}", i % 7, i))) << i;
  EXPECT_FALSE(sys::tryFstatat(folder.get(), "3-0000004"));
}

// Trees of all kinds of entries, replaced and linked at random, from a seed.
class RandomTree {
 public:
  explicit RandomTree(unsigned seed) : random_(seed) {}
  std::string tar() {
    RawTar tar;
    for (int i = 0; i < 30; ++i) add(tar);
    return tar.end();
  }

 private:
  std::uint32_t below(std::uint32_t limit) { return static_cast<std::uint32_t>(random_() % limit); }
  std::string path() {
    static const char* const kNames[] = {"a",  "b", "c", "dd", "long-name-of-a-file",
                                         ".x", "+", "z"};
    std::string path = kNames[below(8)];
    while (below(3) > 0 && path.size() < 60) path += std::string{"/"} + kNames[below(8)];
    return path;
  }
  void add(RawTar& tar) {
    const std::string name = path();
    if (below(6) == 0) tar.pax({{"SCHILY.xattr.user.k", std::string(below(40), 'x')}});
    const auto mode = below(4096);
    switch (below(12)) {
      case 0: tar.symlink(name, below(2) != 0 ? "/" + path() : "../" + path()); break;
      case 1:
        files_.empty()
            ? tar.folder(name)
            : tar.hardLink(name, files_[below(static_cast<std::uint32_t>(files_.size()))]);
        break;
      case 2: tar.add({.name = name, .type = '6', .mode = mode}); break;
      case 3:
        tar.add({.name = name,
                 .type = '3',
                 .mode = mode,
                 .devMajor = 1 + below(9),
                 .devMinor = below(999)});
        break;
      case 4: tar.file(name + "/.wh.gone", ""); break;
      case 5: tar.file(name + "/.wh..wh..opq", ""); break;
      case 6:
      case 7:
        tar.add({.name = name, .type = '5', .mode = mode, .uid = below(3), .mtime = below(99999)});
        break;
      default:
        tar.add(
            {.name = name, .body = std::string(below(2000), 'f'), .mode = mode, .uid = below(99)});
        files_.push_back(name);
    }
  }

  std::mt19937 random_;
  std::vector<std::string> files_;
};

TEST_F(ErofsView, RandomTreesAreTheSameOrMeetTheSameRefusal) {
  int same = 0;
  for (unsigned seed = 0; seed < 50; ++seed) {
    SCOPED_TRACE(seed);
    same += refusal(RandomTree{seed}.tar()).empty() ? 1 : 0;
    if (HasFailure()) break;
  }
  EXPECT_GT(same, 10);  // a hard link to something that has gone refuses the rest
}

TEST_F(ErofsView, CutOffAnywhereMeetsTheSameRefusal) {
  const std::string tar = RawTar{}
                              .folder("d")
                              .pax({{"path", "d/" + std::string(120, 'n')}})
                              .file("x", std::string(1500, 'x'))
                              .gnuName('L', std::string(200, 'g'))
                              .file("y", "y")
                              .end();
  for (size_t size = 0; size < tar.size(); size += 211) {
    SCOPED_TRACE(size);
    refusal(tar.substr(0, size));
  }
}

TEST_F(ErofsView, TheSameTarGivesTheSameBytes) {
  const std::string tar = RandomTree{7}.tar() + "";
  const auto bytesOf = [&] {
    const fs::TempDir dir;
    const Fd index = sys::openat(dir.fd(), "index", O_RDWR | O_CREAT, 0600);
    StringSource source{tar};
    try {
      indexLayer(source, index.get(), "test");
    } catch (const Error& error) {
      return error.cause();
    }
    return fs::readFile(dir.fd(), "index");
  };
  EXPECT_EQ(bytesOf(), bytesOf());
}

}  // namespace
}  // namespace img::store
