#include <fcntl.h>
#include <unistd.h>

#include <csignal>
#include <string>
#include <vector>

#include "cli/app.h"
#include "distribution/remote_inflate.h"

namespace {

// A descriptor 0, 1 or 2 that the caller closed would be given to the next file we open, and a
// message would land in it. open(2) takes the lowest free number. security.md F1.
bool openStandardStreams() {
  for (int fd = 0; fd <= 2; ++fd) {
    if (fcntl(fd, F_GETFD) >= 0) continue;
    if (open("/dev/null", O_RDWR) != fd)
      return false;  // NOLINT(android-cloexec-open): inherited as 0-2
  }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  if (!openStandardStreams()) return 125;
  // A reader that went away shows as EPIPE on the write and is handled there (cli.md section 2).
  std::signal(SIGPIPE, SIG_IGN);
  // A file beyond the limit of its size (setrlimit(2), RLIMIT_FSIZE) is an error of its write,
  // EFBIG.
  std::signal(SIGXFSZ, SIG_IGN);
  img::distribution::installRemoteInflate();
  return img::cli::runMain(std::vector<std::string>(argv, argv + argc));
}
