// What a pull shows on stderr (cli.md 2): a line for each layer, drawn again in place on a
// terminal, two lines for each otherwise.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "cli/command.h"
#include "distribution/pull.h"

namespace img::cli {

// Nothing when quiet; the style is chosen as for a build. `progress`: the word of a --progress.
std::unique_ptr<distribution::PullProgress> makePullDisplay(Context& context, bool isQuiet,
                                                            const std::string& progress = {});

// One layer as a terminal shows it, in at most `columns` columns. Without a total: it is there.
struct LayerLine {
  std::string id;  // short
  std::uint64_t done = 0, total = 0;
  enum class State { waiting, running, pulled, there } state = State::waiting;
};
std::string renderLayer(const LayerLine& line, size_t columns);

}  // namespace img::cli
