#include "store/tar.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <functional>

#include "base/error.h"
#include "base/fs.h"
#include "base/process.h"
#include "base/sys.h"
#include "store/holes.h"
#include "store/tar_format.h"
#include "store/tar_pax.h"
#include "tests/store/tar_helpers.h"

namespace img::store {
namespace {

using testing_tar::fixChecksum, testing_tar::hasProgram, testing_tar::headerBytes,
    testing_tar::RawHeader, testing_tar::RawTar, testing_tar::writeFile;

struct Member {
  TarEntry entry;
  std::string data;
};

std::string contentOf(TarReader& reader) {
  std::string data;
  std::array<std::byte, 700> piece;
  while (const size_t count = reader.read(piece)) data += asText(std::span{piece}.first(count));
  return data;
}

std::vector<Member> readTar(const std::string& tar) {
  StringSource source{tar};
  TarReader reader{source, "test"};
  std::vector<Member> members;
  while (const TarEntry* entry = reader.next()) {
    members.push_back({*entry, {}});
    members.back().data = contentOf(reader);
  }
  reader.drain();
  return members;
}

std::string writeTar(const std::vector<Member>& members) {
  StringSink sink;
  TarWriter writer{sink};
  for (const Member& member : members) {
    writer.add(member.entry);
    writer.data(asBytes(member.data));
  }
  writer.finish();
  return sink.text;
}

TarEntry fileEntry(const std::string& path, std::uint64_t size) {
  TarEntry entry;
  entry.path = path;
  entry.mode = 0644;
  entry.size = size;
  entry.mtimeSeconds = 1000;
  return entry;
}

// --- Writer ---

TEST(TarWriter, NeedsOneBlockForAnOrdinaryFile) {
  const std::string tar = writeTar({{fileEntry("etc/hostname", 5), "here\n"}});
  EXPECT_EQ(tar.size(), 512 + 512 + 1024U);
  EXPECT_EQ(tar.substr(0, 13), std::string("etc/hostname\0", 13));
  EXPECT_EQ(tar.substr(100, 24), std::string("0000644\0"
                                             "0000000\0"
                                             "0000000\0",
                                             24));
  EXPECT_EQ(tar.substr(124, 12), std::string("00000000005\0", 12));
  EXPECT_EQ(tar.substr(257, 8), std::string("ustar\0"
                                            "00",
                                            8));
  EXPECT_EQ(tar.substr(265, 80), std::string(80, '\0')) << "no names, no device numbers";
}

TEST(TarWriter, SplitsAPathBeforeItTakesAPaxHeader) {
  const std::string fits = std::string(155, 'p') + "/" + std::string(100, 'n');
  EXPECT_EQ(writeTar({{fileEntry(fits, 0), ""}}).size(), 512 + 1024U);
  EXPECT_EQ(readTar(writeTar({{fileEntry(fits, 0), ""}}))[0].entry.path, fits);
  const std::string tooLong = std::string(156, 'p') + "/" + std::string(100, 'n');
  EXPECT_EQ(writeTar({{fileEntry(tooLong, 0), ""}}).size(), 3 * 512 + 1024U);
  EXPECT_EQ(readTar(writeTar({{fileEntry(tooLong, 0), ""}}))[0].entry.path, tooLong);
}

TEST(TarWriter, MarksLongInvalidNamesAsBytes) {
  const std::string name(120, '\xff');
  const std::string tar = writeTar({{fileEntry(name, 0), ""}});
  EXPECT_NE(tar.find("hdrcharset=BINARY\n"), std::string::npos);
  EXPECT_EQ(readTar(tar)[0].entry.path, name);
}

TEST(TarWriter, RoundTripsNumbersThatDoNotFit) {
  TarEntry entry = fileEntry("x", 0);
  entry.uid = 4294967294U;
  entry.gid = 2097152;
  entry.mtimeSeconds = -5;
  entry.mtimeNanoseconds = 250000000;
  const TarEntry back = readTar(writeTar({{entry, ""}}))[0].entry;
  EXPECT_EQ(back.uid, entry.uid);
  EXPECT_EQ(back.gid, entry.gid);
  EXPECT_EQ(back.mtimeSeconds, entry.mtimeSeconds);
  EXPECT_EQ(back.mtimeNanoseconds, entry.mtimeNanoseconds);
}

TEST(TarWriter, RefusesTheWrongAmountOfData) {
  StringSink sink;
  TarWriter writer{sink};
  writer.add(fileEntry("a", 3));
  EXPECT_THROW(writer.data(asBytes("four")), Error);
  EXPECT_THROW(writer.add(fileEntry("b", 0)), Error);
}

TEST(TarWriter, WritesEightGiBAsPax) {
  // Only the header: the data is not needed to see its form.
  StringSink sink;
  {
    TarWriter writer{sink};
    writer.add(fileEntry("huge", std::uint64_t{1} << 33));
    for (int i = 0; i < 1024; ++i) writer.advance(std::min<size_t>(writer.space().size(), 65536));
  }
  EXPECT_NE(sink.text.find("19 size=8589934592\n"), std::string::npos);
}

// --- Reader ---

TEST(TarReader, AcceptsAnArchiveWithoutAnEndMarker) {
  EXPECT_EQ(readTar(RawTar{}.file("a", "1").file("b", "22").withoutEnd()).size(), 2U);
  EXPECT_EQ(readTar("").size(), 0U);
}

TEST(TarReader, AcceptsPaddingBehindTheEnd) {
  EXPECT_EQ(readTar(RawTar{}.file("a").end() + std::string(10240, '\0')).size(), 1U);
}

TEST(TarReader, ReadsGnuLongNames) {
  const std::string name(300, 'n');
  const std::string link(300, 'l');
  const auto members = readTar(RawTar{}
                                   .gnuName('L', name)
                                   .gnuName('K', link)
                                   .add({.name = "short", .type = '2', .link = "short"})
                                   .end());
  ASSERT_EQ(members.size(), 1U);
  EXPECT_EQ(members[0].entry.path, name);
  EXPECT_EQ(members[0].entry.linkTarget, link);
}

TEST(TarReader, PaxBeatsGnuAndUstar) {
  const auto members = readTar(
      RawTar{}.pax({{"path", "pax"}, {"uid", "7"}}).gnuName('L', "gnu").file("ustar").end());
  ASSERT_EQ(members.size(), 1U);
  EXPECT_EQ(members[0].entry.path, "pax");
  EXPECT_EQ(members[0].entry.uid, 7U);
}

TEST(TarReader, ThePaxSizeIsTheSize) {
  // CVE-2025-62518: who believes the ustar size reads the second file's header as data, or data as
  // headers.
  const std::string inner = RawTar{}.file("hidden").withoutEnd();
  const std::string size(12, '0');
  const auto members = readTar(RawTar{}
                                   .pax({{"size", std::to_string(inner.size())}})
                                   .add({.name = "outer", .body = inner, .rawSize = size})
                                   .end());
  ASSERT_EQ(members.size(), 1U);
  EXPECT_EQ(members[0].data, inner);
}

TEST(TarReader, ReadsBase256Numbers) {
  const std::string size = std::string("\x80", 1) + std::string(10, '\0') + "\x03";
  const auto members = readTar(RawTar{}.add({.name = "a", .body = "abc", .rawSize = size}).end());
  EXPECT_EQ(members.at(0).data, "abc");
}

TEST(TarReader, AcceptsASignedChecksum) {
  std::string tar = RawTar{}.file("\xff\xfe", "x").end();
  std::int64_t sum = 0;
  for (size_t i = 0; i < 512; ++i)
    sum += (i >= 148 && i < 156) ? ' ' : static_cast<signed char>(tar[i]);
  tar.replace(148, 8, fmt::format("{:06o}", sum) + std::string{"\0 ", 2});
  EXPECT_EQ(readTar(tar).size(), 1U);
}

TEST(TarReader, AcceptsOldArchives) {
  const std::string v7(8, '\0');
  const auto members = readTar(RawTar{}
                                   .add({.name = "dir/", .type = '\0', .magic = v7})
                                   .add({.name = "f", .type = '\0', .magic = v7})
                                   .end());
  EXPECT_EQ(members.at(0).entry.type, TarEntry::Type::directory);
  EXPECT_EQ(members.at(1).entry.type, TarEntry::Type::file);
}

TEST(TarReader, IgnoresCommentsAndUnknownTypes) {
  const auto members = readTar(RawTar{}
                                   .pax({{"comment", "made by git"}}, 'g')
                                   .add({.name = "acl", .type = 'A', .body = "ignored"})
                                   .pax({{"comment", "x"}, {"VENDOR.key", "y"}, {"atime", "1"}})
                                   .file("a", "x")
                                   .end());
  ASSERT_EQ(members.size(), 1U);
  EXPECT_EQ(members[0].entry.path, "a");
}

TEST(TarReader, SkipsWhatWasNotRead) {
  StringSource source{RawTar{}.file("a", std::string(1000000, 'x')).file("b", "2").end()};
  TarReader reader{source, "test"};
  reader.next();
  EXPECT_EQ(reader.readPiece().size() > 0, true);
  EXPECT_EQ(reader.next()->path, "b");
  EXPECT_EQ(contentOf(reader), "2");
}

std::string withByte(std::string tar, size_t at, char byte) {
  tar[at] = byte;
  return fixChecksum(tar.substr(0, 512)) + tar.substr(512);
}
std::string paxBody(const std::string& body) {
  return RawTar{}.add({.name = "PaxHeaders/x", .type = 'x', .body = body}).file("a").end();
}
std::string paxed(const std::vector<std::pair<std::string, std::string>>& records) {
  return RawTar{}.pax(records).file("a").end();
}

struct Refused {
  std::string name;
  std::string tar;
  std::string message;
};
void PrintTo(const Refused& c, std::ostream* out) {
  *out << c.name;
}

class TarReaderRefuses : public testing::TestWithParam<Refused> {};
TEST_P(TarReaderRefuses, AndSaysWhy) {
  try {
    readTar(GetParam().tar);
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), Kind::corrupt) << error.cause();
    EXPECT_NE(error.cause().find(GetParam().message), std::string::npos) << error.cause();
  }
}

