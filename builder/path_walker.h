// One walk over a path inside a root, component by component, for a root on disk and for a planned
// one: symbolic links are followed inside the root, also dangling ones, whose target is then
// created (dockerfile.md 3.8, "Destination").
#pragma once

#include <sys/stat.h>

#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/text.h"
#include "builder/root_path.h"

namespace img::builder {

// Tree has a type Folder and
//   Folder root();  Folder again(const Folder&);
//   optional<struct stat> find(const Folder&, const string& name);
//   string readLink(const Folder&, const string& name);
//   Folder enter(const Folder&, const string& name);  Folder make(const Folder&, const string&
//   name, const NewFolder&); string pathOf(const Folder&, const string& name): where the name lies,
//   seen from the root
template <class Tree>
class PathWalker {
 public:
  using Folder = typename Tree::Folder;
  struct Place {
    Folder parent;
    std::string name;  // "." for the root
    std::optional<struct stat> st;
  };

  PathWalker(Tree& tree, const std::string& path, const NewFolder& missing)
      : tree_(tree), path_(path), missing_(missing) {
    folders_.push_back(tree_.root());
    push(path);
  }

  // Walks to the last component; the place may be missing there.
  Place toLast() {
    while (!names_.empty()) {
      const std::string name = std::move(names_.front());
      names_.pop_front();
      if (name.empty() || name == ".") continue;
      if (name == "..") {
        if (folders_.size() > 1) folders_.pop_back();
        continue;
      }
      const auto st = tree_.find(folders_.back(), name);
      if (st && S_ISLNK(st->st_mode)) {
        follow(tree_.readLink(folders_.back(), name));
      } else if (isLast()) {
        return Place{tree_.again(folders_.back()), name, st};
      } else {
        enter(name, st);
      }
    }
    // The path ended in "/", "." or "..": the place is the folder itself.
    struct stat st {};
    st.st_mode = S_IFDIR;
    return Place{tree_.again(folders_.back()), ".", st};
  }

  void enter(const std::string& name, const std::optional<struct stat>& st) {
    if (!st) {
      folders_.push_back(tree_.make(folders_.back(), name, missing_));
      return;
    }
    if (!S_ISDIR(st->st_mode)) {
      throw Error::make(Kind::failed, "{} exists and is not a directory (it is a {})",
                        text::escape(tree_.pathOf(folders_.back(), name), 500),
                        typeName(st->st_mode));
    }
    folders_.push_back(tree_.enter(folders_.back(), name));
  }

  Folder takeTop() { return std::move(folders_.back()); }

 private:
  static constexpr int kMaxLinks = 40;  // path_resolution(7)

  [[nodiscard]] bool isLast() const {
    for (const std::string& name : names_) {
      if (!name.empty() && name != ".") return false;
    }
    return true;
  }
  void push(const std::string& path) {
    const std::vector<std::string> parts = text::split(path, '/');
    names_.insert(names_.begin(), parts.begin(), parts.end());
  }
  void follow(const std::string& target) {
    if (++links_ > kMaxLinks)
      throw Error::make(Kind::failed, "{}: too many symbolic links", text::escape(path_));
    if (target.starts_with('/')) folders_.erase(folders_.begin() + 1, folders_.end());
    push(target);
  }

  Tree& tree_;
  const std::string& path_;
  const NewFolder& missing_;
  std::vector<Folder> folders_;  // from the root to where we are
  std::deque<std::string> names_;
  int links_ = 0;
};

// mkdir -p; gives the folder.
template <class Tree>
typename Tree::Folder makeFoldersIn(Tree& tree, const std::string& path, const NewFolder& missing) {
  PathWalker<Tree> walker{tree, path, missing};
  const auto place = walker.toLast();
  if (place.name != ".") walker.enter(place.name, place.st);
  return walker.takeTop();
}

}  // namespace img::builder
