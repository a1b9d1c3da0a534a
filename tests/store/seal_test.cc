#include "store/seal.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstring>

#include "base/error.h"
#include "base/fs.h"
#include "base/process.h"
#include "base/sys.h"
#include "store/holes.h"
#include "store/layout.h"
#include "store/tar.h"
#include "store/unpack.h"
#include "tests/store/tar_helpers.h"

namespace img::store {
namespace {

using testing_tar::describeTree, testing_tar::hasProgram, testing_tar::isRoot,
    testing_tar::readText, testing_tar::setTime, testing_tar::writeFile;

std::string seal(const std::string& upper, const SealOptions& options = {}) {
  StringSink sink;
  writeLayerTar(sys::openDirectory(AT_FDCWD, upper).get(), sink, options);
  return sink.text;
}

// "type path[ -> target]" per entry.
std::vector<std::string> listTar(const std::string& tar) {
  StringSource source{tar};
  TarReader reader{source, "test"};
  std::vector<std::string> lines;
  constexpr char kLetters[] = "fhlcbdp";
  while (const TarEntry* entry = reader.next()) {
    std::string line{kLetters[static_cast<size_t>(entry->type)]};
    line += (entry->sparse ? "s " : " ") + entry->path;
    if (!entry->linkTarget.empty()) line += " -> " + entry->linkTarget;
    lines.push_back(line);
  }
  return lines;
}

using Lines = std::vector<std::string>;

class SealTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!isRoot()) GTEST_SKIP() << "needs root for owners, devices and trusted attributes";
    upper_ = make("upper");
  }
  std::string make(const std::string& name) {
    const std::string path = dir_.path() + "/" + name;
    sys::mkdirat(AT_FDCWD, path, 0755);
    return path;
  }
  std::string at(const std::string& path) const { return upper_ + "/" + path; }
  void folder(const std::string& path, mode_t mode = 0755) {
    sys::mkdirat(AT_FDCWD, at(path), mode);
    sys::fchmodat(AT_FDCWD, at(path), mode);
  }
  // Seals, unpacks, compares, seals again: the same tree and the same bytes (T16).
  void expectRoundTrip() {
    const std::string tar = seal(upper_);
    const std::string copy = make("copy");
    StringSource source{tar};
    unpackLayer(source, sys::openDirectory(AT_FDCWD, copy).get(), "test");
    EXPECT_EQ(describeTree(upper_), describeTree(copy));
    EXPECT_EQ(tar, seal(copy));
  }

  fs::TempDir dir_;
  std::string upper_;
};

TEST_F(SealTest, KeepsOrdinaryThings) {
  folder("etc");
  writeFile(at("etc/passwd"), "root:x:0:0\n");
  sys::symlinkat("../etc/passwd", AT_FDCWD, at("etc/link"));
  setTime(at("etc/link"), 12345, 678);
  sys::lchownat(AT_FDCWD, at("etc/link"), 3, 4);
  writeFile(at("empty"), "");
  folder("var");
  setTime(at("var"), 86400);
  expectRoundTrip();
}

TEST_F(SealTest, KeepsTheOrderOfWholeComponents) {
  folder("a");
  writeFile(at("a/x"), "1");
  writeFile(at("a.b"), "2");
  writeFile(at("B"), "3");
  EXPECT_EQ(listTar(seal(upper_)), (Lines{"f B", "d a/", "f a/x", "f a.b"}));
}

TEST_F(SealTest, KeepsSetuidStickyAndOwners) {
  writeFile(at("su"), "x", 04755);
  sys::lchownat(AT_FDCWD, at("su"), 0, 0);
  sys::fchmodat(AT_FDCWD, at("su"), 04755);
  folder("shared", 0);
  sys::lchownat(AT_FDCWD, at("shared"), 1000, 2000);
  sys::fchmodat(AT_FDCWD, at("shared"), 03777);
  writeFile(at("shared/inherits"), "y");
  writeFile(at("locked"), "z", 0);
  expectRoundTrip();
}

TEST_F(SealTest, KeepsIdsBeyondTheHeaderField) {
  writeFile(at("big"), "x");
  sys::lchownat(AT_FDCWD, at("big"), 4294967294U, 3000000);
  expectRoundTrip();
}

TEST_F(SealTest, KeepsTimesOfEveryKind) {
  for (const auto& [name, seconds] :
       std::map<std::string, std::int64_t>{{"old", -1000}, {"now", 1700000000}}) {
    writeFile(at(name), name);
    setTime(at(name), seconds, 123456789);
  }
  writeFile(at("whole"), "x");
  setTime(at("whole"), 1700000001);
  expectRoundTrip();
}

