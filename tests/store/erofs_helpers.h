// Every layer that a test unpacks is indexed as well, and both have to show the same: the same tree
// or the same error.
#pragma once

#include <map>
#include <string>

#include "base/fd.h"
#include "base/stream.h"
#include "store/unpack.h"

namespace img::store::testing_erofs {

// Whether this machine mounts EROFS from files; tests that need it skip with the reason.
bool canMount();

struct IndexedLayer {
  Fd index, archive;  // unlinked
  Fd root;            // the mount
  UnpackStats stats;
};
IndexedLayer indexAndMount(const std::string& tar);

// Path -> all that can be seen of it: type, mode, owner, size, links, time, device, attributes,
// target, content, and which names are one file. "." is the root itself.
std::map<std::string, std::string> describeAll(int root);

// unpackLayer() into `folder`; the index of the same tar has to say the same.
UnpackStats unpackBothWays(const std::string& tar, int folder);

// What fsck.erofs (1.5: only images with blocks of 4096 bytes) says about an index of the tar in
// that form; "" when it is content, or not there.
std::string checkByFsck(const std::string& tar);

}  // namespace img::store::testing_erofs
