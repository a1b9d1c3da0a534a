#include "store/erofs_mount.h"

#include <linux/capability.h>
#include <linux/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/sys.h"
#include "store/erofs_image.h"
#include "store/overlay.h"
#include "store/tar.h"

namespace img::store {
namespace {

constexpr char kContent[] = "one block of a tar";

void writeProbe(int index, int archive) {
  StringSink tar;
  TarWriter writer{tar};
  TarEntry file;
  file.path = "file";
  file.mode = 0644;
  file.size = sizeof kContent;
  writer.add(file);
  writer.data(std::as_bytes(std::span{kContent}));
  writer.finish();
  writeAll(archive, tar.text, "a probe");
  StringSource source{tar.text};
  indexLayer(source, index, "probe");
}

void checkContent(int root) {
  const std::string content = fs::readFile(root, "file");
  if (content != std::string_view{kContent, sizeof kContent})
    throw Error{Kind::failed, "the kernel shows other data than the archive has"};
}

}  // namespace

Fd mountErofs(int index, int archive) {
  const Fd context = sys::fsopen("erofs");
  sys::fsconfigString(context.get(), "source", sys::procPath(index));
  sys::fsconfigString(context.get(), "device", sys::procPath(archive));
  sys::fsconfigCreate(context.get(), "erofs");
  return sys::fsmount(context.get(), MOUNT_ATTR_RDONLY);
}

bool mayMountErofs() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};
  if (::syscall(SYS_capget, &header, data) != 0) return false;
  const bool isAdmin = (data[0].effective & 1U << CAP_SYS_ADMIN) != 0;
  return isAdmin && hasTrustedXattrs();
}

std::optional<std::string> whyErofsFails(int folder) try {
  const int flags = O_RDWR | O_CREAT | O_EXCL;
  const Fd index = sys::openat(folder, "index", flags, 0600);
  const Fd archive = sys::openat(folder, "tar", flags, 0600);
  writeProbe(index.get(), archive.get());
  const Fd first = mountErofs(index.get(), archive.get());
  checkContent(first.get());
  const Fd second =
      sys::openTree(first.get(), "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | unsigned{AT_EMPTY_PATH});
  const Fd third = mountErofs(index.get(), archive.get());
  OverlaySpec spec;
  spec.lowers = {second.get(), third.get()};
  checkContent(mountOverlay(spec, OverlayMethod::newApi).get());
  return std::nullopt;
} catch (const Error& error) {
  return error.cause();
}

}  // namespace img::store
