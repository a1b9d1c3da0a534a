#include "cli/app.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "base/log.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/globals.h"
#include "cli/options.h"
#include "cli/report.h"

namespace img::cli {
namespace {

constexpr std::string_view kProgram = "img";

struct GroupTitle {
  Group group;
  std::string_view title;
};
constexpr std::array<GroupTitle, 5> kGroupTitles{{{Group::build, "Build"},
                                                  {Group::containers, "Containers"},
                                                  {Group::images, "Images"},
                                                  {Group::volumes, "Volumes"},
                                                  {Group::system, "System"}}};

// Commands that users of docker and podman look for and that this version does not have.
constexpr auto kLaterCommands = std::to_array<std::string_view>(
    {"search", "mount", "unmount", "umount", "manifest", "events", "network", "completion", "pod",
     "reset", "unshare", "compose"});

bool hasName(const Command& command, std::string_view name) {
  std::string_view rest = command.names;
  for (;;) {
    const size_t comma = rest.find(',');
    if (rest.substr(0, comma) == name) return true;
    if (comma == std::string_view::npos) return false;
    rest.remove_prefix(comma + 1);
  }
}

std::string_view firstName(const Command& command) {
  return command.names.substr(0, command.names.find(','));
}

std::string globalHelp() {
  std::string out = "\nGlobal options:\n";
  const auto line = [&](std::string_view names, std::string_view meta, std::string_view help) {
    const std::string left = fmt::format("  {}{}{}", names, meta.empty() ? "" : " ", meta);
    out += fmt::format("{:<32}{}\n", left, help);
  };
  for (const GlobalOption& option : kGlobalOptions) line(option.names, option.meta, option.help);
  line("-h,--help", "", "Show this text; 'img COMMAND --help' for a command");
  line("-v,--version", "", "Print the version");
  return out;
}

std::string mainHelp(const CommandTable& table) {
  std::string out =
      "Build container images, keep them in a store, run containers from them\n"
      "\nUsage: img [OPTIONS] COMMAND [ARGS]\n"
      "       imgCOMMAND [ARGS]\n";
  for (const GroupTitle& group : kGroupTitles) {
    std::string lines;
    for (const Command& command : table.all()) {
      if (command.group != group.group) continue;
      lines += fmt::format("  {:<20}{}\n", firstName(command), command.help);
    }
    if (!lines.empty()) out += fmt::format("\n{}:\n{}", group.title, lines);
  }
  return out + globalHelp();
}

std::string groupHelp(const CommandTable& table, const std::string& group) {
  std::string out = fmt::format("Usage: img {} COMMAND [ARGS]\n\nCommands:\n", group);
  for (const std::string& word : table.namesIn(group)) {
    out += fmt::format("  {:<16}{}\n", word, table.find(fmt::format("{} {}", group, word))->help);
  }
  return out;
}

[[noreturn]] void refuseUnknown(const CommandTable& table, const std::string& group,
                                const std::string& name) {
  Error error = Error::make(Kind::usage, "unknown command {}",
                            text::quote(group.empty() ? name : group + " " + name));
  const auto& later = kLaterCommands;
  if (std::find(later.begin(), later.end(), name) != later.end()) {
    error.hint(fmt::format("this version of img has no {} command", name));
  } else if (const auto near = text::suggest(name, table.namesIn(group))) {
    error.hint(fmt::format("did you mean {}?", *near));
  }
  throw error;
}

// "/usr/bin/imgps" -> "ps"; the program under its own or any other name -> "".
std::string commandOfProgram(const std::string& argv0) {
  const std::string base = argv0.substr(argv0.rfind('/') + 1);
  return base.starts_with(kProgram) ? base.substr(kProgram.size()) : "";
}

// Options before the command's name. False: --help or --version was all there is to do.
bool takeGlobals(const CommandTable& table, Context& context, std::vector<std::string>& words) {
  bool version = false;
  bool help = false;
  Options options{context, "", ""};
  options.flag("-v,--version", version, "Print the version")
      .flag("-h,--help", help, "Show this text")
      .stopAtPositional();
  const bool isPlain = words.empty() || !words.front().starts_with('-');
  if (!isPlain) {  // the usual case costs no option table
    (void)options.parse(words);
    words = options.words();
  }
  if (version) {
    context.print("img version " IMG_VERSION "\n");
    return false;
  }
  if (!help && !words.empty()) return true;
  context.print(context.command.empty() ? mainHelp(table) : groupHelp(table, context.command));
  return false;
}

// The words up to a command; nullptr when there is nothing to run. "image ls" takes two words.
const Command* chooseCommand(const CommandTable& table, Context& context,
                             std::vector<std::string>& words) {
  if (!takeGlobals(table, context, words)) return nullptr;
  std::string name = words.front();
  words.erase(words.begin());
  const Command* command = table.find(name);
  if (command == nullptr && table.isGroup(name)) {
    const std::string group = name;
    context.command = group;
    if (!takeGlobals(table, context, words)) return nullptr;
    name += " " + words.front();
    command = table.find(name);
    if (command == nullptr) refuseUnknown(table, group, words.front());
    words.erase(words.begin());
  }
  if (command == nullptr) refuseUnknown(table, "", name);
  context.command = name;
  return command;
}

int runWords(const CommandTable& table, Context& context, const std::vector<std::string>& argv) {
  std::vector<std::string> words(argv.begin() + (argv.empty() ? 0 : 1), argv.end());
  const std::string applet = argv.empty() ? "" : commandOfProgram(argv.front());
  if (!applet.empty() && (table.find(applet) != nullptr || table.isGroup(applet))) {
    words.insert(words.begin(), applet);
  } else if (!applet.empty() && std::find(kLaterCommands.begin(), kLaterCommands.end(), applet) !=
                                    kLaterCommands.end()) {
    refuseUnknown(table, "", applet);
  }
  const Command* command = chooseCommand(table, context, words);
  return command == nullptr ? 0 : command->run(context, words);
}

}  // namespace

const Command* CommandTable::find(std::string_view name) const {
  const auto found = std::find_if(commands_.begin(), commands_.end(),
                                  [&](const Command& command) { return hasName(command, name); });
  return found == commands_.end() ? nullptr : &*found;
}

bool CommandTable::isGroup(std::string_view word) const {
  return !namesIn(word).empty();
}

std::vector<std::string> CommandTable::namesIn(std::string_view group) const {
  std::vector<std::string> names;
  const std::string prefix = group.empty() ? "" : std::string{group} + " ";
  for (const Command& command : commands_) {
    for (const std::string& name : text::split(command.names, ',')) {
      if (!name.starts_with(prefix)) continue;
      std::string rest = name.substr(prefix.size());
      if (rest.find(' ') == std::string::npos) names.push_back(std::move(rest));
    }
  }
  return names;
}

int runCommandLine(const CommandTable& table, Context& context,
                   const std::vector<std::string>& argv) {
  try {
    applyEnvironment(context);
    return runWords(table, context, argv);
  } catch (const OutputClosed&) {
    return 0;
  } catch (...) {
    const Error error = currentError();
    context.report(error);
    return exitStatusOf(error);
  }
}

int runMain(const std::vector<std::string>& argv) {
  try {
    CommandTable table;
    addAllCommands(table);
    Context context;
    return runCommandLine(table, context, argv);
  } catch (...) {
    return 125;  // no memory to say anything
  }
}

}  // namespace img::cli
