// Shared by the tests of tar, seal and unpack: hand-made archives, header by header, and trees as
// comparable text.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace img::store::testing_tar {

// One header as bytes say it, right or wrong.
struct RawHeader {
  std::string name;
  char type = '0';
  std::string body = {};
  std::string link = {};
  std::uint32_t mode = 0644, uid = 0, gid = 0;
  std::uint64_t mtime = 1000;
  std::uint32_t devMajor = 0, devMinor = 0;
  std::string magic = std::string{
      "ustar\0"
      "00",
      8};
  std::string rawSize = {};  // the 12 bytes of the size field, instead of the body's size
  std::string prefix = {};
};

class RawTar {
 public:
  RawTar& add(const RawHeader& header);
  RawTar& file(const std::string& name, const std::string& body = "x") {
    return add({.name = name, .body = body});
  }
  RawTar& folder(const std::string& name) { return add({.name = name, .type = '5', .mode = 0755}); }
  RawTar& symlink(const std::string& name, const std::string& target) {
    return add({.name = name, .type = '2', .link = target, .mode = 0777});
  }
  RawTar& hardLink(const std::string& name, const std::string& target) {
    return add({.name = name, .type = '1', .link = target});
  }
  // Records of an 'x' (or 'g') header, in order, with right lengths.
  RawTar& pax(const std::vector<std::pair<std::string, std::string>>& records, char type = 'x');
  RawTar& gnuName(char type, const std::string& name);
  RawTar& raw(std::string_view bytes) {
    bytes_ += bytes;
    return *this;
  }
  std::string end() const { return bytes_ + std::string(1024, '\0'); }
  std::string withoutEnd() const { return bytes_; }

 private:
  std::string bytes_;
};

// The header alone, checksum included.
std::string headerBytes(const RawHeader& header);
std::string fixChecksum(std::string header);

// Path -> everything that a layer keeps of it. Overlay marks are named; the root is left out.
using Tree = std::map<std::string, std::string>;
Tree describeTree(const std::string& path);

// Inode, mode, owner, links, size, times and content of a folder that nothing may touch.
std::string describeCanary(const std::string& path);

void writeFile(const std::string& path, std::string_view content, std::uint32_t mode = 0644);
std::string readText(const std::string& path);
void setTime(const std::string& path, std::int64_t seconds, long nanoseconds = 0);

bool isRoot();
bool hasProgram(const std::string& name);

}  // namespace img::store::testing_tar
