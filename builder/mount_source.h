// Where a bind or cache mount takes its files (dockerfile.md 3.6): the build context or a named
// folder, another stage, an image, or nothing (scratch). Files of the host are shown as COPY would
// take them, ignore rules applied, without copying the tree and never writable.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/digest.h"
#include "base/fd.h"
#include "builder/content_digest.h"
#include "builder/copy_source.h"
#include "builder/layer_step.h"
#include "runtime/spec.h"

namespace img::builder {

// What a mount shows, and what has to stay open for it.
struct MountView {
  runtime::Mount mount;  // without a target
  bool isFolder = true;
};

class MountSource {
 public:
  // `from` as written, "" for the build context; `path` inside it.
  MountSource(Workshop& shop, const PlannedStage& planned, const std::string& from,
              std::string path);

  // Files of the host: their key is their content. Of all others the definition is known first.
  [[nodiscard]] bool isOfHost() const { return context_ != nullptr; }
  // Of a stage or an image: the key of its state and the path.
  void addDefinition(Hasher& hasher) const;
  // Throws "RUN: mount source {p} not found in {from}".
  [[nodiscard]] Digest contentDigest();
  // Whether files of the host have been written to since contentDigest().
  [[nodiscard]] bool hasChanged() const;
  // What of the host contentDigest() met, for the explanation of a miss.
  [[nodiscard]] const Seen& seen() const { return seen_; }

  // Unpacks and mounts a stage or image; to be done before contentDigest() and view().
  Task<> open();
  // `scratch`: a folder of this mount alone for what a view needs on disk.
  [[nodiscard]] MountView view(bool isReadOnly, int scratch);
  // Copies what a view would show into the folder `to`; for worker processes.
  void copyInto(int to);
  // The same for a file as well, under a name that is not there yet.
  void copyAs(int folder, const std::string& name);

 private:
  [[nodiscard]] SourceRoot root() const;
  [[nodiscard]] CopySource resolve() const;
  [[nodiscard]] SourceFilter filter() const;
  [[nodiscard]] MountView hostView(const CopySource& source, bool isReadOnly, int scratch) const;
  [[nodiscard]] MountView imageView(const CopySource& source, bool isReadOnly, int scratch) const;

  Workshop& shop_;
  const Context* context_ = nullptr;
  std::shared_ptr<const Context> folder_;  // keeps a named one
  StatCache* statCache_ = nullptr;
  Snapshot snapshot_;  // not of the host; no layers: scratch
  std::string label_;  // "the build context", `stage "base"`
  std::string path_;
  Fd union_;  // the snapshot, read-only
  Seen seen_;
};

}  // namespace img::builder
