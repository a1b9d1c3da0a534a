#include "tests/store/erofs_helpers.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>

#include "base/digest.h"
#include "base/error.h"
#include "base/fs.h"
#include "base/process.h"
#include "base/sys.h"
#include "base/text.h"
#include "store/erofs_image.h"
#include "store/erofs_mount.h"
#include "store/whiteout.h"
#include "tests/store/tar_helpers.h"

namespace img::store::testing_erofs {
namespace {

Fd scratchFile() {
  return Fd{::open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600)};
}

std::string digestOf(int dir, const std::string& name) {
  FdSource source{sys::openat(dir, name, O_RDONLY | O_NOFOLLOW), name};
  HashingSource hashed{source};
  std::vector<std::byte> buffer(1 << 20);
  while (hashed.read(buffer) > 0) {
  }
  return hashed.digest().hex().substr(0, 16);
}

std::string xattrsOf(int dir, const std::string& name) {
  const std::string path = fmt::format("/proc/self/fd/{}/{}", dir, name);
  std::string list(1 << 16, '\0');
  const ssize_t size = ::llistxattr(path.c_str(), list.data(), list.size());
  std::map<std::string, std::string> all;
  for (ssize_t at = 0; at < size;) {
    const std::string key{list.c_str() + at};
    at += static_cast<ssize_t>(key.size()) + 1;
    std::string value(1 << 16, '\0');
    const ssize_t got = ::lgetxattr(path.c_str(), key.c_str(), value.data(), value.size());
    value.resize(got < 0 ? 0 : static_cast<size_t>(got));
    all[key] = got < 0 ? "unreadable" : text::quote(value);
  }
  std::string result;
  for (const auto& [key, value] : all) result += fmt::format(" {}={}", key, value);
  return result;
}

// ext4 has 34 bits of seconds.
std::int64_t clampTime(std::int64_t seconds) {
  return std::clamp<std::int64_t>(seconds, -2147483648, (std::int64_t{1} << 34) - 2147483649);
}

class Describer {
 public:
  std::map<std::string, std::string> all;

  void folder(const Fd& dir, const std::string& path) {
    for (const fs::Entry& entry : fs::listSorted(dir.get())) {
      const std::string full = path + entry.name;
      all[full] = line(dir.get(), entry.name, full);
      if (entry.type != DT_DIR) continue;
      folder(sys::openat(dir.get(), entry.name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW), full + '/');
    }
  }
  std::string line(int dir, const std::string& name, const std::string& full) {
    const struct stat st = sys::fstatat(dir, name);
    if (isWhiteoutDevice(st)) return "whiteout";
    std::string text = fmt::format("{:o} {}:{} n{} t{}.{}", st.st_mode, st.st_uid, st.st_gid,
                                   st.st_nlink, clampTime(st.st_mtim.tv_sec), st.st_mtim.tv_nsec);
    if (S_ISREG(st.st_mode)) text += fmt::format(" s{} {}", st.st_size, digestOf(dir, name));
    if (S_ISLNK(st.st_mode)) text += " -> " + text::quote(sys::readlinkat(dir, name));
    if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode))
      text += fmt::format(" {},{}", major(st.st_rdev), minor(st.st_rdev));
    if (!S_ISDIR(st.st_mode) && st.st_nlink > 1)
      text += " as " + inodes_.try_emplace(st.st_ino, full).first->second;
    return text + xattrsOf(dir, name);
  }

 private:
  std::map<ino_t, std::string> inodes_;
};

// Made by reading the headers alone, the index is the same.
void expectSameIndexOfFile(const IndexedLayer& layer) {
  const Fd again = scratchFile();
  const UnpackStats stats = indexLayerFile(layer.archive.get(), again.get(), "test");
  EXPECT_EQ(stats.entries, layer.stats.entries);
  EXPECT_EQ(stats.bytes, layer.stats.bytes);
  ::lseek(layer.index.get(), 0, SEEK_SET);
  ::lseek(again.get(), 0, SEEK_SET);
  EXPECT_TRUE(readAll(layer.index.get(), "index") == readAll(again.get(), "index"));
}

}  // namespace

bool canMount() {
  static const bool can = [] {
    if (!mayMountErofs()) return false;
    const fs::TempDir folder;
    return !whyErofsFails(folder.fd()).has_value();
  }();
  return can;
}

IndexedLayer indexAndMount(const std::string& tar) {
  IndexedLayer layer{scratchFile(), scratchFile(), {}, {}};
  writeAll(layer.archive.get(), tar, "tar");
  StringSource source{tar};
  layer.stats = indexLayer(source, layer.index.get(), "test");
  expectSameIndexOfFile(layer);
  if (canMount()) layer.root = mountErofs(layer.index.get(), layer.archive.get());
  return layer;
}

std::map<std::string, std::string> describeAll(int root) {
  Describer describer;
  const Fd folder = sys::openDirectory(root, ".");
  describer.all["."] = describer.line(folder.get(), ".", ".");
  describer.folder(folder, "");
  return std::move(describer.all);
}

UnpackStats unpackBothWays(const std::string& tar, int folder) {
  const bool isNew = fs::list(folder).empty();
  // As Layers makes the folder of a layer.
  sys::fchmod(folder, 0755);
  sys::futimens(folder, {}, {});
  StringSource source{tar};
  UnpackStats stats;
  try {
    stats = unpackLayer(source, folder, "test");
  } catch (const Error& error) {
    try {
      indexAndMount(tar);
      ADD_FAILURE() << "the index has taken what unpacking refuses: " << error.cause();
    } catch (const Error& other) {
      EXPECT_EQ(error.cause(), other.cause());
      EXPECT_EQ(error.kind(), other.kind());
    }
    const Fd archive = scratchFile(), index = scratchFile();
    writeAll(archive.get(), tar, "tar");
    try {
      indexLayerFile(archive.get(), index.get(), "test");
      ADD_FAILURE() << "the index of the file has taken what unpacking refuses";
    } catch (const Error& other) {
      EXPECT_EQ(error.cause(), other.cause());
      EXPECT_EQ(error.kind(), other.kind());
    }
    throw;
  }
  const IndexedLayer layer = indexAndMount(tar);
  EXPECT_EQ(stats.entries, layer.stats.entries);
  EXPECT_EQ(stats.bytes, layer.stats.bytes);
  if (layer.root && isNew) {
    EXPECT_EQ(describeAll(folder), describeAll(layer.root.get()));
  }
  EXPECT_EQ(checkByFsck(tar), "");
  return stats;
}

std::string checkByFsck(const std::string& tar) {
  static const bool hasFsck = testing_tar::hasProgram("fsck.erofs");
  if (!hasFsck) return "";
  const fs::TempDir dir;
  const Fd index = sys::openat(dir.fd(), "index", O_RDWR | O_CREAT, 0600);
  StringSource source{tar};
  indexLayer(source, index.get(), "test", ErofsFormat{12});
  Fd archive = sys::openat(dir.fd(), "tar", O_RDWR | O_CREAT, 0600);
  writeAll(archive.get(), tar, "tar");
  const Output output =
      runProgram({"fsck.erofs", "--device=" + dir.path() + "/tar", dir.path() + "/index"});
  return output.status.code == 0 ? "" : output.out + output.err;
}

}  // namespace img::store::testing_erofs
