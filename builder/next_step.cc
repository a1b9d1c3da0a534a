#include "builder/next_step.h"

#include <algorithm>
#include <utility>

#include "base/fs.h"
#include "base/log.h"
#include "base/sys.h"

namespace img::builder {
namespace {

// False when a link of the image leads one of the mount points elsewhere.
bool holdsOnlyUsualFolders(const Layer& owner) {
  const Fd init = sys::openDirectory(owner.work->fd(), "init");
  const std::vector<fs::Entry> entries = fs::list(init.get());
  return std::all_of(entries.begin(), entries.end(), [](const fs::Entry& entry) {
    return entry.name == "proc" || entry.name == "sys" || entry.name == "dev" ||
           entry.name == "etc";
  });
}

}  // namespace

void keepInit(StageState& state, const LayerRef& layer) {
  if (!state.init && sys::tryFstatat(layer->work->fd(), "init")) state.init = layer;
  for (const char* name : {"proc", "sys", "dev", "etc"}) {
    if (sys::tryFstatat(layer->folder.get(), name)) state.init = nullptr;
  }
  if (state.init && !holdsOnlyUsualFolders(*state.init)) state.init = nullptr;
}

bool isRunFollowing(const PlannedStage& planned, const parser::Step& step) {
  const auto isRun = [](const parser::Step& later) {
    return std::holds_alternative<parser::RunInstruction>(later.body);
  };
  const auto here = std::find_if(planned.steps.begin(), planned.steps.end(),
                                 [&](const parser::Step& other) { return &other == &step; });
  return here != planned.steps.end() && std::any_of(here + 1, planned.steps.end(), isRun);
}

void SpareLayer::make() try {
  if (std::exchange(isWanted_, false) && !layer_) layer_ = newLayer(layout_);
} catch (const Error& error) {
  log::info("{}", error.cause());  // the step that would need it says why
}

LayerRef SpareLayer::take() {
  return layer_ ? std::exchange(layer_, nullptr) : newLayer(layout_);
}

}  // namespace img::builder
