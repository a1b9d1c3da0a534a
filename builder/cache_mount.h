// RUN --mount=type=cache: folders that outlive builds, cache/mounts/<identity>/<number>, each with
// a lock file <number>.lock that its users hold (dockerfile.md 3.6; security.md B3: the id is
// hashed, never a path). Folders appear by rename with their first content, so nobody sees a half
// filled one, and nothing but the locks orders builds and processes.
#pragma once

#include <sys/types.h>

#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "base/digest.h"
#include "base/fd.h"
#include "builder/events.h"
#include "builder/task.h"
#include "parser/value_checks.h"
#include "store/layout.h"

namespace img::builder {

// What makes two cache mounts the same one.
struct CacheIdentity {
  std::string nameSpace, id;
  std::string base;  // of the first content; empty: an empty folder
  // When any of them is given, an empty folder with exactly this owner and mode.
  std::optional<mode_t> mode;
  std::optional<uid_t> uid;
  std::optional<gid_t> gid;
  [[nodiscard]] Digest digest() const;
};

// Freed by the destructor whoever else has the open file: children that seal other layers meanwhile
// were forked with it, and would keep it (flock(2)).
class CacheLock {
 public:
  CacheLock() = default;
  explicit CacheLock(Fd file) : file_(std::move(file)) {}
  CacheLock(const CacheLock&) = delete;
  CacheLock& operator=(const CacheLock&) = delete;
  CacheLock(CacheLock&& other) noexcept = default;
  CacheLock& operator=(CacheLock&& other) noexcept {
    std::swap(file_, other.file_);
    return *this;
  }
  ~CacheLock();
  [[nodiscard]] int file() const { return file_.get(); }

 private:
  Fd file_;
};

struct OpenCache {
  Fd folder;  // O_PATH
  CacheLock lock;
};

// Waits through `events` while the cache is busy. `fill` puts the first content into a new folder;
// it may be empty, else it runs in a worker process.
Task<OpenCache> openCache(Events& events, const store::Layout& layout, CacheIdentity identity,
                          parser::RunMount::Sharing sharing, std::function<void(int folder)> fill);

// A folder below the cache, made if missing; links are followed inside it, and one that leads out
// of it is an error.
Fd openInCache(int cache, const std::string& path);

}  // namespace img::builder
