// A layer that is thought out before anything of it is written: what folders, files, links and
// nodes it puts over the layers below, with the bytes of the files still where they come from. As a
// file system it shows what an overlay of the layers and the new one would, and changes what the
// kernel would change (times of folders, the number of names); planned_seal.h then writes its tar,
// so that no file of it is ever made.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "store/lower_view.h"
#include "store/xattrs.h"

namespace img::store {

// Only a real folder tells what would come out (ACLs that new files inherit): the layer has to be
// filled on disk. `why` is for the log.
struct CannotPlan {
  std::string why;
};

// A folder that files come from. It is opened again when they are read: a plan holds no
// descriptors, however many files it has.
struct SourceFolder {
  std::shared_ptr<const SourceFolder> parent;  // null: `root` counts
  int root = -1;                               // stays open as long as the plan
  std::string name;                            // in the parent; else a path beneath the root, or ""
};

struct PlannedFolder;

// There is one for each file of a layer, all at once: as small as it goes.
struct PlannedNode {
  mode_t mode = 0;  // with the type
  uid_t uid = 0;
  gid_t gid = 0;
  unsigned names = 0;  // that it has in the plan
  timespec mtime{};
  // A link's target; a file's name in `source`, or none when it is the root of that; all bytes of a
  // file that has no source.
  std::string text;
  std::shared_ptr<const SourceFolder> source;
  dev_t device = 0;  // of a device; of a file the one that its source lies on
  ino_t sourceInode = 0;
  std::int64_t size = 0;
  // Of a file that nobody has looked at yet: all but its place is what it is when it is read. Its
  // names in the plan are several nodes then; those of one group that turn out to be one file
  // become links. 0: it is known.
  unsigned unseenGroup = 0;

  std::unique_ptr<PlannedFolder> folder;  // of a folder only

  // As far as it is known: type, mode, owner, time, size, device.
  [[nodiscard]] struct stat stat() const;
};

struct PlannedFolder {
  enum class State {
    below,    // as it is in the layers below
    changed,  // it is there, and the layer says something about it
    made
  };
  State state = State::made;
  std::uint64_t number = 0;       // no other one of the plan has it
  PlannedNode* parent = nullptr;  // null: the root
  std::string_view name;          // in the parent
  Xattrs xattrs;                  // set on it, over those it has below
  std::map<std::string, std::shared_ptr<PlannedNode>> children;
};

class PlannedLayer {
 public:
  // `lowers`: open folders of the layers below, topmost first.
  explicit PlannedLayer(std::vector<int> lowers);
  PlannedLayer(const PlannedLayer&) = delete;
  PlannedLayer& operator=(const PlannedLayer&) = delete;
  ~PlannedLayer();

  [[nodiscard]] PlannedNode& root() { return *root_; }
  [[nodiscard]] const PlannedNode& root() const { return *root_; }
  [[nodiscard]] const std::vector<int>& lowers() const { return lowers_; }

  // What the name is, in the plan or below; nullopt: nothing.
  [[nodiscard]] std::optional<struct stat> find(PlannedNode& folder, const std::string& name);
  // Of a symbolic link that is there.
  [[nodiscard]] std::string readLink(PlannedNode& folder, const std::string& name);
  // A folder that is there.
  PlannedNode& enter(PlannedNode& folder, const std::string& name);
  // A new one, where nothing is.
  PlannedNode& make(PlannedNode& folder, const std::string& name, const PlannedNode& like);
  // Gives a node a name, where no folder is; what has the name loses it.
  void put(PlannedNode& folder, const std::string& name, std::shared_ptr<PlannedNode> node);
  // To be called before the metadata of a folder are set.
  void change(PlannedNode& folder);
  // To be called when the plan is made: sealing opens the folders below itself, and both at once
  // would be twice as many (layers times depth).
  void closeFolders() { opened_.clear(); }

  // What the clock said when the plan was begun: the time of all that is made and touched.
  [[nodiscard]] timespec now() const { return now_; }
  // "/" for the root.
  [[nodiscard]] static std::string pathOf(const PlannedNode& folder);

 private:
  const LowerFolder& below(const PlannedNode& folder);
  PlannedNode& add(PlannedNode& folder, const std::string& name, std::shared_ptr<PlannedNode> node);
  void touch(PlannedNode& folder);

  std::vector<int> lowers_;
  std::shared_ptr<PlannedNode> root_;
  timespec now_{};
  std::uint64_t folders_ = 0;
  // The folders below on the way to the one that was looked into last.
  std::vector<std::pair<const PlannedNode*, LowerFolder>> opened_;
};

}  // namespace img::store
