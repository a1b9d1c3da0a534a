#include "store/owners.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/process.h"
#include "base/sys.h"
#include "store/seal.h"
#include "store/tree_copy.h"
#include "store/xattrs.h"
#include "tests/store/store_fixture.h"

namespace img::store::test {
namespace {

void writeFile(const char* path, const char* text) {
  writeAll(sys::openat(AT_FDCWD, path, O_WRONLY).get(), text, path);
}

// A user namespace with one id, as an ordinary user without subordinate ids has it.
void enterOneId() {
  sys::unshare(CLONE_NEWUSER);
  writeFile("/proc/self/setgroups", "deny");
  writeFile("/proc/self/uid_map", "0 0 1\n");
  writeFile("/proc/self/gid_map", "0 0 1\n");
}

// The work's failed expectations come back as text: a child's are not the test's.
std::string inOneId(const std::function<std::string()>& work) {
  return Child::fork([&] {
           enterOneId();
           return work();
         })
      .finish();
}

std::string ownerOf(const struct stat& st) {
  return fmt::format("{}:{}", st.st_uid, st.st_gid);
}

class Owners : public testing::Test {
 protected:
  void SetUp() override {
    if (!isRoot()) GTEST_SKIP() << "needs root";
    std::ignore = sys::openat(dir_.fd(), "file", O_WRONLY | O_CREAT, 0000);
    sys::mkdirat(dir_.fd(), "folder", 0755);
    sys::symlinkat("file", dir_.fd(), "link");
    sys::symlinkat("file", dir_.fd(), "other");
    sys::mknodat(dir_.fd(), "fifo", S_IFIFO | 0600, 0);
  }
  std::string applied(const std::string& name) const {
    struct stat st = sys::fstatat(dir_.fd(), name);
    applyOwnerAt(dir_.fd(), name, st);
    return ownerOf(st);
  }
  std::string real(const std::string& name) const { return ownerOf(sys::fstatat(dir_.fd(), name)); }

  fs::TempDir dir_;
};

TEST_F(Owners, AreSetWhereTheyCanBe) {
  for (const char* name : {"file", "folder", "link", "fifo"}) {
    giveEntry(dir_.fd(), name, 12, 34);
    EXPECT_EQ(real(name), "12:34") << name;
  }
  EXPECT_FALSE(recordsOwners());
}

TEST_F(Owners, AreRecordedForEveryTypeWhereTheyCannotBe) {
  EXPECT_EQ(inOneId([&] {
              std::string all;
              for (const char* name : {"file", "folder", "link", "fifo", "other"}) {
                giveEntry(dir_.fd(), name, 12, 34);
              }
              giveEntry(dir_.fd(), "other", 56, 78);
              for (const char* name : {"file", "folder", "link", "fifo", "other"}) {
                all += applied(name) + " " + real(name) + "\n";
              }
              return all;
            }),
            "12:34 0:0\n12:34 0:0\n12:34 0:0\n12:34 0:0\n56:78 0:0\n");
}

TEST_F(Owners, OfADescriptorAreThoseOfItsName) {
  EXPECT_EQ(inOneId([&] {
              const Fd folder = sys::openDirectory(dir_.fd(), "folder");
              giveFile(folder.get(), 1, 2);
              struct stat st = sys::fstat(folder.get());
              applyOwner(folder.get(), st);
              const Fd handle = sys::openat(dir_.fd(), "folder", O_PATH);
              struct stat again = sys::fstat(handle.get());
              applyOwner(handle.get(), again);
              return ownerOf(st) + " " + ownerOf(again);
            }),
            "1:2 1:2");
}

TEST_F(Owners, AreForgottenWhenRootGetsTheFile) {
  EXPECT_EQ(inOneId([&] {
              std::string all;
              for (const char* name : {"file", "folder", "link"}) {
                giveEntry(dir_.fd(), name, 12, 34);
                giveEntry(dir_.fd(), name, 0, 0);
                all += applied(name) + " ";
              }
              return all;
            }),
            "0:0 0:0 0:0 ");
}

TEST_F(Owners, TravelInTheTarAndNotAsAttributes) {
  const auto tarOf = [&] {
    StringSink sink;
    SealOptions options;
    options.setMtime = 0;
    writeLayerTar(dir_.fd(), sink, options);
    return sink.text;
  };
  const std::string recorded = inOneId([&] {
    for (const char* name : {"file", "folder", "link", "fifo"}) {
      giveEntry(dir_.fd(), name, 12, 34);
    }
    return tarOf();
  });
  sys::fchmod(dir_.fd(), 0700);
  for (const char* name : {"file", "folder", "link", "fifo"}) {
    giveEntry(dir_.fd(), name, 12, 34);
  }
  EXPECT_EQ(recorded, tarOf());
}

TEST_F(Owners, GoAlongWithACopyOfATree) {
  sys::mkdirat(dir_.fd(), "to", 0755);
  EXPECT_EQ(inOneId([&] {
              std::ignore = sys::openat(dir_.fd(), "folder/inner", O_WRONLY | O_CREAT, 0644);
              sys::symlinkat("inner", dir_.fd(), "folder/link");
              giveEntry(dir_.fd(), "folder", 1, 2);
              const Fd from = sys::openDirectory(dir_.fd(), "folder");
              giveEntry(from.get(), "inner", 3, 4);
              giveEntry(from.get(), "link", 5, 6);
              const Fd to = sys::openDirectory(dir_.fd(), "to");
              copyTree(from.get(), to.get());
              std::string all = applied("to");
              for (const char* name : {"inner", "link"}) {
                struct stat st = sys::fstatat(to.get(), name);
                applyOwnerAt(to.get(), name, st);
                all += " " + ownerOf(st);
              }
              return all;
            }),
            "1:2 3:4 5:6");
}

TEST_F(Owners, OfMoreLinksThanAFolderCanRemember) {
  EXPECT_EQ(inOneId([&] {
              try {
                for (int i = 0; i < 20'000; ++i) {
                  const std::string name = "l" + std::to_string(i);
                  sys::symlinkat("file", dir_.fd(), name);
                  giveEntry(dir_.fd(), name, 1234567, 1234567);
                }
              } catch (const Error& error) {
                return error.code() + " " + error.why();
              }
              return std::string{"all"};
            }),
            "idmap this user namespace has no such id");
}

TEST(OwnerXattrs, AreNotTakenFromALayer) {
  EXPECT_EQ(judgeXattr("user.img.owner", "1:2"), XattrVerdict::dropAndWarn);
  EXPECT_EQ(judgeXattr("user.img.owners", "1:2:3\n"), XattrVerdict::dropAndWarn);
  EXPECT_EQ(judgeXattr("user.img.other", ""), XattrVerdict::keep);
}

}  // namespace
}  // namespace img::store::test
