// The root file system of a container as its processes see it, with volumes, for commands that look
// into it or change it from outside (cp). Of a running container that is the root of its first
// process; of another one its layers are put together for this command alone, in a mount namespace
// of its own. Everything below is reached by descriptors and resolved inside the root: no program,
// library or name of the container is ever used (security.md F2, R1).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/lock.h"
#include "store/containers.h"
#include "store/layout.h"

namespace img::cli {

enum class RootAccess { read, write };

class [[nodiscard]] ContainerRoot {
 public:
  // A container that does not run is mounted; for writing it is held meanwhile, so that nobody
  // starts it (Kind::busy when somebody else holds it for long). Moves this process into another
  // mount namespace.
  ContainerRoot(const store::Layout& layout, const store::ContainerRecord& record,
                RootAccess access);

  [[nodiscard]] int fd() const { return root_.get(); }

 private:
  bool tryRunning(const store::ContainerRecord& record);
  void openMapped(const store::Layout& layout, const store::ContainerRecord& record,
                  RootAccess access);
  void mountStopped(const store::Layout& layout, const store::ContainerConfig& config,
                    RootAccess access);

  std::optional<FileLock> lock_;
  std::optional<store::IngestDir> scratch_;
  Fd root_;
};

}  // namespace img::cli