TEST_F(SealTest, KeepsHardLinksWithinTheLayer) {
  folder("b");
  writeFile(at("b/file"), "content");
  sys::linkat(AT_FDCWD, at("b/file"), AT_FDCWD, at("a"), 0);
  sys::linkat(AT_FDCWD, at("b/file"), AT_FDCWD, at("c"), 0);
  sys::symlinkat("x", AT_FDCWD, at("s1"));
  sys::linkat(AT_FDCWD, at("s1"), AT_FDCWD, at("s2"), 0);
  EXPECT_EQ(listTar(seal(upper_)),
            (Lines{"f a", "d b/", "h b/file -> a", "h c -> a", "l s1 -> x", "h s2 -> s1"}));
  expectRoundTrip();
}

TEST_F(SealTest, KeepsFifosAndDevicesAndLeavesOutSockets) {
  sys::mknodat(AT_FDCWD, at("fifo"), S_IFIFO | 0620, 0);
  sys::mknodat(AT_FDCWD, at("null"), S_IFCHR | 0666, makedev(1, 3));
  sys::mknodat(AT_FDCWD, at("disk"), S_IFBLK | 0660, makedev(259, 70000));
  sys::mknodat(AT_FDCWD, at("socket"), S_IFSOCK | 0600, 0);
  const Lines lines = listTar(seal(upper_));
  EXPECT_EQ(lines, (Lines{"b disk", "p fifo", "c null"}));
  sys::unlinkat(AT_FDCWD, at("socket"), 0);
  expectRoundTrip();
}

TEST_F(SealTest, KeepsUserAttributesCapabilitiesAndAcls) {
  writeFile(at("file"), "x");
  const auto set = [&](const std::string& name, std::string_view value) {
    return ::lsetxattr(at("file").c_str(), name.c_str(), value.data(), value.size(), 0);
  };
  ASSERT_EQ(set("user.note", "a\nb=c"), 0) << std::strerror(errno);
  ASSERT_EQ(set("user.binary", std::string_view{"\0\1\xff", 3}), 0);
  // cap_net_raw+ep, version 2.
  ASSERT_EQ(set("security.capability",
                std::string_view{"\1\0\0\2\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20}),
            0);
  // user::rw- user:1000:r-- group::r-- mask::r-- other::---
  const std::string acl{
      "\2\0\0\0\1\0\6\0\xff\xff\xff\xff\2\0\4\0\xe8\3\0\0\4\0\4\0\xff\xff\xff\xff"
      "\x10\0\4\0\xff\xff\xff\xff\x20\0\0\0\xff\xff\xff\xff",
      44};
  ASSERT_EQ(set("system.posix_acl_access", acl), 0) << std::strerror(errno);
  folder("dir");
  ASSERT_EQ(::lsetxattr(at("dir").c_str(), "system.posix_acl_default", acl.data(), acl.size(), 0),
            0);
  ASSERT_EQ(::lsetxattr(at("dir").c_str(), "user.dir", "1", 1, 0), 0);
  expectRoundTrip();
  // The default ACL of a folder must not rub off on what is unpacked into it.
  writeFile(at("other"), "x");
}

TEST_F(SealTest, DefaultAclsDoNotRubOffOnWhatIsUnpackedBelow) {
  folder("dir");
  writeFile(at("dir/file"), "x", 0640);
  const std::string acl{
      "\2\0\0\0\1\0\7\0\xff\xff\xff\xff\4\0\7\0\xff\xff\xff\xff\x20\0\7\0\xff\xff\xff\xff", 28};
  ASSERT_EQ(::lsetxattr(at("dir").c_str(), "system.posix_acl_default", acl.data(), acl.size(), 0),
            0);
  expectRoundTrip();
}

TEST_F(SealTest, DropsOverlaysOwnAttributes) {
  writeFile(at("file"), "x");
  ::lsetxattr(at("file").c_str(), "trusted.overlay.origin", "abc", 3, 0);
  ::lsetxattr(at("file").c_str(), "trusted.other", "abc", 3, 0);
  ::lsetxattr(at("file").c_str(), "user.overlay.impure", "y", 1, 0);
  const std::string tar = seal(upper_);
  EXPECT_EQ(tar.find("overlay"), std::string::npos);
  EXPECT_EQ(tar.find("trusted"), std::string::npos);
}

TEST_F(SealTest, TurnsWhiteoutsAndOpaqueFoldersIntoNames) {
  sys::mknodat(AT_FDCWD, at("gone"), S_IFCHR, makedev(0, 0));
  folder("new");
  ::lsetxattr(at("new").c_str(), "trusted.overlay.opaque", "y", 1, 0);
  writeFile(at("new/.first"), "x");
  sys::mknodat(AT_FDCWD, at("new/also gone"), S_IFCHR, makedev(0, 0));
  folder("rootless");
  ::lsetxattr(at("rootless").c_str(), "user.overlay.opaque", "y", 1, 0);
  EXPECT_EQ(listTar(seal(upper_)),
            (Lines{"f .wh.gone", "d new/", "f new/.wh..wh..opq", "f new/.first",
                   "f new/.wh.also gone", "d rootless/", "f rootless/.wh..wh..opq"}));
  sys::unlinkat(AT_FDCWD, at("rootless"), AT_REMOVEDIR);
  ::lsetxattr(at("new").c_str(), "trusted.overlay.opaque", "y", 1, 0);
  expectRoundTrip();
}

TEST_F(SealTest, UnderstandsWhiteoutsInAttributeForm) {
  folder("d");
  ::lsetxattr(at("d").c_str(), "trusted.overlay.opaque", "x", 1, 0);
  writeFile(at("d/gone"), "");
  ::lsetxattr(at("d/gone").c_str(), "trusted.overlay.whiteout", "y", 1, 0);
  writeFile(at("d/empty"), "");
  EXPECT_EQ(listTar(seal(upper_)), (Lines{"d d/", "f d/.wh.gone", "f d/empty"}));
}

TEST_F(SealTest, KeepsAWhiteoutOfTheLongestName) {
  sys::mknodat(AT_FDCWD, at(std::string(255, 'n')), S_IFCHR, makedev(0, 0));
  expectRoundTrip();
}

TEST_F(SealTest, RefusesAFileThatWouldBeAWhiteout) {
  writeFile(at(".wh.secret"), "x");
  try {
    seal(upper_);
    FAIL() << "sealed";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), Kind::unsupported);
    EXPECT_FALSE(error.hints().empty());
  }
}

