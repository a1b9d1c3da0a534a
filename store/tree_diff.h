// What differs between two trees of layers, as `diff` shows it: one line per path, folders on the
// way to a change included. Trees that share layers are compared as far as they differ: a folder
// that is made of the same folders on both sides is not looked into.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "store/change_folder.h"

namespace img::store {

struct TreeChange {
  enum class Kind { added, changed, deleted };
  Kind kind = Kind::changed;
  std::string path;  // absolute
  // Bytes of files: of the path itself, and with what was deleted also of all below it.
  std::uint64_t bytesBefore = 0, bytesAfter = 0;
};

// Folders of each side, topmost first. Sorted bytewise by path. `after` may be in use: what
// vanishes meanwhile is left out.
std::vector<TreeChange> diffTrees(const std::vector<int>& before, const std::vector<int>& after);

// 'A', 'C' or 'D'.
char changeLetter(TreeChange::Kind kind);

}  // namespace img::store
