// The ids that a user may use besides its own: /etc/subuid and /etc/subgid (subuid(5)), and the map
// of a user namespace made from them (user_namespaces(7)). Values only, but for readSubordinateIds.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/spec.h"

namespace img::runtime {

struct SubordinateRange {
  std::uint32_t first = 0, count = 0;
  bool operator==(const SubordinateRange&) const = default;
};

using IdMap = std::vector<IdRange>;  // the lines of /proc/PID/uid_map

// The lines of one user, by its name or its number, in the order of the file. `file` opens
// messages. Throws Kind::corrupt, code "idmap", for ranges that overlap or leave the 32 bits.
std::vector<SubordinateRange> parseSubordinateIds(std::string_view content, std::string_view user,
                                                  uid_t uid, std::string_view file);
std::vector<SubordinateRange> readSubordinateIds(const std::string& path, std::string_view user,
                                                 uid_t uid);

// 0 is the caller, 1 and up are the ranges one after the other (security.md U1). Throws
// Kind::corrupt when a range holds the caller's own id, which would then be there twice.
IdMap makeIdMap(std::uint32_t caller, const std::vector<SubordinateRange>& ranges,
                std::string_view file);

// As the words that newuidmap(1) takes, and back from the kernel's own form.
std::vector<std::string> idMapWords(const IdMap& map);
IdMap parseIdMap(std::string_view kernelText);
// How many ids there are, from 0 on, without a gap.
std::uint64_t contiguousIds(const IdMap& map);

// The name of a user in /etc/passwd; "" when it has none there. Without NSS, which a static program
// has not got.
std::string nameOfUser(uid_t uid);

}  // namespace img::runtime