TEST_F(SealTest, KeepsLongStrangeAndInvalidNames) {
  std::string path;
  for (int i = 0; i < 8; ++i) {
    path += (path.empty() ? "" : "/") + std::string(60, static_cast<char>('a' + i));
    folder(path);
  }
  writeFile(at(path + "/" + std::string(255, 'z')), "deep");
  writeFile(at(path + "/" + std::string(200, '\xff')), "deep and invalid");
  writeFile(at("caf\xc3\xa9"), "utf-8");
  writeFile(at("bad\xff\xfe name\n"), "bytes");
  sys::symlinkat(std::string(3000, 't') + "\xff", AT_FDCWD, at("long link"));
  sys::symlinkat(std::string(100, 'u'), AT_FDCWD, at("link of 100"));
  expectRoundTrip();
}

TEST_F(SealTest, KeepsHoles) {
  {
    const Fd file = sys::openat(AT_FDCWD, at("sparse"), O_WRONLY | O_CREAT, 0644);
    sys::ftruncate(file.get(), off_t{1} << 35);
    ASSERT_EQ(::pwrite(file.get(), "middle", 6, off_t{1} << 34), 6);
    const Fd hole = sys::openat(AT_FDCWD, at("hole"), O_WRONLY | O_CREAT, 0644);
    sys::ftruncate(hole.get(), 100001);
    const Fd tail = sys::openat(AT_FDCWD, at("tail"), O_WRONLY | O_CREAT, 0644);
    sys::ftruncate(tail.get(), 1 << 20);
    ASSERT_EQ(::pwrite(tail.get(), "end", 3, (1 << 20) - 3), 3);
  }
  const std::string tar = seal(upper_);
  EXPECT_LT(tar.size(), 40000U);
  EXPECT_EQ(listTar(tar), (Lines{"fs hole", "fs sparse", "fs tail"}));
  const std::string copy = make("copy");
  StringSource source{tar};
  unpackLayer(source, sys::openDirectory(AT_FDCWD, copy).get(), "test");
  EXPECT_EQ(tar, seal(copy));
  const struct stat st = sys::fstatat(AT_FDCWD, copy + "/sparse");
  EXPECT_EQ(st.st_size, off_t{1} << 35);
  EXPECT_LT(st.st_blocks, 100);
  EXPECT_EQ(readText(copy + "/tail"), readText(at("tail")));
}

