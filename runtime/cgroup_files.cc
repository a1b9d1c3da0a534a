#include "runtime/cgroup_files.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "base/fs.h"
#include "base/sys.h"
#include "base/text.h"

namespace img::runtime {

bool pathExists(const std::string& path) {
  return ::access(path.c_str(), F_OK) == 0;
}

std::string readText(const std::string& path) {
  try {
    return fs::tryReadFile(AT_FDCWD, path).value_or("");
  } catch (const Error&) {  // the group goes away between open and read (ENODEV)
    return {};
  }
}

std::optional<std::uint64_t> readNumber(const std::string& path) {
  return text::parseUnsigned(text::trim(readText(path)));
}

std::optional<std::uint64_t> keyedNumber(const std::string& content, std::string_view key) {
  for (const std::string& line : text::split(content, '\n')) {
    if (line.size() > key.size() && line.compare(0, key.size(), key) == 0 &&
        line[key.size()] == ' ') {
      return text::parseUnsigned(text::trim(std::string_view{line}.substr(key.size())));
    }
  }
  return std::nullopt;
}

void writeText(const std::string& path, std::string_view value) {
  writeAll(sys::openat(AT_FDCWD, path, O_WRONLY).get(), value, path);
}

int tryWriteText(const std::string& path, std::string_view value) {
  const Fd file{::open(path.c_str(), O_WRONLY | O_CLOEXEC)};
  if (!file) return errno;
  return ::write(file.get(), value.data(), value.size()) >= 0 ? 0 : errno;
}

}  // namespace img::runtime
