#include "cli/user_ranges.h"

#include <fcntl.h>

#include <algorithm>
#include <functional>
#include <tuple>

#include "base/error.h"
#include "base/fs.h"
#include "base/sys.h"
#include "runtime/subordinate_ids.h"

namespace img::cli {
namespace {

constexpr std::uint32_t kRange = 65536;
// systemd's table of ids (UIDS-GIDS.md) has nobody from here to kEnd: above its own containers,
// below those of foreign images.
constexpr std::uint32_t kFirst = 0x70000000;
constexpr std::uint32_t kEnd = 0x7FFE0000;

constexpr uid_t kNoUser = static_cast<uid_t>(-1);

// The longest line counts: a range of a container is in one piece.
template <class Ranges>
auto longest(const Ranges& ranges) {
  return *std::max_element(ranges.begin(), ranges.end(),
                           [](const auto& a, const auto& b) { return a.count < b.count; });
}

}  // namespace

IdPool idPool(std::string_view subuid, std::string_view subgid) {
  for (const char* user : {"containers", "img"}) {
    const auto uids = runtime::parseSubordinateIds(subuid, user, kNoUser, "/etc/subuid");
    const auto gids = runtime::parseSubordinateIds(subgid, user, kNoUser, "/etc/subgid");
    if (uids.empty() && gids.empty()) continue;
    const char* missing = uids.empty() ? "/etc/subuid" : gids.empty() ? "/etc/subgid" : nullptr;
    if (missing != nullptr) {
      throw Error::make(Kind::failed, "{} has no range for the user {}", missing, user)
          .code("idmap")
          .hint("give it one in both files, or in none");
    }
    const auto uid = longest(uids);
    const auto gid = longest(gids);
    const IdPool pool{uid.first, gid.first, std::min(uid.count, gid.count) / kRange};
    if (pool.ranges > 0) return pool;
    throw Error::make(Kind::failed,
                      "the user {} has less than {} ids in /etc/subuid or /etc/subgid", user,
                      kRange)
        .code("idmap")
        .hint("each container of --userns auto gets that many");
  }
  return {kFirst, kFirst, (kEnd - kFirst) / kRange};
}

UserRange leaseUserRange(const std::string& runRoot, const IdPool& pool, std::string_view seed) {
  const Fd folder = fs::makeDirs(AT_FDCWD, runRoot + "/userns", 0700);
  const auto start = static_cast<std::uint32_t>(std::hash<std::string_view>{}(seed) % pool.ranges);
  for (std::uint32_t i = 0; i < pool.ranges; ++i) {
    const std::uint32_t number = (start + i) % pool.ranges;
    const std::uint32_t uid = pool.firstUid + number * kRange;
    // Named after the ids themselves: two pools that overlap exclude each other where they do.
    auto lease = FileLock::tryAcquire(folder.get(), std::to_string(uid), FileLock::Mode::exclusive);
    if (lease) return {std::move(*lease), uid, pool.firstGid + number * kRange};
  }
  throw Error::make(Kind::busy, "all {} ranges of ids for --userns auto are taken", pool.ranges)
      .code("idmap")
      .hint("give the user `containers` a longer range in /etc/subuid and /etc/subgid");
}

}  // namespace img::cli
