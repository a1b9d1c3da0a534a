#include "store/tree_changes.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <ostream>

#include "base/fs.h"
#include "base/sys.h"
#include "store/union_copy.h"
#include "store/whiteout.h"

namespace img::store {
namespace {

// A tree that is changed, and the upper that comes of it, both in one folder.
class Changes : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* name : {"tree", "upper"}) sys::mkdirat(top.fd(), name, 0755);
    for (const char* name : {"tree/d", "tree/d/in", "tree/other"})
      sys::mkdirat(top.fd(), name, 0755);
    write("f", "f");
    write("d/f", "df");
    write("d/in/f", "dinf");
    sys::symlinkat("f", top.fd(), "tree/link");
  }

  std::string path(const std::string& name) { return top.path() + "/tree/" + name; }
  void write(const std::string& name, std::string_view text) {
    fs::replaceFile(top.fd(), "tree/" + name, text, 0644, fs::Sync::none);
  }
  // In place, as a command would.
  void append(const std::string& name) {
    const Fd file = sys::openat(top.fd(), "tree/" + name, O_WRONLY | O_APPEND);
    writeAll(file.get(), "+", name);
  }
  void remove(const std::string& name) { fs::removeTree(top.fd(), "tree/" + name); }
  Fd tree() { return sys::openDirectory(top.fd(), "tree"); }
  Fd upper() { return sys::openDirectory(top.fd(), "upper"); }

  // One word per entry of the upper: a folder ends in "/", an opaque one in "/!", a whiteout begins
  // with "-".
  std::string list(int folder, const std::string& prefix = "") {
    std::string out;
    for (const fs::Entry& entry : fs::listSorted(folder)) {
      const struct stat st = sys::fstatat(folder, entry.name);
      if (!S_ISDIR(st.st_mode)) {
        out += (isWhiteoutDevice(st) ? "-" : "") + prefix + entry.name + " ";
        continue;
      }
      const Fd inner = sys::openDirectory(folder, entry.name);
      const bool isOpaque = opaqueMark(inner.get()) == OpaqueMark::opaque;
      out += prefix + entry.name + (isOpaque ? "/! " : "/ ");
      out += list(inner.get(), prefix + entry.name + "/");
    }
    return out;
  }

  std::string after(const std::function<void()>& change,
                    const std::optional<timespec>& latest = {}) {
    const TreeState before = TreeState::of(tree().get());
    change();
    before.writeChanges(tree().get(), upper().get(), latest);
    return list(upper().get());
  }

  fs::TempDir top;
};

TEST_F(Changes, OfNothingAreNone) {
  EXPECT_EQ(after([] {}), "");
}

TEST_F(Changes, ShowNewAndChangedFilesAndTheFoldersOnTheWay) {
  EXPECT_EQ(after([&] {
              append("d/in/f");
              write("other/new", "n");
            }),
            "d/ d/in/ d/in/f other/ other/new ");
}

TEST_F(Changes, ShowAWriteThatLeavesSizeAndTimeAsTheyWere) {
  const struct stat st = sys::fstatat(top.fd(), "tree/f");
  EXPECT_EQ(after([&] {
              const Fd file = sys::openat(top.fd(), "tree/f", O_WRONLY);
              writeAll(file.get(), "g", "f");
              sys::futimens(file.get(), st.st_atim, st.st_mtim);
            }),
            "f ");
  EXPECT_EQ(fs::readFile(top.fd(), "upper/f"), "g");
}

TEST_F(Changes, ShowWhatIsGoneAsOneWhiteout) {
  EXPECT_EQ(after([&] {
              remove("d");
              remove("link");
            }),
            "-d -link ");
}

TEST_F(Changes, MakeAFolderThatWasReplacedOpaque) {
  EXPECT_EQ(after([&] {
              remove("d");
              sys::mkdirat(top.fd(), "tree/d", 0700);
              write("d/new", "n");
            }),
            "d/! d/new ");
}

// The file system gives the number of a removed folder to the next one.
TEST_F(Changes, KnowASuccessorThatHasTheSameInode) {
  bool isReused = false;
  const auto before = sys::fstatat(top.fd(), "tree/d/in").st_ino;
  const std::string shown = after([&] {
    remove("d/in");
    sys::mkdirat(top.fd(), "tree/d/in", 0755);
    isReused = sys::fstatat(top.fd(), "tree/d/in").st_ino == before;
  });
  EXPECT_EQ(shown, "d/ d/in/! ") << isReused;
}

TEST_F(Changes, ShowTypesThatChange) {
  EXPECT_EQ(after([&] {
              remove("f");
              sys::mkdirat(top.fd(), "tree/f", 0755);
              remove("d");
              write("d", "now a file");
            }),
            "d f/! ");
}

