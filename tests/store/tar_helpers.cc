#include "tests/store/tar_helpers.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <functional>

#include "base/digest.h"
#include "base/fs.h"
#include "base/sys.h"
#include "base/text.h"
#include "store/tar_pax.h"

namespace img::store::testing_tar {
namespace {

void put(std::string& header, size_t at, size_t length, std::string_view text) {
  std::memcpy(header.data() + at, text.data(), std::min(length, text.size()));
}

std::string octal(std::uint64_t value, int digits) {
  return fmt::format("{:0{}o}", value, digits);
}

std::string describeXattrs(const std::string& path) {
  std::string names(4096, '\0');
  const ssize_t size = ::llistxattr(path.c_str(), names.data(), names.size());
  std::map<std::string, std::string> sorted;
  for (ssize_t at = 0; at < size;) {
    const std::string name = names.c_str() + at;
    at += static_cast<ssize_t>(name.size()) + 1;
    std::string value(4096, '\0');
    const ssize_t length = ::lgetxattr(path.c_str(), name.c_str(), value.data(), value.size());
    value.resize(length < 0 ? 0 : static_cast<size_t>(length));
    sorted[name] = value;
  }
  std::string text;
  for (const auto& [name, value] : sorted) text += fmt::format(" {}={}", name, text::quote(value));
  return text;
}

void walk(
    const std::string& root, const std::string& prefix,
    const std::function<void(const std::string&, const std::string&, const struct stat&)>& visit) {
  const Fd dir = sys::openDirectory(AT_FDCWD, root);
  for (const fs::Entry& entry : fs::listSorted(dir.get())) {
    const std::string full = root + "/" + entry.name;
    const std::string relative = prefix + entry.name;
    const struct stat st = sys::fstatat(AT_FDCWD, full);
    visit(full, relative, st);
    if (S_ISDIR(st.st_mode)) walk(full, relative + "/", visit);
  }
}

}  // namespace

std::string fixChecksum(std::string header) {
  std::memset(header.data() + 148, ' ', 8);
  unsigned sum = 0;
  for (size_t i = 0; i < 512; ++i) sum += static_cast<unsigned char>(header[i]);
  put(header, 148, 8, octal(sum, 6) + std::string{"\0 ", 2});
  return header;
}

std::string headerBytes(const RawHeader& h) {
  std::string header(512, '\0');
  put(header, 0, 100, h.name);
  put(header, 100, 8, octal(h.mode, 7));
  put(header, 108, 8, octal(h.uid, 7));
  put(header, 116, 8, octal(h.gid, 7));
  put(header, 124, 12, h.rawSize.empty() ? octal(h.body.size(), 11) : h.rawSize);
  put(header, 136, 12, octal(h.mtime, 11));
  header[156] = h.type;
  put(header, 157, 100, h.link);
  put(header, 257, 8, h.magic);
  put(header, 329, 8, octal(h.devMajor, 7));
  put(header, 337, 8, octal(h.devMinor, 7));
  put(header, 345, 155, h.prefix);
  return fixChecksum(header);
}

RawTar& RawTar::add(const RawHeader& header) {
  bytes_ += headerBytes(header) + header.body;
  bytes_.resize((bytes_.size() + 511) / 512 * 512, '\0');
  return *this;
}

RawTar& RawTar::pax(const std::vector<std::pair<std::string, std::string>>& records, char type) {
  std::string body;
  for (const auto& [key, value] : records) tarfmt::appendPaxRecord(body, key, value);
  return add({.name = "PaxHeaders/x", .type = type, .body = body});
}

RawTar& RawTar::gnuName(char type, const std::string& name) {
  return add({.name = "././@LongLink",
              .type = type,
              .body = name + std::string(1, '\0'),
              .magic = std::string{"ustar  \0", 8}});
}

Tree describeTree(const std::string& path) {
  Tree tree;
  std::map<ino_t, std::string> first;
  walk(path, "", [&](const std::string& full, const std::string& relative, const struct stat& st) {
    if (S_ISCHR(st.st_mode) && st.st_rdev == 0) {
      tree[relative] = "whiteout";
      return;
    }
    std::string text = fmt::format("{:o} {}:{} {}.{:09}", st.st_mode, st.st_uid, st.st_gid,
                                   st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
    if (S_ISREG(st.st_mode))
      text += fmt::format(" {} {}", st.st_size, Digest::of(readText(full)).shortHex());
    if (S_ISLNK(st.st_mode)) text += " -> " + sys::readlinkat(AT_FDCWD, full);
    if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode)) {
      text += fmt::format(" {}:{}", major(st.st_rdev), minor(st.st_rdev));
    }
    if (!S_ISDIR(st.st_mode) && st.st_nlink > 1) {
      text += " same as " + first.try_emplace(st.st_ino, relative).first->second;
    }
    tree[relative] = text + describeXattrs(full);
  });
  return tree;
}

std::string describeCanary(const std::string& path) {
  std::string text;
  const auto describe = [&](const std::string& full, const std::string& relative,
                            const struct stat& st) {
    text += fmt::format("{} {} {:o} {}:{} {} {} {}.{} {}.{}", relative, st.st_ino, st.st_mode,
                        st.st_uid, st.st_gid, st.st_nlink, st.st_size, st.st_mtim.tv_sec,
                        st.st_mtim.tv_nsec, st.st_ctim.tv_sec, st.st_ctim.tv_nsec);
    if (S_ISREG(st.st_mode)) text += " " + readText(full);
    text += "\n";
  };
  describe(path, ".", sys::fstatat(AT_FDCWD, path));
  walk(path, "", describe);
  return text;
}

void writeFile(const std::string& path, std::string_view content, std::uint32_t mode) {
  const Fd file = sys::openat(AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  writeAll(file.get(), content, path);
  sys::fchmod(file.get(), mode);
}

std::string readText(const std::string& path) {
  return readAll(sys::openat(AT_FDCWD, path, O_RDONLY | O_NOFOLLOW).get(), path);
}

void setTime(const std::string& path, std::int64_t seconds, long nanoseconds) {
  const timespec time{seconds, nanoseconds};
  sys::utimensat(AT_FDCWD, path, time, time);
}

bool isRoot() {
  return ::geteuid() == 0;
}

bool hasProgram(const std::string& name) {
  for (const std::string& dir : text::split(std::getenv("PATH"), ':')) {
    if (::access((dir + "/" + name).c_str(), X_OK) == 0) return true;
  }
  return false;
}

}  // namespace img::store::testing_tar
