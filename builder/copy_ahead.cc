#include "builder/copy_ahead.h"

#include <fcntl.h>

#include <algorithm>

#include "base/fs.h"
#include "base/log.h"
#include "base/sys.h"
#include "builder/stage.h"
#include "store/blobs.h"
#include "store/layers.h"

namespace img::builder {
namespace {

constexpr const char* kLayer = "layer";
constexpr const char* kDigests = "digests";

// Where the file lies below the source root.
class SourcePaths {
 public:
  std::string of(const store::PlannedNode& node) {
    if (node.source != folder_) {
      folder_ = node.source;
      path_ = pathOf(*folder_);
    }
    return path_ + node.text;
  }

 private:
  static std::string pathOf(const store::SourceFolder& folder) {
    std::string path = folder.parent ? pathOf(*folder.parent) : std::string{};
    path += folder.name;
    if (!path.empty() && !path.ends_with('/')) path += '/';
    return path;
  }

  std::shared_ptr<const store::SourceFolder> folder_;
  std::string path_;
};

// Whether reading a tree twice takes longer than making a worker; looks no further than it must.
class LargeTree {
 public:
  bool isAt(int folder) {
    for (const fs::Entry& entry : fs::list(folder)) {
      const auto st = sys::tryFstatat(folder, entry.name);
      if (!st) continue;
      bytes_ += S_ISREG(st->st_mode) ? static_cast<std::uint64_t>(st->st_size) : 0;
      if (++entries_ >= kEntries || bytes_ >= kBytes) return true;
      if (!S_ISDIR(st->st_mode)) continue;
      const auto below =
          sys::tryOpenat(folder, entry.name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK);
      if (below && isAt(below->get())) return true;
    }
    return false;
  }

 private:
  static constexpr std::uint64_t kEntries = 1000, kBytes = 8 << 20;
  std::uint64_t entries_ = 0, bytes_ = 0;
};

}  // namespace

bool isUnread(const CopyJob& job, const StatCache& cache) {
  if (job.parents) return false;
  return std::any_of(job.sources.begin(), job.sources.end(), [&](const std::string& source) {
    const std::string path = joinPath("/", source).substr(1);
    if (parser::hasWildcard(path) || cache.knowsBelow(path.empty() ? path : path + "/"))
      return false;
    try {
      const auto folder = sys::tryOpenInRoot(job.root.fd, path.empty() ? "." : path,
                                             O_RDONLY | O_DIRECTORY | O_NONBLOCK);
      return folder && LargeTree{}.isAt(folder->get());
    } catch (const Error&) {
      return false;  // the copy itself says what is wrong
    }
  });
}

std::unique_ptr<CopyAhead> CopyAhead::tryMake(const store::Layout& layout) try {
  return std::make_unique<CopyAhead>(layout);
} catch (const Error& error) {
  log::info("nothing is made ahead: {}", error.what());
  return nullptr;
}

std::string CopyAhead::write(const CopyJob& job, const PlanTarget& target,
                             const ContentDigester& digester, const StepOptions& guard,
                             store::PlanOptions options) const {
  // Nothing is told of a file that was changed since: what is written now may get no other time
  // than what is read.
  const std::int64_t plannedAt = currentNanoseconds();
  UnseenPlan plan = planUnseen(job, target);
  options.asPlanned = plan.asPlanned;
  StatCache digests{sys::openDirectory(work_.fd(), "."), kDigests};
  SourcePaths paths;
  options.digests = [&](const store::PlanOptions::OpenedSource& source) {
    StatTable::Fixed* const known = digests.expect(paths.of(source.node), source.st, plannedAt);
    return [known, opened = digester.begin(source.file, source.st, source.hasXattrs)](
               const Digest& content) {
      if (known != nullptr) StatTable::setDigest(*known, opened.finish(content));
    };
  };
  LeakWatch watch{guard};
  watch.join(options.seal);
  const Fd file = sys::openat(work_.fd(), kLayer, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
  store::LayerIndexer indexer;
  options.indexer = &indexer;
  SealOutcome outcome;
  outcome.tar = store::stagePlan(target.layer, file.get(), options);
  if (indexer.finish()) indexer.write(view_, outcome.tar.descriptor.size);
  outcome.leak = watch.hit();
  digests.save();
  return plan.others.finish().hex() + outcome.encode();
}

void CopyAhead::written(const std::string& answer, StatCache& cache) {
  constexpr size_t kHex = 64;
  others_ = Digest::tryParseHex(answer.substr(0, kHex)).value();
  outcome_ = SealOutcome::decode(answer.substr(kHex));
  digests_ = &cache.absorb(work_.fd(), kDigests);
}

bool CopyAhead::isWhatWasSeen(const Seen& seen) const {
  digests_->leaveMemory();  // the key is made
  if (!digests_->isAllUsed() || digests_->size() != seen.countFiles()) return false;
  OtherDigest others;
  seen.forEachOther([&](const SeenOther& other) { others.add(other); });
  return others.finish() == others_;
}

void CopyAhead::publish() {
  const store::Descriptor& blob = outcome_.tar.descriptor;
  store::adoptBlob(layout_, work_, kLayer, blob.digest, blob.size,
                   store::BlobWriter::Durability::withName);
  store::Layers layers{layout_};
  const bool isIndexed = sys::tryFstatat(view_.fd(), store::Layers::kIndexName).has_value();
  if (isIndexed)
    return layers.adopt(view_, blob.digest, outcome_.tar.stats.entries, outcome_.tar.stats.bytes);
  layers.ensureFromVerified(blob.digest);
}

}  // namespace img::builder
