#include "builder/sealer.h"

#include <poll.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/sys.h"
#include "builder/layer_step.h"
#include "builder/seal_outcome.h"
#include "builder/secret_guard.h"
#include "store/layers.h"
#include "store/seal.h"
#include "store/unsynced.h"

namespace img::builder {
namespace {

size_t maxJobs() {
  static const auto jobs = static_cast<size_t>(std::max(1L, ::sysconf(_SC_NPROCESSORS_ONLN)));
  return jobs;
}

SealOutcome sealGuarded(const store::Layout& layout, int upper, store::SealOptions options,
                        const SecretGuard& guard, bool isRefused) {
  SealOutcome outcome;
  std::optional<SecretHit>& hit = outcome.leak;
  SecretStream files{guard};
  if (!guard.isEmpty()) {
    hit = guard.findInNames(upper);
    options.inspect = [&](const std::string& path, std::span<const std::byte> bytes) {
      files.add(path, bytes);
      if (files.hit()) hit = files.hit();
      // The blob must not come to be.
      if (hit && isRefused) throw leakError(*hit);
    };
    if (hit && isRefused) throw leakError(*hit);
  }
  // The upper directory itself is the view that the next steps and containers read.
  outcome.tar = store::sealLayer(layout, upper, options, store::BlobWriter::Durability::withName,
                                 store::BlobWriter::Caching::dropped);
  return outcome;
}

// Leaves the folder with the layer's files. False when something else of the step is in use still:
// its init layer, which later steps may share.
bool clearWork(int work) {
  bool isClear = true;
  for (const fs::Entry& entry : fs::list(work)) {
    if (entry.name == "init") isClear = false;
    if (entry.name != "fs" && entry.name != "init") fs::removeTree(work, entry.name);
  }
  return isClear;
}

}  // namespace

Sealer::Sealer(const store::Layout& layout, const StepCache& cache, Progress& progress,
               std::optional<std::int64_t> clampMtime, const StepOptions& options)
    : layout_(layout),
      cache_(cache),
      progress_(progress),
      clampMtime_(clampMtime),
      options_(options) {}

Sealer::~Sealer() {
  if (running_.empty()) return;
  running_.clear();
  sweepLitter(layout_);
}

void Sealer::add(Work work, const Snapshot& below) {
  if (work.layer->descriptor) return addSealed(work);
  waiting_.push_back({std::move(work), below, openFolders(layout_, below), {}});
}

void Sealer::startNext() try {
  while (!waiting_.empty() && running_.size() < maxJobs()) {
    Job job = std::move(waiting_.front());
    waiting_.erase(waiting_.begin());
    job.child = Child::fork([this, &job] { return sealInChild(job); });
    job.span = Trace::begin(trace_, "sealer", "seal", job.work.step.text);
    job.span.arg("step", job.work.step.number);
    job.span.arg("line", job.work.step.line);
    running_.push_back(std::move(job));
  }
} catch (...) {
  // No child would ever wake the owner up again.
  if (running_.empty()) waiting_.clear();
  throw;
}

// All there is to do for the layer, so that the steps that follow wait for none of it.
std::string Sealer::sealInChild(const Job& job) const {
  const Work& work = job.work;
  Layer& layer = *work.layer;
  store::SealOptions options;
  options.clampMtime = clampMtime_;
  options.lowers = job.lowers;
  SealOutcome outcome =
      sealGuarded(layout_, layer.folder.get(), std::move(options), guardOf(options_),
                  options_.secretGuard == StepOptions::Guard::error);
  const store::SealedLayer& sealed = outcome.tar;
  outcome.describe(layer);
  // The folder that the next steps already use becomes the layer's view; their descriptors stay
  // valid.
  const store::Layers views{layout_};
  if (clearWork(layer.work->fd())) {
    views.adopt(*layer.work, *layer.diffId, sealed.stats.entries, layer.bytes);
    outcome.isMoved = layer.work->name().empty();
  } else {
    views.adopt(layer.work->path() + "/fs", *layer.diffId, sealed.stats.entries, layer.bytes);
  }
  writeRecords(work);
  return outcome.encode();
}

void Sealer::writeRecords(const Work& work) const {
  for (const Digest& key : work.keys)
    cache_.remember(key, *work.layer, work.state, work.step.text, {work.keys, work.own});
  if (work.inputs) InputStore{layout_}.write(work.keys, *work.inputs);
}

// The step has written the layer's blob itself, and its view is there.
void Sealer::addSealed(const Work& work) const {
  Trace::Span span = Trace::begin(trace_, "sealer", "seal", work.step.text);
  span.arg("step", work.step.number);
  span.arg("line", work.step.line);
  span.arg("bytes", static_cast<std::int64_t>(work.layer->bytes));
  store::holdUnsynced(layout_, work.layer->descriptor->digest);
  writeRecords(work);
  progress_.layerSealed(work.step, *work.layer->diffId, work.layer->bytes);
}

void Sealer::finish(Job& job) const try {
  const SealOutcome outcome = SealOutcome::decode(job.child.finish());
  const Work& work = job.work;
  Layer& layer = *work.layer;
  outcome.describe(layer);
  store::holdUnsynced(layout_, layer.descriptor->digest);
  job.span.arg("bytes", static_cast<std::int64_t>(layer.bytes));
  job.span.arg("files", static_cast<std::int64_t>(outcome.tar.stats.entries));
  if (outcome.isMoved) layer.work->release();
  if (outcome.leak) reportLeak(*outcome.leak, options_, progress_);
  progress_.layerSealed(work.step, *layer.diffId, layer.bytes);
} catch (Error& error) {
  const StepLabel& step = job.work.step;
  error.at(job.work.place);
  if (error.stage().empty()) error.stage(job.work.stage);
  error.during("sealing the layer of step {}: {} (line {})", step.number, step.text, step.line);
  throw;
}

std::vector<int> Sealer::fds() const {
  std::vector<int> result;
  for (const Job& job : running_) result.push_back(job.child.pidfd());
  return result;
}

void Sealer::reap() {
  std::exception_ptr error;
  for (size_t i = 0; i < running_.size();) {
    pollfd poll{running_[i].child.pidfd(), POLLIN, 0};
    if (::poll(&poll, 1, 0) <= 0) {
      ++i;
      continue;
    }
    Job job = std::move(running_[i]);
    running_.erase(running_.begin() + static_cast<std::ptrdiff_t>(i));
    try {
      finish(job);
    } catch (...) {
      if (!error) error = std::current_exception();
    }
  }
  if (error) std::rethrow_exception(error);
}

}  // namespace img::builder
