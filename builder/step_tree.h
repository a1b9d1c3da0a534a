// RUN without mounts: what a container mounts over its root is put into the step's work tree while
// the command runs, and taken out again before the tree is compared with what it was.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/fd.h"
#include "builder/cache_mount.h"
#include "builder/run_settings.h"
#include "builder/tree_covers.h"
#include "builder/work_trees.h"

namespace img::builder {

// Throws for what this way of running a step cannot give, with its name.
void requireNoMounts(const RunSettings& settings, const StepOptions& options);

class StepTree {
 public:
  StepTree(Workshop& shop, RunSettings& settings, const WorkTree& tree);
  StepTree(const StepTree&) = delete;
  StepTree& operator=(const StepTree&) = delete;
  ~StepTree();  // caches go back where they belong, also when the step has failed

  // `files`: small files of the runtime, by path.
  Task<> open(const std::vector<std::pair<std::string, std::string>>& files);
  // After the last process of the step has ended.
  void close();
  // Variables that mounts give.
  [[nodiscard]] const std::vector<std::pair<std::string, std::string>>& env() const { return env_; }

 private:
  Task<> addMount(PlannedMount& planned);
  Task<> addFiles(PlannedMount& planned);
  Task<> addCache(PlannedMount& planned);
  void addSecret(const PlannedMount& planned);
  void returnCaches();

  Workshop& shop_;
  RunSettings& settings_;
  TreeCovers covers_;
  struct Lent {
    OpenCache cache;
    Fd from;  // the cache, or the part of it that is shown
    Fd to;
  };
  std::vector<Lent> caches_;
  std::vector<std::pair<std::string, std::string>> env_;
};

}  // namespace img::builder
