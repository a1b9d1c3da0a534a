// A copy of both kinds, on disk and only planned, over the same layers.
#pragma once

#include <gtest/gtest.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "base/stream.h"
#include "builder/content_digest.h"
#include "builder/copy_tree.h"
#include "builder/folder_destination.h"
#include "builder/plan_destination.h"
#include "store/overlay.h"
#include "store/planned_seal.h"
#include "store/seal.h"
#include "store/tar.h"
#include "tests/builder/support.h"

namespace img::builder::copies {

// Later times become this one: what a step makes and touches has the time of day.
inline constexpr std::int64_t kEpoch = 1'000'000'000;

class World {
 public:
  World() {
    for (const char* name : {"from", "lower", "lower2", "upper", "work", "mnt"})
      sys::mkdirat(temp.fd(), name, 0755);
    from = folder("from");
  }
  Fd folder(const std::string& name) const { return sys::openDirectory(temp.fd(), name); }
  void put(const std::string& path, std::string_view content, mode_t mode = 0644,
           time_t time = 100) const {
    writeFile(temp.fd(), path, content, mode);
    age(path, time);
  }
  void age(const std::string& path, time_t time) const {
    sys::utimensat(temp.fd(), path, {time, 5}, {time, 5});
  }
  std::string path(const std::string& name) const { return temp.path() + "/" + name; }

  fs::TempDir temp;
  Fd from;
  bool hasLowers = true;
  CopyOptions options;
};

using Work = std::function<void(TreeCopier& copier, const World& world)>;
inline void copyOne(TreeCopier& copier, const World& world, const std::string& path,
                    const std::string& destination, const SourceFilter& filter = {}) {
  const Fd handle = sys::openInRoot(world.from.get(), path.empty() ? "." : path, O_PATH);
  copier.copy({handle.get(), path.substr(path.rfind('/') + 1), path, path, world.from.get()},
              destination, filter);
}

inline Work copying(const std::string& path, const std::string& destination) {
  return [=](TreeCopier& copier, const World& world) { copyOne(copier, world, path, destination); };
}

inline std::string onDisk(const World& world, const Work& work) {
  const std::vector<Fd> lowers = [&] {
    std::vector<Fd> fds;
    if (!world.hasLowers) return fds;
    fds.push_back(world.folder("lower2"));
    fds.push_back(world.folder("lower"));
    return fds;
  }();
  const Fd upper = world.folder("upper");
  const Fd workDir = world.folder("work");
  Fd root = upper.duplicate();
  store::SealOptions options;
  options.clampMtime = kEpoch;
  for (const Fd& fd : lowers) options.lowers.push_back(fd.get());
  if (world.hasLowers) {
    store::OverlaySpec spec;
    spec.lowers = options.lowers;
    spec.upper = upper.get();
    spec.work = workDir.get();
    root = store::mountOverlay(spec);
  }
  FolderDestination to{root.get(), world.hasLowers ? upper.get() : -1};
  TreeCopier copier{to, world.options};
  work(copier, world);
  copier.throwIfCrowded();
  root = {};
  StringSink tar;
  store::writeLayerTar(upper.get(), tar, options);
  return std::move(tar.text);
}

inline std::string planned(const World& world, const Work& work) {
  std::vector<Fd> fds;
  std::vector<int> lowers;
  if (world.hasLowers) {
    for (const char* name : {"lower2", "lower"}) {
      fds.push_back(world.folder(name));
      lowers.push_back(fds.back().get());
    }
  }
  store::PlannedLayer layer{lowers};
  PlanDestination to{layer};
  TreeCopier copier{to, world.options};
  work(copier, world);
  copier.throwIfCrowded();
  store::PlanOptions options;
  options.seal.clampMtime = kEpoch;
  options.takesXattr = isCopiedXattr;
  StringSink tar;
  store::writePlannedTar(layer, tar, options);
  return std::move(tar.text);
}

// A line per entry, for messages and for what a case wants to be there.
inline std::string listing(const std::string& tar) {
  StringSource source{tar};
  store::TarReader reader{source, "tar"};
  std::string out;
  while (const store::TarEntry* entry = reader.next()) {
    out +=
        fmt::format("{} type={} {:o} {}:{} {}.{} size={} {}", entry->path,
                    static_cast<int>(entry->type), entry->mode, entry->uid, entry->gid,
                    entry->mtimeSeconds, entry->mtimeNanoseconds, entry->size, entry->linkTarget);
    for (const auto& [name, value] : entry->xattrs) out += " " + name + "=" + value;
    if (entry->sparse) out += " sparse";
    out += "\n";
  }
  return out;
}

inline void addXattr(const World& world, const std::string& path, const char* name,
                     const std::string& value) {
  ASSERT_EQ(::lsetxattr(world.path(path).c_str(), name, value.data(), value.size(), 0), 0) << name;
}

}  // namespace img::builder::copies
