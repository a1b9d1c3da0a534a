#include "builder/tree_covers.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <utility>

#include "base/error.h"
#include "base/fs.h"
#include "base/sys.h"
#include "base/text.h"
#include "store/rootfs.h"

namespace img::builder {
namespace {

// What is done to names of a folder does not show in its times.
class TimesKept {
 public:
  explicit TimesKept(int folder) : folder_(folder), before_(sys::fstat(folder)) {}
  TimesKept(const TimesKept&) = delete;
  TimesKept& operator=(const TimesKept&) = delete;
  ~TimesKept() {
    const timespec times[2] = {before_.st_atim, before_.st_mtim};
    ::futimens(folder_, times);  // of a folder of the build's own
  }

 private:
  int folder_;
  struct stat before_;
};

}  // namespace

Fd TreeCovers::enter(const Fd& folder, const std::string& name, std::vector<Name>& made) const {
  const TimesKept kept{folder.get()};
  if (sys::tryMkdirat(folder.get(), name, 0755)) {
    Fd inner = sys::openat(folder.get(), name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    sys::fchmod(inner.get(), 0755);
    made.push_back({sys::openDirectory(folder.get(), "."), name});
    return inner;
  }
  return sys::openat(folder.get(), name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
}

TreeCovers::Spot TreeCovers::cover(const std::string& path) {
  std::vector<std::string> parts;
  for (std::string& part : text::split(store::pathInTree(root_, path), '/')) {
    if (!part.empty()) parts.push_back(std::move(part));
  }
  if (parts.empty())
    throw Error::make(Kind::usage, "{} cannot be the place of a mount", text::quote(path));
  Cover cover;
  cover.place.name = std::move(parts.back());
  parts.pop_back();
  cover.place.folder = sys::openDirectory(root_, ".");
  for (const std::string& part : parts)
    cover.place.folder = enter(cover.place.folder, part, cover.made);
  const int folder = cover.place.folder.get();
  cover.hasOriginal = sys::tryFstatat(folder, cover.place.name).has_value();
  if (cover.hasOriginal) {
    const TimesKept kept{folder};
    sys::renameat(folder, cover.place.name, aside_.get(), std::to_string(covers_.size()));
  }
  covers_.push_back(std::move(cover));
  return last();
}

TreeCovers::Spot TreeCovers::last() const {
  const Name& place = covers_.back().place;
  return {place.folder.get(), place.name};
}

int TreeCovers::coverWithFolder(const std::string& path, mode_t mode) {
  const Spot spot = cover(path);
  const TimesKept kept{spot.folder};
  sys::mkdirat(spot.folder, spot.name, 0700);
  Fd& folder = covers_.back().folder;
  folder = sys::openat(spot.folder, spot.name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  sys::fchmod(folder.get(), mode);
  return folder.get();
}

void TreeCovers::coverWithFile(const std::string& path, std::string_view content, mode_t mode) {
  const Spot spot = cover(path);
  const TimesKept kept{spot.folder};
  const Fd file = sys::openat(spot.folder, spot.name, O_WRONLY | O_CREAT | O_EXCL, 0600);
  writeAll(file.get(), content, path);
  sys::fchmod(file.get(), mode);
}

void TreeCovers::restore() {
  while (!covers_.empty()) {
    const Cover cover = std::move(covers_.back());
    covers_.pop_back();
    const std::string original = std::to_string(covers_.size());
    const int folder = cover.place.folder.get();
    {
      const TimesKept kept{folder};
      fs::removeTree(folder, cover.place.name);
      try {
        if (cover.hasOriginal) sys::renameat(aside_.get(), original, folder, cover.place.name);
      } catch (const Error& error) {
        if (error.errnum() != ENOENT) throw;
        fs::removeTree(aside_.get(), original);  // the step has removed the folder
      }
    }
    for (auto made = cover.made.rbegin(); made != cover.made.rend(); ++made) {
      const TimesKept kept{made->folder.get()};
      if (::unlinkat(made->folder.get(), made->name.c_str(), AT_REMOVEDIR) != 0) break;
    }
  }
}

}  // namespace img::builder