TEST_F(Changes, ShowAllNamesOfAFile) {
  EXPECT_EQ(after([&] { sys::linkat(top.fd(), "tree/f", top.fd(), "tree/d/second", 0); }),
            "d/ d/second f ");
  EXPECT_EQ(sys::fstatat(top.fd(), "upper/f").st_ino,
            sys::fstatat(top.fd(), "upper/d/second").st_ino);
}

TEST_F(Changes, CarryOwnersModesAndTimes) {
  after([&] {
    ASSERT_EQ(::chown(path("d").c_str(), 5, 6), 0);
    ASSERT_EQ(::chmod(path("d").c_str(), 01770), 0);
    ASSERT_EQ(::lchown(path("link").c_str(), 7, 8), 0);
    sys::utimensat(top.fd(), "tree/d", {1, 2}, {3, 4});
  });
  const struct stat folder = sys::fstatat(top.fd(), "upper/d");
  EXPECT_EQ(folder.st_uid * 10 + folder.st_gid, 56U);
  EXPECT_EQ(folder.st_mode & 07777, 01770U);
  EXPECT_EQ(folder.st_mtim.tv_sec * 10 + folder.st_mtim.tv_nsec, 34);
  EXPECT_EQ(sys::fstatat(top.fd(), "upper/link").st_uid, 7U);
}

TEST_F(Changes, HaveNoLaterTimesThanAllowed) {
  const timespec latest{1000, 0};
  after([&] { append("d/f"); }, latest);
  for (const char* name : {"tree/d/f", "upper/d/f"}) {
    EXPECT_EQ(sys::fstatat(top.fd(), name).st_mtim.tv_sec, 1000) << name;
  }
  EXPECT_GT(sys::fstatat(top.fd(), "tree/f").st_mtim.tv_sec, 1000);  // not the step's
}

TEST_F(Changes, LeaveSocketsOut) {
  EXPECT_EQ(after([&] { sys::mknodat(top.fd(), "tree/socket", S_IFSOCK | 0600, 0); }), "");
}

// --- The copy of a union ---

class Union : public Changes {
 protected:
  void SetUp() override {
    for (const char* name : {"low", "high", "copy"}) sys::mkdirat(top.fd(), name, 0755);
  }
  Fd folder(const char* name) { return sys::openDirectory(top.fd(), name); }
  void file(const std::string& name, std::string_view text) {
    fs::replaceFile(top.fd(), name, text, 0644, fs::Sync::none);
  }
  void copy() { copyUnion({folder("high").get(), folder("low").get()}, folder("copy").get()); }
};

TEST_F(Union, IsCopiedAsAMountWouldShowIt) {
  for (const char* name : {"low/d", "high/d", "low/o", "high/o", "low/gone"})
    sys::mkdirat(top.fd(), name, 0755);
  file("low/d/a", "low");
  file("low/d/b", "low");
  file("high/d/a", "high");
  file("low/o/hidden", "x");
  markOpaque(sys::openDirectory(top.fd(), "high/o").get());
  makeWhiteout(folder("high").get(), "gone");
  copy();
  EXPECT_EQ(list(folder("copy").get()), "d/ d/a d/b o/ ");
  EXPECT_EQ(fs::readFile(top.fd(), "copy/d/a"), "high");
}

TEST_F(Union, SharesNoFileWithItsLayers) {
  file("low/a", "x");
  copy();
  EXPECT_NE(sys::fstatat(top.fd(), "copy/a").st_ino, sys::fstatat(top.fd(), "low/a").st_ino);
}

TEST_F(Union, KeepsNamesTogetherUntilTheyAreSeparated) {
  file("low/a", "x");
  sys::linkat(top.fd(), "low/a", top.fd(), "low/b", 0);
  sys::utimensat(top.fd(), "low", {5, 0}, {5, 0});
  copy();
  EXPECT_EQ(sys::fstatat(top.fd(), "copy/a").st_nlink, 2U);
  const auto before = sys::fstatat(top.fd(), "copy").st_mtim.tv_nsec;
  EXPECT_TRUE(separateLinks(folder("copy").get()));
  EXPECT_EQ(sys::fstatat(top.fd(), "copy/a").st_nlink, 1U);
  EXPECT_EQ(sys::fstatat(top.fd(), "copy/b").st_nlink, 1U);
  EXPECT_EQ(fs::readFile(top.fd(), "copy/b"), "x");
  EXPECT_EQ(sys::fstatat(top.fd(), "copy").st_mtim.tv_nsec, before);
  EXPECT_FALSE(separateLinks(folder("copy").get()));
}

}  // namespace
}  // namespace img::store