TEST_F(SealTest, HolesComeFromTheContentNotFromTheFileSystem) {
  // The same bytes, once allocated and once not.
  std::string content(300000, '\0');
  content.replace(0, 5, "begin").replace(150000, 3, "mid").replace(299990, 3, "end");
  writeFile(at("a"), content);
  const std::string written = seal(upper_);
  sys::unlinkat(AT_FDCWD, at("a"), 0);
  {
    const Fd file = sys::openat(AT_FDCWD, at("a"), O_WRONLY | O_CREAT, 0644);
    sys::ftruncate(file.get(), 300000);
    for (const size_t offset : {0, 150000, 299990}) {
      ASSERT_EQ(::pwrite(file.get(), content.data() + offset, 5, static_cast<off_t>(offset)), 5);
    }
  }
  SealOptions options;
  options.clampMtime = 1;
  const std::string sparse = seal(upper_, options);
  sys::unlinkat(AT_FDCWD, at("a"), 0);
  writeFile(at("a"), content);
  EXPECT_EQ(sparse, seal(upper_, options));
  EXPECT_EQ(listTar(written), (Lines{"fs a"}));
}

TEST_F(SealTest, GivesTheSameBytesWhateverTheOrderOfCreation) {
  SealOptions options;
  options.clampMtime = 1000;
  const std::string other = make("other");
  for (const char* name : {"a", "b", "c"}) writeFile(at(name), name);
  for (const char* name : {"c", "a", "b"}) writeFile(other + "/" + name, name);
  EXPECT_EQ(seal(upper_, options), seal(other, options));
}

TEST_F(SealTest, ClampsOnlyLaterTimes) {
  writeFile(at("early"), "x");
  setTime(at("early"), 999, 5);
  writeFile(at("late"), "x");
  SealOptions options;
  options.clampMtime = 1000;
  StringSource source{seal(upper_, options)};
  TarReader reader{source, "test"};
  const TarEntry* entry = reader.next();
  EXPECT_EQ(entry->mtimeSeconds, 999);
  EXPECT_EQ(entry->mtimeNanoseconds, 5U);
  entry = reader.next();
  EXPECT_EQ(entry->mtimeSeconds, 1000);
  EXPECT_EQ(entry->mtimeNanoseconds, 0U);
}

TEST_F(SealTest, ShowsEveryByteToTheInspector) {
  const std::string large(3 << 20, 'L');
  writeFile(at("large"), large);
  writeFile(at("small"), "s");
  std::map<std::string, size_t> seen;
  SealOptions options;
  options.inspect = [&](const std::string& path, std::span<const std::byte> bytes) {
    seen[path] += bytes.size();
  };
  seal(upper_, options);
  EXPECT_EQ(seen, (std::map<std::string, size_t>{{"large", large.size()}, {"small", 1}}));
}

TEST_F(SealTest, WritesLargeLayersThroughTheSecondThreadUnchanged) {
  std::string content(5 << 20, '\0');
  for (size_t i = 0; i < content.size(); ++i) content[i] = static_cast<char>(i * 2654435761U >> 13);
  writeFile(at("big"), content);
  folder("many");
  for (int i = 0; i < 300; ++i)
    writeFile(at("many/" + std::to_string(i)), content.substr(static_cast<size_t>(i), 3000));
  expectRoundTrip();
}

class BrokenSink final : public Sink {
 public:
  void write(std::span<const std::byte> bytes) override {
    if ((written_ += bytes.size()) > (size_t{2} << 20)) throw Error{Kind::failed, "sink is full"};
  }

 private:
  size_t written_ = 0;
};

TEST_F(SealTest, PassesOnAFailureOfTheSecondThread) {
  writeFile(at("big"), std::string(8 << 20, 'x'));
  BrokenSink sink;
  try {
    writeLayerTar(sys::openDirectory(AT_FDCWD, upper_).get(), sink, {});
    FAIL() << "sealed";
  } catch (const Error& error) {
    EXPECT_EQ(error.cause(), "sink is full");
  }
}

