#include "builder/sealer.h"

#include <poll.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "base/json.h"
#include "base/sys.h"
#include "store/layers.h"
#include "store/seal.h"

namespace img::builder {
namespace {

size_t maxJobs() {
  return static_cast<size_t>(std::max(1L, ::sysconf(_SC_NPROCESSORS_ONLN)));
}

std::string sealInChild(const store::Layout& layout, int upper, std::vector<int> lowers,
                        std::optional<std::int64_t> clampMtime) {
  store::SealOptions options;
  options.clampMtime = clampMtime;
  options.lowers = std::move(lowers);
  const store::SealedLayer sealed = store::sealLayer(layout, upper, options);
  return dumpJson(Json{{"digest", sealed.descriptor.digest.str()},
                       {"size", sealed.descriptor.size},
                       {"mediaType", sealed.descriptor.mediaType},
                       {"entries", sealed.stats.entries},
                       {"bytes", sealed.stats.bytes}});
}

}  // namespace

Sealer::Sealer(const store::Layout& layout, const StepCache& cache, Progress& progress,
               std::optional<std::int64_t> clampMtime)
    : layout_(layout), cache_(cache), progress_(progress), clampMtime_(clampMtime) {}

void Sealer::add(Work work, const Snapshot& below) {
  waiting_.push_back({std::move(work), openFolders(layout_, below), {}});
  startNext();
}

void Sealer::startNext() {
  while (!waiting_.empty() && running_.size() < maxJobs()) {
    Job job = std::move(waiting_.front());
    waiting_.erase(waiting_.begin());
    const int upper = job.work.layer->folder.get();
    job.child = Child::fork([this, upper, lowers = job.lowers] {
      return sealInChild(layout_, upper, lowers, clampMtime_);
    });
    running_.push_back(std::move(job));
  }
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
  layer.descriptor = std::move(descriptor);
  // The folder that the next steps already use becomes the layer's view; its descriptor stays
  // valid.
  store::Layers{layout_}.adopt(layer.work->path() + "/fs", *layer.diffId, json.at("entries"),
                               layer.bytes);
  for (const Digest& key : work.keys) cache_.remember(key, layer, work.state, work.step.text);
  if (work.inputs) InputStore{layout_}.write(work.keys, *work.inputs);
  progress_.layerSealed(work.step, *layer.diffId, layer.bytes);
} catch (Error& error) {
  const StepLabel& step = job.work.step;
  error.during("sealing the layer of step {}: {} (line {})", step.number, step.text, step.line);
  throw;
}

std::vector<int> Sealer::fds() const {
  std::vector<int> result;
  for (const Job& job : running_) result.push_back(job.child.pidfd());
  return result;
}

void Sealer::reap() {
  for (size_t i = 0; i < running_.size();) {
    pollfd poll{running_[i].child.pidfd(), POLLIN, 0};
    if (::poll(&poll, 1, 0) <= 0) {
      ++i;
      continue;
    }
    Job job = std::move(running_[i]);
    running_.erase(running_.begin() + static_cast<std::ptrdiff_t>(i));
    finish(job);
  }
  startNext();
}

}  // namespace img::builder
