// The owners of a whole tree moved to other ids, in place. Where the kernel does not map ids for a
// mount (an ordinary user's containers that have other ids than the user's namespace), the files
// themselves get the ids that the container sees through its map, and get them back afterwards.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace img::store {

struct OwnerRange {
  std::uint32_t from = 0, to = 0, count = 0;
  bool operator==(const OwnerRange&) const = default;
};

struct OwnerShift {
  std::vector<OwnerRange> uids, gids;
  [[nodiscard]] OwnerShift inverse() const;
  // One line, and back. Throws Kind::corrupt.
  [[nodiscard]] std::string text() const;
  static OwnerShift parse(std::string_view text);
};

// The user namespace of this process: the ids there, and which of the machine they are.
OwnerShift ownIdMaps();
// Whether all the machine's ids that `part` leads to are among those of `whole`.
bool coversIds(const OwnerShift& whole, const OwnerShift& part);

// Whom the files of one folder and all below belong to, by their inodes, or are to belong to. Said
// in full and not as a step to take, so that it can be carried out again, and to its end, after
// somebody was killed in the middle. Modes and file capabilities are in it since chown(2) drops
// them.
struct OwnerPlan {
  struct Entry {
    uid_t uid = 0;
    gid_t gid = 0;
    mode_t mode = 0;
    std::string rights;  // security.capability
    bool operator==(const Entry&) const = default;
  };
  std::map<ino_t, Entry> entries;

  // Throws Kind::unsupported, code "idmap", for an id that no range holds.
  [[nodiscard]] OwnerPlan shifted(const OwnerShift& shift) const;
  // A line for each file, and back. Throws Kind::corrupt.
  [[nodiscard]] std::string text() const;
  static OwnerPlan parse(std::string_view text);
};

// What is: everything below `folder`, and the folder.
OwnerPlan ownersBelow(int folder);
// Files that the plan does not know stay as they are.
void setOwners(int folder, const OwnerPlan& plan);

}  // namespace img::store
