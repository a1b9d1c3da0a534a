#include "builder/stage_image.h"

#include "base/text.h"
#include "builder/secret_guard.h"

namespace img::builder {
namespace {

std::string epochText(const Request& request) {
  return request.sourceDateEpoch ? text::formatTime(*request.sourceDateEpoch) : std::string{};
}

// dockerfile.md 7.5: an entry without a layer takes the time of its neighbours, so that a rebuild
// from the cache gives the same image.
std::vector<store::HistoryEntry> timedHistory(const StageState& stage, const Request& request) {
  std::string previous;
  for (const HistoryItem& item : stage.history) {
    if (item.fromBase) previous = item.entry.created;
  }
  for (const HistoryItem& item : stage.history) {
    if (item.layer) {
      previous = item.layer->created;  // leading entries take the first new layer's time
      break;
    }
  }
  std::vector<store::HistoryEntry> history;
  for (const HistoryItem& item : stage.history) {
    store::HistoryEntry entry = item.entry;
    if (!item.fromBase) {
      if (item.layer) previous = item.layer->created;
      entry.created = request.sourceDateEpoch ? epochText(request) : previous;
    }
    history.push_back(std::move(entry));
  }
  return history;
}

}  // namespace

store::Image writeStageImage(const store::Layout& layout, const StageState& stage,
                             const Request& request, Progress& progress) {
  store::ImageConfig config = stage.config;
  for (const auto& [name, value] : request.labels) config.labels[name] = value;
  std::vector<store::Descriptor> descriptors;
  config.diffIds.clear();
  for (const LayerRef& layer : stage.snapshot.layers) {
    config.diffIds.push_back(*layer->diffId);
    descriptors.push_back(*layer->descriptor);
  }
  config.history = timedHistory(stage, request);
  const bool hasOwnTime = !request.sourceDateEpoch && !config.history.empty();
  config.created = hasOwnTime ? config.history.back().created : epochText(request);
  if (config.cmd && config.cmd->empty()) config.cmd.reset();  // empty values are omitted (7.1)
  guardConfig(config, request.step, progress);
  return store::writeImage(layout, config, descriptors);
}

}  // namespace img::builder