TEST_F(SealTest, MakesABlobWhoseDigestIsTheDiffId) {
  writeFile(at("file"), "x");
  const Layout layout = Layout::open(dir_.path() + "/store");
  const SealedLayer layer = sealLayer(layout, sys::openDirectory(AT_FDCWD, upper_).get(), {});
  const std::string tar = seal(upper_);
  EXPECT_EQ(layer.descriptor.digest, Digest::of(tar));
  EXPECT_EQ(layer.descriptor.size, tar.size());
  EXPECT_EQ(layer.descriptor.mediaType, "application/vnd.oci.image.layer.v1.tar");
  EXPECT_EQ(layer.stats.entries, 1U);
  EXPECT_EQ(readText(layout.root() + "/" + layout.blobPath(layer.descriptor.digest)), tar);
}

// --- With the layers below ---

class SealOverLowers : public SealTest {
 protected:
  void SetUp() override {
    SealTest::SetUp();
    if (IsSkipped()) return;
    lower_ = make("lower");
    bottom_ = make("bottom");
  }
  Lines sealed() {
    const Fd top = sys::openDirectory(AT_FDCWD, lower_);
    const Fd bottom = sys::openDirectory(AT_FDCWD, bottom_);
    SealOptions options;
    options.lowers = {top.get(), bottom.get()};
    return listTar(seal(upper_, options));
  }
  // The same folder and file in upper and, below, in `where`.
  void twin(const std::string& where, const std::string& content = "same") {
    for (const std::string& root : {upper_, where}) {
      sys::tryMkdirat(AT_FDCWD, root + "/d", 0755);
      writeFile(root + "/d/f", content);
      setTime(root + "/d/f", 500);
      setTime(root + "/d", 600);
    }
  }
  std::string lower_, bottom_;
};

TEST_F(SealOverLowers, LeavesOutWhatDidNotChange) {
  twin(bottom_);
  EXPECT_EQ(sealed(), Lines{});
}

TEST_F(SealOverLowers, KeepsTheParentsOfWhatChanged) {
  twin(bottom_);
  writeFile(at("d/f"), "diff");
  setTime(at("d/f"), 500);
  setTime(at("d"), 600);
  EXPECT_EQ(sealed(), (Lines{"d d/", "f d/f"}));
}

TEST_F(SealOverLowers, KeepsAFolderWhoseTimeChanged) {
  twin(bottom_);
  setTime(at("d"), 601);
  EXPECT_EQ(sealed(), (Lines{"d d/"}));
}

TEST_F(SealOverLowers, KeepsAChangedModeOwnerTimeOrAttribute) {
  for (const int what : {0, 1, 2, 3}) {
    twin(bottom_);
    if (what == 0) sys::fchmodat(AT_FDCWD, at("d/f"), 0600);
    if (what == 1) sys::lchownat(AT_FDCWD, at("d/f"), 5, 5);
    if (what == 2) setTime(at("d/f"), 501);
    if (what == 3) ::lsetxattr(at("d/f").c_str(), "user.x", "1", 1, 0);
    EXPECT_EQ(sealed(), (Lines{"d d/", "f d/f"})) << what;
    sys::unlinkat(AT_FDCWD, at("d/f"), 0);
  }
}

TEST_F(SealOverLowers, AWhiteoutBetweenMakesTheFileNew) {
  twin(bottom_);
  sys::mkdirat(AT_FDCWD, lower_ + "/d", 0755);
  setTime(lower_ + "/d", 600);
  sys::mknodat(AT_FDCWD, lower_ + "/d/f", S_IFCHR, makedev(0, 0));
  setTime(lower_ + "/d", 600);
  EXPECT_EQ(sealed(), (Lines{"d d/", "f d/f"}));
}

TEST_F(SealOverLowers, AnOpaqueFolderBetweenMakesTheFileNew) {
  twin(bottom_);
  sys::mkdirat(AT_FDCWD, lower_ + "/d", 0755);
  ::lsetxattr((lower_ + "/d").c_str(), "trusted.overlay.opaque", "y", 1, 0);
  setTime(lower_ + "/d", 600);
  EXPECT_EQ(sealed(), (Lines{"d d/", "f d/f"}));
}

TEST_F(SealOverLowers, AnOpaqueUpperFolderIsWhollyNew) {
  twin(bottom_);
  ::lsetxattr(at("d").c_str(), "trusted.overlay.opaque", "y", 1, 0);
  EXPECT_EQ(sealed(), (Lines{"d d/", "f d/.wh..wh..opq", "f d/f"}));
}

