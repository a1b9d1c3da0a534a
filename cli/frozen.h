// A running container stands still while its files are read (commit).
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "base/fd.h"
#include "base/lock.h"
#include "runtime/cgroups.h"
#include "store/containers.h"

namespace img::cli {

// One at a time freezes or thaws a container: commit, pause and unpause take turns, so that the
// end of one commit does not wake a container that another one is reading, or that was paused.
FileLock lockFreezer(const store::Containers& containers, const std::string& id);

class [[nodiscard]] Frozen {
 public:
  // Nothing happens to a container that does not run or is paused. One that has no control group
  // cannot be frozen: its files are then read as they are.
  Frozen(const store::Containers& containers, const store::ContainerRecord& record);
  Frozen(const Frozen&) = delete;
  Frozen& operator=(const Frozen&) = delete;
  Frozen(Frozen&&) = delete;
  Frozen& operator=(Frozen&&) = delete;
  ~Frozen();

 private:
  void startGuard();
  void dismissGuard() noexcept;

  FileLock lock_;
  std::string name_;
  runtime::Cgroup group_;
  bool isFrozen_ = false;  // by us
  Fd guardPipe_;
  pid_t guard_ = -1;
};

}  // namespace img::cli
