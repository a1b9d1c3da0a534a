// Overlay folders stacked on each other and read as one change set: what a single layer would hold
// in their place. The topmost folder that knows a name decides about it, a whiteout too; folders of
// one name merge down to the first that is opaque or no folder (overlayfs.rst, "whiteouts and
// opaque directories"). A stack of one is an ordinary layer, read without further lookups.
#pragma once

#include <string>
#include <vector>

#include "base/fd.h"
#include "store/whiteout.h"

namespace img::store {

// A file or folder below a directory, for reading; its atime stays as it is where we may ask for
// that (the file system would write an inode per file).
Fd openForReading(int dir, const std::string& name, int flags);

class ChangeFolder {
 public:
  struct Item {
    std::string name;
    unsigned char type = 0;  // DT_REG ..., DT_UNKNOWN; of a whiteout without meaning
    bool isWhiteout = false;
    size_t level = 0;  // of the folder that decides, 0 is the topmost
  };

  // Topmost first.
  static ChangeFolder root(const std::vector<int>& folders);
  // Every name once, in no order.
  [[nodiscard]] std::vector<Item> list() const;
  // The folder that `item` names.
  [[nodiscard]] ChangeFolder descend(const Item& item) const;

  // The folder to look an item up in.
  [[nodiscard]] int dirOf(const Item& item) const { return levels_[item.level].dir.get(); }
  // The topmost folder: its metadata are those of the whole.
  [[nodiscard]] int top() const { return levels_.front().dir.get(); }
  // Made of the very same folders: nothing in them can differ.
  [[nodiscard]] bool isSameStack(const ChangeFolder& other) const;
  // Nothing that lies below the stack shows through.
  [[nodiscard]] bool isOpaque() const { return isOpaque_; }

 private:
  struct Level {
    Fd dir;
    OpaqueMark mark;
  };
  void append(Fd dir);
  static void listLevel(const Level& level, size_t number, std::vector<Item>& items);

  std::vector<Level> levels_;
  bool isOpaque_ = false;
};

}  // namespace img::store
