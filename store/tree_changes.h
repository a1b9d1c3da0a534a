// What a step did to a tree that is no mount: the tree as it was, remembered by what the kernel
// says about each name, and afterwards the difference as an overlay upper folder, which the sealer
// turns into the layer that a mounted union would have given.
#pragma once

#include <ctime>
#include <map>
#include <memory>
#include <optional>
#include <string>

namespace img::store {

class TreeState {
 public:
  // Looks at every name below `root`; contents are not read. Nobody else may write to the tree.
  // When it returns, whatever happens to the tree gets a later time.
  static TreeState of(int root);

  // Puts what is new or different now into the empty folder `upper`; what is gone becomes a
  // whiteout, and a folder in the place of another one opaque. Modification times after `latest`
  // become `latest`, in the tree and in the upper.
  void writeChanges(int root, int upper, const std::optional<timespec>& latest) const;

 private:
  friend class ChangeWriter;
  // The change time tells every change of a file: contents, metadata, attributes and number of
  // names (inode(7)). The number of a removed folder may be given to its successor at once, whose
  // birth is later.
  struct Node {
    unsigned long long inode = 0;
    long long changed = 0, born = 0;  // nanoseconds
    bool isFolder = false;
    std::map<std::string, Node> children;
  };
  static Node look(int dir, const std::string& name);
  static void lookBelow(int folder, Node& node, long long& latest);

  Node root_;
};

}  // namespace img::store