const std::string kFile = RawTar{}.file("a", "x").end();
const Refused kRefused[] = {
    {"Text", std::string(2000, 't'), "wrong checksum"},
    {"Gzip", "\x1f\x8b" + std::string(2000, 'z'), "wrong checksum"},
    {"ShortFile", "short", "middle of a header"},
    {"FlippedBit",
     [] {
       std::string t = kFile;
       t[3] ^= 1;
       return t;
     }(),
     "wrong checksum"},
    {"TruncatedData", RawTar{}.file("a", std::string(5000, 'x')).withoutEnd().substr(0, 3000),
     "middle of its data"},
    {"TruncatedHeader", RawTar{}.file("a").file("b").withoutEnd().substr(0, 1200),
     "middle of a header"},
    {"LoneZeroBlock", RawTar{}.file("a").raw(std::string(512, '\0')).file("b").end(),
     "lone zero block"},
    {"BytesBehindTheEnd", kFile + "payload", "behind the end"},
    {"SecondArchiveBehindTheEnd", kFile + kFile, "behind the end"},
    {"NegativeSize", RawTar{}.add({.name = "a", .rawSize = std::string(12, '\xff')}).end(),
     "field size"},
    {"HugeSize", RawTar{}.add({.name = "a", .rawSize = "\x80\xff" + std::string(10, '\0')}).end(),
     "field size"},
    {"NearlyHugeSize",
     RawTar{}
         .add({.name = "a", .rawSize = std::string("\x80\0\0\0\x7f", 5) + std::string(7, '\xff')})
         .end(),
     "size"},
    {"SizeWithLetters", RawTar{}.add({.name = "a", .rawSize = "0000000000x"}).end(), "field size"},
    {"SizeWithBytesBehind",
     RawTar{}
         .add({.name = "a",
               .rawSize = std::string("1\0"
                                      "00000002\0",
                                      12)})
         .end(),
     "size"},
    {"ModeOfLetters", withByte(kFile, 102, 'q'), "field mode"},
    {"HardLinkWithData", RawTar{}.add({.name = "l", .type = '1', .body = "x", .link = "a"}).end(),
     "not a file"},
    {"FolderWithData", RawTar{}.add({.name = "d/", .type = '5', .body = "x"}).end(), "not a file"},
    {"HardLinkWithPaxData",
     RawTar{}.pax({{"size", "512"}}).add({.name = "l", .type = '1', .link = "a"}).file("x").end(),
     "not a file"},
    {"LinkWithoutTarget", RawTar{}.add({.name = "l", .type = '2'}).end(), "without a target"},
    {"EmptyName", RawTar{}.add({.name = ""}).end(), "without a name"},
    {"FileLikeAFolder", RawTar{}.add({.name = "d/"}).end(), "ends in '/'"},
    {"MultiVolume", RawTar{}.add({.name = "m", .type = 'M', .body = "x"}).end(), "not supported"},
    {"GnuDump", RawTar{}.add({.name = "m", .type = 'D', .body = "x"}).end(), "not supported"},
    {"VolumeName", RawTar{}.add({.name = "m", .type = 'V'}).end(), "not supported"},
    {"SolarisPax", RawTar{}.add({.name = "m", .type = 'X', .body = "x"}).end(), "not supported"},
    {"DeviceOutOfRange", RawTar{}.add({.name = "d", .type = '3', .devMajor = 4096}).end(),
     "device number"},
    {"PaxGlobalPath", RawTar{}.pax({{"path", "b"}}, 'g').file("a").end(), "global"},
    {"PaxGlobalSize", RawTar{}.pax({{"size", "1"}}, 'g').file("a").end(), "global"},
    {"PaxGlobalLinkpath", RawTar{}.pax({{"linkpath", "b"}}, 'g').file("a").end(), "global"},
    {"PaxGlobalXattr", RawTar{}.pax({{"SCHILY.xattr.user.x", "b"}}, 'g').file("a").end(), "global"},
    {"PaxTwice", RawTar{}.pax({{"uid", "1"}}).pax({{"gid", "1"}}).file("a").end(),
     "two PAX headers"},
    {"GnuNameTwice", RawTar{}.gnuName('L', "a").gnuName('L', "b").file("a").end(),
     "two GNU long names"},
    {"GlobalBetween", RawTar{}.pax({{"uid", "1"}}).pax({{"comment", "x"}}, 'g').file("a").end(),
     "global"},
    {"PaxAtTheEnd", RawTar{}.pax({{"uid", "1"}}).end(), "without an entry"},
    {"GnuNameWithBytesBehind", RawTar{}.gnuName('L', std::string("a\0b", 3)).file("a").end(),
     "behind its end"},
    {"PaxNoLength", paxBody("path=x\n"), "record length"},
    {"PaxWrongLength", paxBody("99 path=x\n"), "record length"},
    {"PaxShortLength", paxBody("3 path=x\n"), "record length"},
    {"PaxSignedLength", paxBody("+9 path=x\n"), "record length"},
    {"PaxNoNewline", paxBody("9 path=xy"), "newline"},
    {"PaxNoEquals", paxBody("8 pathx\n"), "no '='"},
    {"PaxNoKey", paxBody("5 =x\n"), "no '='"},
    {"PaxRest", paxBody("9 path=x\n\n"), "record length"},
    {"PaxEmptyPath", paxed({{"path", ""}}), "empty"},
    {"PaxNulInPath", paxed({{"path", std::string("a\0b", 3)}}), "NUL"},
    {"PaxNulInKey", paxed({{std::string("a\0b", 3), "x"}}), "NUL"},
    {"PaxSizeOfLetters", paxed({{"size", "1x"}}), "not a number"},
    {"PaxNegativeSize", paxed({{"size", "-1"}}), "not a number"},
    {"PaxHugeUid", paxed({{"uid", "4294967295"}}), "uid out of range"},
    {"PaxBadTime", paxed({{"mtime", "1.2.3"}}), "not a time"},
    {"PaxHexTime", paxed({{"mtime", "0x10"}}), "not a time"},
    {"PaxTooLarge", RawTar{}.add({.name = "x", .type = 'x', .rawSize = "00010000001"}).end(),
     "1 MiB"},
    {"GnuNameTooLarge", RawTar{}.add({.name = "x", .type = 'L', .rawSize = "77777777777"}).end(),
     "1 MiB"},
    {"SparseOverlap",
     paxed({{"GNU.sparse.size", "100"},
            {"GNU.sparse.numblocks", "2"},
            {"GNU.sparse.map", "0,1,0,0"}}),
     "overlaps"},
    {"SparseBeyond",
     paxed({{"GNU.sparse.size", "1"}, {"GNU.sparse.numblocks", "1"}, {"GNU.sparse.map", "1,1"}}),
     "overlaps"},
    {"SparseOverflow",
     paxed({{"GNU.sparse.size", "100"},
            {"GNU.sparse.numblocks", "1"},
            {"GNU.sparse.map", "99,9223372036854775807"}}),
     "overlaps"},
    {"SparseTooMuch",
     paxed({{"GNU.sparse.size", "9"}, {"GNU.sparse.numblocks", "1"}, {"GNU.sparse.map", "0,9"}}),
     "sparse map names"},
    {"SparseOddMap",
     paxed({{"GNU.sparse.size", "9"}, {"GNU.sparse.numblocks", "1"}, {"GNU.sparse.map", "0,1,2"}}),
     "odd count"},
    {"SparseWrongCount",
     paxed({{"GNU.sparse.size", "9"}, {"GNU.sparse.numblocks", "2"}, {"GNU.sparse.map", "0,1"}}),
     "contradicting"},
    {"SparseMixed",
     paxed({{"GNU.sparse.major", "1"},
            {"GNU.sparse.minor", "0"},
            {"GNU.sparse.realsize", "9"},
            {"GNU.sparse.map", "0,1"}}),
     "contradicting"},
    {"SparseOutOfTurn", paxed({{"GNU.sparse.numbytes", "1"}, {"GNU.sparse.offset", "1"}}),
     "out of turn"},
    {"SparseFolder",
     RawTar{}
         .pax({{"GNU.sparse.size", "9"}, {"GNU.sparse.numblocks", "0"}, {"GNU.sparse.map", ""}})
         .folder("d/")
         .end(),
     "not a file"},
    {"SparseMapText",
     RawTar{}
         .pax({{"GNU.sparse.major", "1"}, {"GNU.sparse.minor", "0"}, {"GNU.sparse.realsize", "9"}})
         .file("a", "two\n" + std::string(508, '\0'))
         .end(),
     "bad number"},
    {"SparseMapShort",
     RawTar{}
         .pax({{"GNU.sparse.major", "1"}, {"GNU.sparse.minor", "0"}, {"GNU.sparse.realsize", "9"}})
         .file("a", "1\n")
         .end(),
     "broken sparse map"},
    {"OldSparseInPosix", RawTar{}.add({.name = "a", .type = 'S'}).end(), "POSIX header"},
};
INSTANTIATE_TEST_SUITE_P(T9AndT13, TarReaderRefuses, testing::ValuesIn(kRefused),
                         [](const auto& test) { return test.param.name; });

