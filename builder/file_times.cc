#include "builder/file_times.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/sys.h"

namespace img::builder {
namespace {

constexpr int kMaxDepth = 4096;  // of a layer (store/seal.cc)

void clampBelow(int folder, const timespec& latest, int depth) {
  if (depth > kMaxDepth)
    throw Error::make(Kind::unsupported, "the layer is nested over {} folders deep", kMaxDepth);
  for (const fs::Entry& entry : fs::list(folder)) {
    const struct stat st = sys::fstatat(folder, entry.name);
    if (S_ISDIR(st.st_mode)) {
      const Fd inner = sys::openat(folder, entry.name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
      clampBelow(inner.get(), latest, depth + 1);
    }
    const timespec& time = st.st_mtim;
    const bool isLater =
        time.tv_sec > latest.tv_sec || (time.tv_sec == latest.tv_sec && time.tv_nsec > 0);
    if (isLater) sys::utimensat(folder, entry.name, {0, UTIME_OMIT}, latest);
  }
}

}  // namespace

void clampFileTimes(int folder, std::int64_t epoch) {
  clampBelow(folder, {epoch, 0}, 0);
}

}  // namespace img::builder
