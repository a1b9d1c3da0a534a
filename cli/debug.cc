// `img debug`: a shell, or a command, in the kept container of a build step that failed
// (cli.md 9.8).
#include <unistd.h>

#include "base/error.h"
#include "base/text.h"
#include "builder/failed_step.h"
#include "builder/stage.h"
#include "cli/commands.h"
#include "cli/human.h"
#include "cli/keeper.h"
#include "cli/options.h"
#include "cli/table.h"

namespace img::cli {
namespace {

int listSteps(Context& context) {
  std::vector<std::vector<std::string>> rows{{"NAME", "FAILED", "EXIT CODE", "STEP"}};
  for (const store::ContainerRecord& record : builder::listFailedSteps(context.store())) {
    const store::ContainerConfig& config = record.config;
    rows.push_back({config.name, formatCreated(config.createdAt, nowSeconds()),
                    std::to_string(record.state.exitCode), builder::failedStepText(config)});
  }
  context.print(layoutTable(rows));
  return 0;
}

// Without a terminal nobody could type: the caller is told how to go on instead.
void needTerminal(const store::ContainerConfig& config) {
  if (::isatty(0) == 1 && ::isatty(1) == 1) return;
  throw Error{Kind::failed, "there is no terminal for a shell"}.hint(
      fmt::format("give a command: img debug {} cat /etc/passwd", config.name));
}

int debug(Context& context, const std::vector<std::string>& args) {
  bool isList = false;
  Options options{context, "[BUILD[:STEP]|last [COMMAND [ARG...]]]",
                  "Look around in a build step that failed"};
  options.flag("-l,--list", isList, "List the failed steps that are kept")
      .stopAtPositional()
      .positionals(0, kAnyNumber);
  if (!options.parse(args)) return 0;
  if (isList) return listSteps(context);
  const std::vector<std::string>& words = options.words();
  const store::Layout& layout = context.store();
  const store::Containers containers{layout};
  store::ContainerConfig config =
      containers
          .get(builder::findFailedStep(layout, words.empty() ? "last" : words.front()).config.id)
          .config;
  if (words.size() > 1) {
    config.argv.assign(words.begin() + 1, words.end());
  } else {
    needTerminal(config);
    config.argv = builder::shellWithoutCommand(config.image);
  }
  config.tty = config.openStdin = ::isatty(0) == 1 && ::isatty(1) == 1;
  auto lock = containers.tryHold(config.id);
  if (!lock) throw Error::make(Kind::busy, "somebody is in {} already", config.name);
  Keeper keeper{layout, config, std::move(*lock), context.runRoot()};
  KeepOptions keep;
  keep.interactive = true;
  return keeper.runAttached(keep);
}

}  // namespace

void addDebugCommand(CommandTable& table) {
  table.add({"debug", Group::build, "Look around in a build step that failed", debug});
}

}  // namespace img::cli