struct Time {
  std::string text;
  std::int64_t seconds;
  std::uint32_t nanoseconds;
};
void PrintTo(const Time& t, std::ostream* out) {
  *out << t.text;
}
class PaxTimes : public testing::TestWithParam<Time> {};
TEST_P(PaxTimes, AreReadAndWritten) {
  const auto time = tarfmt::parsePaxTime(GetParam().text);
  ASSERT_TRUE(time);
  EXPECT_EQ(time->seconds, GetParam().seconds);
  EXPECT_EQ(time->nanoseconds, GetParam().nanoseconds);
  EXPECT_EQ(tarfmt::formatPaxTime(time->seconds, time->nanoseconds), GetParam().text);
}
INSTANTIATE_TEST_SUITE_P(Values, PaxTimes,
                         testing::Values(Time{"0", 0, 0}, Time{"1.5", 1, 500000000},
                                         Time{"-1.5", -2, 500000000}, Time{"-0.25", -1, 750000000},
                                         Time{"1700000000.000000001", 1700000000, 1},
                                         Time{"-7", -7, 0}));

TEST(CleanTarPath, StripsWhatMeansNothing) {
  EXPECT_EQ(cleanTarPath("./a//b/./c/", "t"), "a/b/c");
  EXPECT_EQ(cleanTarPath("/etc/passwd", "t"), "etc/passwd");
  EXPECT_EQ(cleanTarPath("./", "t"), "");
  EXPECT_EQ(cleanTarPath("...", "t"), "...");
  for (const std::string& bad :
       {std::string{}, std::string{".."}, std::string{"a/../b"}, std::string{"a\0b", 3},
        std::string(256, 'n'), std::string(40000, '/') + std::string(40000, '/')}) {
    EXPECT_THROW(cleanTarPath(bad, "t"), Error) << bad.substr(0, 20);
  }
}

