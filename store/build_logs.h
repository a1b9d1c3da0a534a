// The complete output of the steps of the newest builds: builds/<id>/<step>.log, byte for byte as
// it came (secrets already masked by who runs the step), and builds/<id>/build.json, written at the
// end. A build without output writes nothing. The folder is locked (flock) by its build for life,
// so that the pruning of another build leaves it alone. Not durable: a log is worth no fsync.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "store/layout.h"

namespace img::store {

// The log of a build under way.
class BuildLog {
 public:
  // `id`: lower-case hex. Nothing is made before the first append().
  BuildLog(const Layout& layout, std::string id);

  // False: it could not be kept (a full disk, a read-only store); the build goes on without.
  bool append(int step, std::string_view bytes);
  // Up to `count` bytes from `offset` of what append() took.
  [[nodiscard]] std::string read(int step, std::uint64_t offset, size_t count) const;
  [[nodiscard]] std::uint64_t size(int step) const;
  [[nodiscard]] bool isEmpty() const { return !folder_; }
  [[nodiscard]] const std::string& id() const { return id_; }

  // Writes build.json and drops all but the newest builds. Nothing for a build without output.
  void finish(std::string_view json);

 private:
  struct File {
    Fd fd;
    std::uint64_t size = 0;
    bool isBroken = false;
  };
  void makeFolder();

  const Layout& layout_;
  std::string id_;
  Fd folder_;  // locked
  bool isBroken_ = false;
  std::map<int, File> files_;
};

// Reading them.
class BuildLogs {
 public:
  explicit BuildLogs(const Layout& layout) : layout_(layout) {}

  // The folder of a build by id, unique prefix of one, or "last". Throws Kind::notFound.
  [[nodiscard]] Fd open(const std::string& idOrLast) const;
  // Newest first.
  [[nodiscard]] std::vector<std::string> ids() const;
  // Steps with output, ascending.
  [[nodiscard]] static std::vector<int> steps(int folder);
  // Keeps the newest `keep` and those of builds under way.
  void prune(size_t keep) const;

 private:
  const Layout& layout_;
};

inline constexpr size_t kKeptBuildLogs = 20;

}  // namespace img::store
