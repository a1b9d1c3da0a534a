#include "cli/output_file.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/sys.h"

namespace img::cli {

void writeOutput(Context& context, const std::string& path,
                 const std::function<void(Sink&)>& write) {
  if (path.empty()) {
    if (context.outIsTerminal()) {
      throw Error{Kind::failed, "refusing to write an archive to a terminal"}.hint("-o FILE");
    }
    FdSink sink{Fd{sys::check([&] { return ::fcntl(context.out(), F_DUPFD_CLOEXEC, 3); },
                              "duplicate stdout")},
                "stdout"};
    return write(sink);
  }
  const auto old = sys::tryFstatat(AT_FDCWD, path);
  if (old && !S_ISREG(old->st_mode)) {
    FdSink sink{sys::openat(AT_FDCWD, path, O_WRONLY), path};
    return write(sink);
  }
  // Into a new file beside the old one, then renamed: a failure leaves what was there.
  const std::string part = path + ".part-" + fs::randomHex(8);
  try {
    FdSink sink{sys::openat(AT_FDCWD, part, O_WRONLY | O_CREAT | O_EXCL, 0666), path};
    write(sink);
    sink.fd().close(path);
    sys::renameat(AT_FDCWD, part, AT_FDCWD, path);
  } catch (...) {
    ::unlink(part.c_str());
    throw;
  }
}

}  // namespace img::cli