// --- GNU tar's own forms ---

TEST(TarReader, ReadsEverySparseFormOfGnuTar) {
  if (!hasProgram("tar")) GTEST_SKIP() << "no tar here";
  const fs::TempDir dir;
  constexpr int kPieces = 60;  // more than fit into one old GNU header and its first extension
  {
    const Fd file = sys::openat(dir.fd(), "sparse", O_WRONLY | O_CREAT, 0644);
    for (int i = 0; i < kPieces; ++i) {
      ASSERT_EQ(::pwrite(file.get(), "data", 4, off_t{i} * 131072), 4);
    }
    sys::ftruncate(file.get(), off_t{kPieces} * 131072 + 65536);
  }
  for (const std::vector<std::string>& form :
       std::vector<std::vector<std::string>>{{"--format=gnu"},
                                             {"--format=posix", "--sparse-version=0.0"},
                                             {"--format=posix", "--sparse-version=0.1"},
                                             {"--format=posix", "--sparse-version=1.0"}}) {
    std::vector<std::string> argv{"tar",   "-C", dir.path(), "-cSf", dir.path() + "/out.tar",
                                  "sparse"};
    argv.insert(argv.begin() + 1, form.begin(), form.end());
    ASSERT_EQ(runProgram(argv).status.code, 0);
    const auto members = readTar(testing_tar::readText(dir.path() + "/out.tar"));
    ASSERT_EQ(members.size(), 1U) << form.back();
    const TarEntry& entry = members[0].entry;
    EXPECT_EQ(entry.path, "sparse") << form.back();
    EXPECT_TRUE(entry.sparse);
    EXPECT_EQ(entry.size, std::uint64_t{kPieces} * 131072 + 65536);
    EXPECT_EQ(entry.extents.size(), size_t{kPieces});
    EXPECT_EQ(members[0].data.substr(0, 4), "data");
  }
}

