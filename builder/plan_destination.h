// A copy into the plan of a layer: nothing is written, and what comes out is what a mounted union
// of the layers below would hold after the same copy.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>

#include "builder/copy_destination.h"
#include "store/planned_layer.h"

namespace img::builder {

class PlanDestination final : public CopyDestination {
 public:
  explicit PlanDestination(store::PlannedLayer& layer) : layer_(layer) {}

  void beginSource() override {
    links_.clear();
    ++sources_;
  }
  FolderRef makeFolders(const std::string& path, const NewFolder& missing) override;
  Place placeFor(const std::string& path, const std::string& name,
                 const NewFolder& missing) override;
  FolderRef openFolder(Folder& parent, const std::string& name) override;
  void finishFolder(Folder& folder, const CopyMeta& meta, int source) override;
  void setTime(Folder& folder, const timespec& time) override;
  // Throws store::CannotPlan for what only a folder on disk can say.
  void add(Folder& folder, const std::string& name, const CopyFile& file,
           const CopyMeta& meta) override;
  void addText(Folder& folder, const std::string& name, std::string_view content,
               const CopyMeta& meta) override;
  [[nodiscard]] FolderId idOf(const Folder& folder) const override;
  [[nodiscard]] std::string shownPath(const Folder& folder, const std::string& name) const override;

 private:
  struct Planned;
  static store::PlannedNode& nodeOf(const Folder& folder);
  void makeRoom(const Folder& folder, const std::string& name);

  store::PlannedLayer& layer_;
  unsigned sources_ = 0;
  // Hard links inside one source: (device, inode) -> the first copy.
  std::map<std::pair<dev_t, ino_t>, std::shared_ptr<store::PlannedNode>> links_;
};

}  // namespace img::builder
