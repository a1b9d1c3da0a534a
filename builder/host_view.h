// A folder or file of the host as a step may see it: what the ignore rules take away and special
// files are hidden, everything belongs to root as in a COPY (dockerfile.md 6.3), and nothing that
// the step does reaches the host. The tree is not copied: hidden names are whiteouts of a lower
// folder over it, another owner is mapped by the mount (mount_setattr(2), "ID-mapped mounts"). Only
// where that is not possible (files of several owners, an older kernel) it is.
#pragma once

#include <sys/stat.h>

#include <vector>

#include "base/fd.h"
#include "builder/copy_tree.h"
#include "builder/source_filter.h"
#include "runtime/spec.h"

namespace img::builder {

class HostView {
 public:
  // `scratch`: an empty folder that outlives the mount.
  HostView(TreeCopier::Source source, const SourceFilter& filter, int scratch)
      : source_(std::move(source)), filter_(filter), scratch_(scratch) {}

  bool mayUnite = true;  // false: overlayfs would refuse the folder together with `scratch`

  // Without target, flags and attributes.
  runtime::Mount open(bool isReadOnly);

 private:
  [[nodiscard]] runtime::Mount copyOfFile() const;
  [[nodiscard]] runtime::Mount copyOfFolder() const;
  runtime::Mount folder(bool isReadOnly);
  struct Owner {
    uid_t uid;
    gid_t gid;
  };
  // `hiding`: -1 when nothing is hidden.
  [[nodiscard]] runtime::Mount united(bool isReadOnly, int hiding, const Owner& owner) const;

  TreeCopier::Source source_;
  const SourceFilter& filter_;
  int scratch_;
};

// A writable union of `lowers` (topmost first) whose changes nobody keeps; `root` gives the
// metadata of its root.
Fd mountThrowAway(std::vector<int> lowers, const struct stat& root, int scratch);

}  // namespace img::builder
