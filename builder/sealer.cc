#include "builder/sealer.h"

#include <poll.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "base/json.h"
#include "base/sys.h"
#include "builder/secret_guard.h"
#include "store/layers.h"
#include "store/seal.h"

namespace img::builder {
namespace {

size_t maxJobs() {
  return static_cast<size_t>(std::max(1L, ::sysconf(_SC_NPROCESSORS_ONLN)));
}

std::string sealInChild(const store::Layout& layout, int upper, store::SealOptions options,
                        const SecretGuard& guard, bool isRefused) {
  std::optional<SecretHit> hit;
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
  const store::SealedLayer sealed = store::sealLayer(layout, upper, options);
  Json result{{"digest", sealed.descriptor.digest.str()},
              {"size", sealed.descriptor.size},
              {"mediaType", sealed.descriptor.mediaType},
              {"entries", sealed.stats.entries},
              {"bytes", sealed.stats.bytes}};
  if (hit) result["secret"] = Json{{"place", hit->place}, {"id", hit->id}};
  return dumpJson(result);
}

}  // namespace

Sealer::Sealer(const store::Layout& layout, const StepCache& cache, Progress& progress,
               std::optional<std::int64_t> clampMtime, const StepOptions& options)
    : layout_(layout),
      cache_(cache),
      progress_(progress),
      clampMtime_(clampMtime),
      options_(options) {}

void Sealer::add(Work work, const Snapshot& below) {
  waiting_.push_back({std::move(work), below, openFolders(layout_, below), {}});
  startNext();
}

void Sealer::startNext() try {
  while (!waiting_.empty() && running_.size() < maxJobs()) {
    Job job = std::move(waiting_.front());
    waiting_.erase(waiting_.begin());
    const int upper = job.work.layer->folder.get();
    job.child = Child::fork([this, upper, &lowers = job.lowers] {
      store::SealOptions options;
      options.clampMtime = clampMtime_;
      options.lowers = lowers;
      return sealInChild(layout_, upper, std::move(options), guardOf(options_),
                         options_.secretGuard == StepOptions::Guard::error);
    });
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

void Sealer::finish(Job& job) const try {
  const Json json = parseJson(job.child.finish(), "result of sealing");
  const Work& work = job.work;
  Layer& layer = *work.layer;
  store::Descriptor descriptor;
  descriptor.digest = Digest::parse(json.at("digest").get<std::string>());
  descriptor.size = json.at("size");
  descriptor.mediaType = json.at("mediaType");
  layer.diffId = descriptor.digest;
  layer.bytes = json.at("bytes");
  job.span.arg("bytes", static_cast<std::int64_t>(layer.bytes));
  job.span.arg("files", json.at("entries").get<std::int64_t>());
  layer.descriptor = std::move(descriptor);
  // The folder that the next steps already use becomes the layer's view; its descriptor stays
  // valid.
  store::Layers{layout_}.adopt(layer.work->path() + "/fs", *layer.diffId, json.at("entries"),
                               layer.bytes);
  if (json.contains("secret")) {
    const Json& secret = json.at("secret");
    reportLeak({secret.at("place"), secret.at("id")}, options_, progress_);
  }
  for (const Digest& key : work.keys)
    cache_.remember(key, layer, work.state, work.step.text, {work.keys, work.own});
  if (work.inputs) InputStore{layout_}.write(work.keys, *work.inputs);
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
  startNext();  // one that failed must not keep the others waiting
  if (error) std::rethrow_exception(error);
}

}  // namespace img::builder