// What overlayfs leaves after `mkdir -p new/sub` in a merged folder.
TEST_F(SealOverLowers, LeavesOutMarksThatHideNothing) {
  folder("new");
  folder("new/sub");
  ::lsetxattr(at("new").c_str(), "trusted.overlay.opaque", "y", 1, 0);
  sys::mknodat(AT_FDCWD, at("never-there"), S_IFCHR, makedev(0, 0));
  EXPECT_EQ(sealed(), (Lines{"d new/", "d new/sub/"}));
}

TEST_F(SealOverLowers, KeepsTheOpaqueMarkOfAFolderThatWasAFile) {
  writeFile(bottom_ + "/d", "x");
  folder("d");
  ::lsetxattr(at("d").c_str(), "trusted.overlay.opaque", "y", 1, 0);
  EXPECT_EQ(sealed(), (Lines{"d d/", "f d/.wh..wh..opq"}));
}

TEST_F(SealOverLowers, AMarkOverADeletedNameHidesNothing) {
  twin(bottom_);
  sys::mknodat(AT_FDCWD, lower_ + "/d", S_IFCHR, makedev(0, 0));
  ::lsetxattr(at("d").c_str(), "trusted.overlay.opaque", "y", 1, 0);
  EXPECT_EQ(sealed(), (Lines{"d d/", "f d/f"}));
}

TEST_F(SealOverLowers, TheTopmostLayerCounts) {
  twin(bottom_);
  sys::mkdirat(AT_FDCWD, lower_ + "/d", 0755);
  writeFile(lower_ + "/d/f", "newer");
  setTime(lower_ + "/d", 600);
  EXPECT_EQ(sealed(), (Lines{"d d/", "f d/f"}));
}

TEST_F(SealOverLowers, KeepsBothNamesOfANewHardLink) {
  twin(bottom_);
  sys::linkat(AT_FDCWD, at("d/f"), AT_FDCWD, at("d/g"), 0);
  EXPECT_EQ(sealed(), (Lines{"d d/", "f d/f", "h d/g -> d/f"}));
}

TEST_F(SealOverLowers, LeavesOutEqualLinksAndDevices) {
  for (const std::string& root : {upper_, bottom_}) {
    sys::symlinkat("target", AT_FDCWD, root + "/l");
    setTime(root + "/l", 1);
    sys::mknodat(AT_FDCWD, root + "/n", S_IFCHR | 0600, makedev(1, 3));
    setTime(root + "/n", 1);
  }
  EXPECT_EQ(sealed(), Lines{});
}

// --- Other people's readers ---

class ForeignReader : public SealTest {
 protected:
  void SetUp() override {
    SealTest::SetUp();
    if (IsSkipped()) return;
    writeFile(at("file"), "content", 04711);
    sys::linkat(AT_FDCWD, at("file"), AT_FDCWD, at("hard"), 0);
    sys::symlinkat(std::string(150, 't'), AT_FDCWD, at("link"));
    folder(std::string(120, 'd'));
    writeFile(at(std::string(120, 'd') + "/" + std::string(130, 'e')), "long");
    writeFile(at("bytes\xff"), "b");
    writeFile(at(std::string(120, '\xfe')), "long bytes");
    sys::mknodat(AT_FDCWD, at("fifo"), S_IFIFO | 0600, 0);
    ::lsetxattr(at("file").c_str(), "user.x", "1", 1, 0);
    const Fd file = sys::openat(AT_FDCWD, at("sparse"), O_WRONLY | O_CREAT, 0644);
    ASSERT_EQ(::pwrite(file.get(), "middle", 6, 1 << 20), 6);
    sys::ftruncate(file.get(), 3 << 20);
    writeFile(dir_.path() + "/out.tar", seal(upper_));
  }
  // `argv` extracts out.tar into the folder "copy".
  void expectTheSameTree(std::vector<std::string> argv) {
    if (!hasProgram(argv.front())) GTEST_SKIP() << "no " << argv.front() << " here";
    const std::string copy = make("copy");
    for (const std::string& word : {dir_.path() + "/out.tar", std::string{"-C"}, copy})
      argv.push_back(word);
    const Output output = runProgram(argv);
    EXPECT_EQ(output.status.code, 0) << output.err;
    EXPECT_EQ(describeTree(copy), describeTree(upper_));
  }
};

TEST_F(ForeignReader, GnuTar) {
  expectTheSameTree({"tar", "--xattrs", "--xattrs-include=user.*", "--same-owner", "-xpf"});
}

TEST_F(ForeignReader, Libarchive) {
  expectTheSameTree({"bsdtar", "--xattrs", "-xpf"});
}

}  // namespace
}  // namespace img::store
