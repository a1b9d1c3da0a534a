// The digest of a folder and of all that counts below it: folders are walked and files read by
// several threads, and every folder gets its digest when the last entry has one. Nothing depends on
// which thread did what.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "builder/content_digest.h"

namespace img::builder {

class TreeDigest {
 public:
  // `rules` and `filter` live longer. `threads`: at most so many besides the caller.
  TreeDigest(const ContentDigester& rules, const SourceFilter& filter, size_t threads);

  // What was met is added to `seen`, unless it throws. nullopt: nothing counts.
  std::optional<Digest> run(int handle, const struct stat& st, const std::string& contextPath,
                            Seen& seen);
  // After an error.
  [[nodiscard]] bool hasThreads() const { return pool_.hadThreads(); }
  [[nodiscard]] bool isInterrupted() const { return pool_.isInterrupted(); }

 private:
  struct Scan;
  struct Range;
  using ScanRef = std::shared_ptr<Scan>;
  using FdRef = std::shared_ptr<const Fd>;
  void list(const ScanRef& scan, const FdRef& fd, WorkPool::Worker& worker);
  void look(const ScanRef& scan, const FdRef& fd, Range range, WorkPool::Worker& worker);
  void lookAt(const ScanRef& scan, Range& range, size_t index, WorkPool::Worker& worker);
  ScanRef enter(const ScanRef& parent, size_t index, const struct stat& st, std::string path);
  void addFolder(const ScanRef& scan, const FdRef& parent);
  void done(const ScanRef& scan);
  [[nodiscard]] std::optional<Digest> combine(Scan& scan) const;

  const ContentDigester& rules_;
  SourceFilter filter_;
  std::optional<Digest> result_;
  std::unique_ptr<SeenFolder> seen_;
  WorkPool pool_;  // last: its threads use the others
};

}  // namespace img::builder
