// A COPY of files that nobody has read yet: its layer is written while they are read for the key,
// so that every byte is read once, by a worker whose parent then makes the key from the digests
// that the worker tells. When the key finds a layer after all, what was written goes.
//
// The layer counts only if it is certain that it holds what the key says: every file of the key was
// found unchanged among those that went into the layer, none is missing, and folders and links were
// the same for both. In any doubt, or after any error, the copy is made as if nothing had been done
// ahead, and finds the same again or tells what is wrong.
#pragma once

#include <memory>
#include <string>

#include "base/digest.h"
#include "builder/content_digest.h"
#include "builder/copy_job.h"
#include "builder/seal_outcome.h"
#include "builder/stat_table.h"
#include "store/layout.h"
#include "store/planned_seal.h"

namespace img::builder {

// Whether there is a large folder among the sources of which the cache knows no file. What is small
// is read twice in less time than a worker is made.
bool isUnread(const CopyJob& job, const StatCache& cache);

class CopyAhead {
 public:
  explicit CopyAhead(const store::Layout& layout) : layout_(layout), work_(layout), view_(layout) {}
  // Null when there is no room for a folder: a step that is in the cache needs none.
  static std::unique_ptr<CopyAhead> tryMake(const store::Layout& layout);

  // In a worker: its answer. Throws store::CannotPlan as planCopy() does.
  [[nodiscard]] std::string write(const CopyJob& job, const PlanTarget& target,
                                  const ContentDigester& digester, const StepOptions& guard,
                                  store::PlanOptions options) const;
  // In its parent, which may then make the key: `cache` knows the files.
  void written(const std::string& answer, StatCache& cache);
  // `seen`: what the key was made of.
  [[nodiscard]] bool isWhatWasSeen(const Seen& seen) const;
  // In a worker: the layer comes to be.
  void publish();
  [[nodiscard]] const SealOutcome& outcome() const { return outcome_; }

 private:
  const store::Layout& layout_;
  store::IngestDir work_, view_;
  SealOutcome outcome_;
  Digest others_;                       // OtherDigest
  const StatTable* digests_ = nullptr;  // of the cache
};

}  // namespace img::builder
