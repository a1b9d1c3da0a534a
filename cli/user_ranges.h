// --userns auto: a range of ids for a container that no other container has (security.md U3). A
// lease is a locked file RUNROOT/userns/<number>: the lock goes with the process that holds it, so
// a killed keeper leaves nothing behind. RUNROOT is the machine's, whatever the store.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/lock.h"
#include "runtime/spec.h"

namespace img::cli {

// Where ranges are cut from, 65536 ids each.
struct IdPool {
  std::uint32_t firstUid = 0, firstGid = 0;
  std::uint32_t ranges = 0;
};
// The lines of /etc/subuid and /etc/subgid for the user `containers`, else for `img`; without them
// ids that no distribution gives to anybody. Throws Kind::failed, code "idmap", for pools of less
// than one range.
IdPool idPool(std::string_view subuid, std::string_view subgid);

struct UserRange {
  FileLock lease;
  std::uint32_t uid = 0, gid = 0;
};
// `seed`, the container's id, says where the search begins. Throws Kind::busy, code "idmap", when
// all ranges are taken.
UserRange leaseUserRange(const std::string& runRoot, const IdPool& pool, std::string_view seed);

}  // namespace img::cli
