// The owners of a whole tree moved to other ids, in place. Where the kernel does not map ids for a
// mount (an ordinary user's containers that have other ids than the user's namespace), the files
// themselves get the ids that the container sees through its map, and get them back afterwards.
#pragma once

#include <cstdint>
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

// Everything below `folder`, and the folder. Modes, times and file capabilities stay; a file with
// several names counts once. Throws Kind::unsupported, code "idmap", for an id that no range holds.
void shiftOwners(int folder, const OwnerShift& shift);

}  // namespace img::store
