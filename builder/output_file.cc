#include "builder/output_file.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/sys.h"
#include "base/text.h"

namespace img::builder {
namespace {

constexpr mode_t kMode = 0666;  // less the umask

std::string folderOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace

OutputFile::OutputFile(const std::string& dest, int stdoutFd)
    : dest_(dest),
      sink_(open(stdoutFd), dest == "-" ? "stdout" : dest),
      grown_(sink_, isNameless_ || !part_.empty()) {}

OutputFile::~OutputFile() {
  if (!part_.empty()) ::unlink(part_.c_str());
}

Fd OutputFile::open(int stdoutFd) {
  if (dest_ == "-") {
    return Fd{sys::check([&] { return ::fcntl(stdoutFd, F_DUPFD_CLOEXEC, 3); }, "use stdout")};
  }
  struct stat st {};
  if (::stat(dest_.c_str(), &st) == 0 && !S_ISREG(st.st_mode)) {
    if (S_ISDIR(st.st_mode)) {
      throw Error::make(Kind::exists, "{} is a folder, the output is one file", text::quote(dest_))
          .hint("name a file: dest=" + dest_ + "/NAME.tar");
    }
    return sys::openat(AT_FDCWD, dest_, O_WRONLY);
  }
  const int fd = ::open(folderOf(dest_).c_str(), O_TMPFILE | O_WRONLY | O_CLOEXEC, kMode);
  if (fd >= 0) {
    isNameless_ = true;
    return Fd{fd};
  }
  // NFS and others have none; whatever else is wrong comes again.
  part_ = dest_ + ".part-" + fs::randomHex(8);
  try {
    return sys::openat(AT_FDCWD, part_, O_WRONLY | O_CREAT | O_EXCL, kMode);
  } catch (Error& error) {
    part_.clear();
    if (error.errnum() == ENOENT)
      error.hint("the folder " + text::quote(folderOf(dest_)) + " does not exist");
    throw;
  }
}

void OutputFile::Grown::write(std::span<const std::byte> bytes) {
  if (isNew_) blocks_.grow(size_, size_ + bytes.size());
  file_.write(bytes);
  size_ += bytes.size();
}

void OutputFile::Grown::finish() {
  if (isNew_) blocks_.trim(size_);
}

void OutputFile::commit() {
  grown_.finish();
  if (isNameless_) {
    // A name can only be given to a file, not taken over from another one: two steps.
    const std::string part = dest_ + ".part-" + fs::randomHex(8);
    sys::linkat(AT_FDCWD, sys::procPath(sink_.fd().get()), AT_FDCWD, part, AT_SYMLINK_FOLLOW);
    part_ = part;
  }
  sink_.fd().close(dest_);
  if (part_.empty()) return;
  sys::renameat(AT_FDCWD, part_, AT_FDCWD, dest_);
  part_.clear();
}

}  // namespace img::builder