// --- Holes ---

struct Holes {
  std::string name;
  std::vector<std::pair<size_t, size_t>> data;  // offset, length of the bytes that are not zero
  size_t size;
  std::vector<std::pair<size_t, size_t>> extents;
};
void PrintTo(const Holes& h, std::ostream* out) {
  *out << h.name;
}
class DataExtents : public testing::TestWithParam<Holes> {};
TEST_P(DataExtents, AreTheSameForWrittenAndUnallocatedZeros) {
  const Holes& c = GetParam();
  const fs::TempDir dir;
  std::string content(c.size, '\0');
  const Fd sparse = sys::openat(dir.fd(), "sparse", O_RDWR | O_CREAT, 0644);
  sys::ftruncate(sparse.get(), static_cast<off_t>(c.size));
  for (const auto& [offset, length] : c.data) {
    content.replace(offset, length, length, 'x');
    ASSERT_EQ(::pwrite(sparse.get(), content.data() + offset, length, static_cast<off_t>(offset)),
              static_cast<ssize_t>(length));
  }
  writeFile(dir.path() + "/full", content);
  const Fd full = sys::openat(dir.fd(), "full", O_RDONLY);
  for (const int fd : {sparse.get(), full.get()}) {
    std::vector<std::pair<size_t, size_t>> got;
    for (const auto& extent : dataExtents(fd, c.size))
      got.emplace_back(extent.offset, extent.length);
    EXPECT_EQ(got, c.extents);
  }
}
constexpr size_t kKi = 1024;
const Holes kHoles[] = {
    {"Small", {}, 60 * kKi, {{0, 60 * kKi}}},
    {"AllZero", {}, 64 * kKi, {}},
    {"AllZeroOdd", {}, 100 * kKi + 1, {}},
    {"NoZeros", {{0, 200 * kKi}}, 200 * kKi, {{0, 200 * kKi}}},
    {"HoleAtTheBegin", {{64 * kKi, 1}}, 65 * kKi, {{64 * kKi, 1 * kKi}}},
    {"HoleTooShort", {{60 * kKi, 1}}, 64 * kKi, {{0, 64 * kKi}}},
    {"HoleInTheMiddle", {{0, 1}, {68 * kKi, 1}}, 80 * kKi, {{0, 4 * kKi}, {68 * kKi, 12 * kKi}}},
    {"OneUnitShort", {{0, 1}, {64 * kKi, 1}}, 80 * kKi, {{0, 80 * kKi}}},
    {"HoleAtTheEnd", {{0, 5000}}, 300 * kKi, {{0, 8 * kKi}}},
    {"Unaligned", {{0, 100}, {100001, 3}}, 200 * kKi, {{0, 4 * kKi}, {96 * kKi, 4 * kKi}}},
    {"TwoHoles",
     {{0, 1}, {200 * kKi, 8 * kKi}, {500 * kKi, 1}},
     501 * kKi,
     {{0, 4 * kKi}, {200 * kKi, 8 * kKi}, {500 * kKi, 1 * kKi}}},
};
INSTANTIATE_TEST_SUITE_P(Files, DataExtents, testing::ValuesIn(kHoles),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace img::store
