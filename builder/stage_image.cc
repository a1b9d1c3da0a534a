#include "builder/stage_image.h"

#include "base/text.h"
#include "builder/secret_guard.h"

namespace img::builder {
namespace {

std::string epochText(const std::optional<std::int64_t>& epoch) {
  return epoch ? text::formatTime(*epoch) : std::string{};
}

// dockerfile.md 7.5: an entry without a layer takes the time of its neighbours, so that a rebuild
// from the cache gives the same image.
std::vector<store::HistoryEntry> timedHistory(const StageState& stage,
                                              const std::optional<std::int64_t>& epoch) {
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
      entry.created = epoch ? epochText(epoch) : previous;
    }
    history.push_back(std::move(entry));
  }
  return history;
}

// Without --platform the base image's stays (dockerfile.md 7.1).
void setPlatform(store::Platform& platform, const Request& request) {
  if (request.platforms.empty()) return;
  const parser::Platform& wanted = request.platforms.front();
  const bool isOther = platform.os != wanted.os || platform.architecture != wanted.architecture;
  platform.os = wanted.os;
  platform.architecture = wanted.architecture;
  if (isOther || !wanted.variant.empty()) platform.variant = wanted.variant;
  if (isOther || !wanted.osVersion.empty()) platform.osVersion = wanted.osVersion;
}

}  // namespace

store::ImageConfig stageConfig(const StageState& stage, const Request& request,
                               std::optional<std::int64_t> epoch) {
  store::ImageConfig config = stage.config;
  for (const auto& [name, value] : request.labels) config.labels[name] = value;
  config.diffIds.clear();
  config.history = timedHistory(stage, epoch);
  const bool hasOwnTime = !epoch && !config.history.empty();
  config.created = hasOwnTime ? config.history.back().created : epochText(epoch);
  if (config.cmd && config.cmd->empty()) config.cmd.reset();  // empty values are omitted (7.1)
  setPlatform(config.platform, request);
  return config;
}

store::Image writeStageImage(const store::Layout& layout, const StageState& stage,
                             const Request& request, Progress& progress) {
  store::ImageConfig config = stageConfig(stage, request, request.sourceDateEpoch);
  std::vector<store::Descriptor> descriptors;
  for (const LayerRef& layer : stage.snapshot.layers) {
    config.diffIds.push_back(*layer->diffId);
    descriptors.push_back(*layer->descriptor);
  }
  guardConfig(config, request.step, progress);
  return store::writeImage(layout, config, descriptors);
}

}  // namespace img::builder
