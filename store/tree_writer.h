// Puts the entries of an archive into a folder, and never outside of it (security.md T2, T4, T6,
// T7, T10, T12). Paths go through descriptors: the parent is resolved in the root, everything else
// is a single name below its descriptor. The root is nobody else's while this works. Folder times
// survive what is put into the folders.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/fd.h"
#include "store/free_space.h"
#include "store/layer_tree.h"
#include "store/tar.h"
#include "store/xattrs.h"

namespace img::store {

class TreeWriter final : public LayerTree {
 public:
  enum class Style {
    layer,    // an empty folder in overlayfs form; missing parents are made, also behind links
    archive,  // a folder of a root file system that has content
  };
  // `base` is the folder below `root` that entries go to ("" = root itself). `name` opens messages.
  TreeWriter(int root, std::string base, Style style, std::string name);

  using Meta = EntryMeta;
  void putFolder(const std::string& path, const Meta& meta) override;  // "": the base folder itself
  void putFile(const std::string& path, const Meta& meta, const TarEntry& entry,
               TarReader& data) override;
  void putSymlink(const std::string& path, const Meta& meta, const std::string& target) override;
  void putNode(const std::string& path, const Meta& meta, mode_t type, dev_t device) override;
  void putLink(const std::string& path, const std::string& target) override;
  void putWhiteout(const std::string& parent, const std::string& name) override;
  void putOpaque(const std::string& folder) override;
  void finish() override;

 private:
  struct Place {
    std::string parent, name;
  };
  static Place split(const std::string& path);
  [[nodiscard]] std::string full(const std::string& path) const;
  [[noreturn]] void refuse(const std::string& path, std::string_view what) const;

  // The folder that entries are put into right now: a run of files in one folder costs one lookup.
  int enter(const std::string& parent);
  void leave();
  [[nodiscard]] std::optional<Fd> tryOpenFolder(const std::string& fullPath) const;
  void makeParents(const std::string& fullPath);
  Fd makeParent(int dir, const std::string& name, const std::string& fullPath);

  // Removes what has the name. True when it was a whiteout, which has to stay in force.
  bool clear(int dir, const std::string& name);
  // `make` returns false when the name exists; it is then cleared and made again.
  bool create(int dir, const std::string& name, const std::function<bool()>& make);
  void writeData(int file, const TarEntry& entry, TarReader& data);
  [[nodiscard]] bool mustChown(const Meta& meta) const;
  void giveTo(int dir, const std::string& name,
              const Meta& meta) const;  // "": the descriptor itself
  void setMeta(int fd, const Meta& meta);
  void noteXattrs(bool complete);

  int root_;
  std::string base_;
  Style style_;
  std::string name_;
  FreeSpace space_;
  uid_t ownUid_;
  gid_t ownGid_;

  std::string current_;
  Fd currentFd_;
  timespec currentMtime_{};
  bool currentIsSetgid_ = false;

  // Default ACLs would be inherited by what is put into the folder afterwards.
  std::vector<std::pair<std::string, std::string>> defaultAcls_;
  size_t defaultAclBytes_ = 0;
  bool warnedXattrs_ = false, warnedDevices_ = false;
};

}  // namespace img::store
