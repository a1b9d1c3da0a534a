#include "cli/input_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/sys.h"
#include "base/text.h"
#include "builder/remote_url.h"
#include "distribution/remote_program.h"

namespace img::cli {
namespace {

constexpr std::uint64_t kMaxDownload = std::uint64_t{64} << 30;  // as a layer, security.md L1

std::uint64_t bytesOf(const Fd& fd) {
  const struct stat status = sys::fstat(fd.get());
  return S_ISREG(status.st_mode) ? static_cast<std::uint64_t>(status.st_size) : 0;
}

}  // namespace

InputFile openStdin(std::string_view what) {
  if (::isatty(0) == 1) {
    throw Error::make(Kind::failed, "refusing to read {} from a terminal", what);
  }
  Fd fd{sys::check([] { return ::fcntl(0, F_DUPFD_CLOEXEC, 3); }, "duplicate stdin")};
  const std::uint64_t bytes = bytesOf(fd);
  return {std::move(fd), "stdin", bytes};
}

InputFile openInput(const std::string& path) {
  Fd fd = sys::openat(AT_FDCWD, path, O_RDONLY);
  const std::uint64_t bytes = bytesOf(fd);
  return {std::move(fd), path, bytes};
}

bool isUrl(const std::string& text) {
  return text.starts_with("http://") || text.starts_with("https://");
}

InputFile fetchInput(const store::Layout& layout, const std::string& url) {
  const std::string name = builder::withoutCredentials(url);
  Fd body = sys::openat(layout.ingest(), ".", O_TMPFILE | O_RDWR, 0600);
  const Json answer =
      distribution::callRemote("fetch", Json{{"url", url}, {"limit", kMaxDownload}}, body.get());
  if (const int status = answer.value("status", 0); status != 200) {
    throw Error::make(Kind::failed, "{}: the server answered {}", text::escape(name, 500), status);
  }
  sys::check([&] { return ::lseek(body.get(), 0, SEEK_SET); }, "rewind a download");
  const std::uint64_t bytes = bytesOf(body);
  return {std::move(body), name, bytes};
}

}  // namespace img::cli
