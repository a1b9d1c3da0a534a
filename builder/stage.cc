#include "builder/stage.h"

#include <algorithm>

#include "base/text.h"
#include "parser/paths.h"
#include "runtime/command.h"

namespace img::builder {

const std::string* Scope::findBuildArg(std::string_view name) const {
  const std::string* found = nullptr;  // the last one given wins
  for (const auto& [key, value] : request->buildArgs) {
    if (key == name) found = &value;
  }
  return found;
}

WordExpander::WordExpander(const Scope& scope, const parser::Instruction& instruction,
                           const Variables& variables)
    : scope_(scope), instruction_(instruction), lookup_(variables.lookup()) {}

template <class Work>
auto WordExpander::guarded(Work&& work) const {
  try {
    return work();
  } catch (Error& error) {
    error.prefixCause(instruction_.keyword + ": ");
    error.at(positionOf(*scope_.file, instruction_));
    throw;
  }
}

std::string WordExpander::word(std::string_view text) const {
  return guarded([&] {
    parser::ExpandOptions options;
    options.escape = scope_.file->directives.escape;
    std::string word = parser::expand(text, lookup_, options).text;
    // No path, variable or argument of the kernel can hold one: it would be cut off there.
    if (word.find('\0') != std::string::npos)
      throw Error::make(Kind::failed, "a NUL byte in {}", img::text::quote(text));
    return word;
  });
}

std::vector<std::string> WordExpander::words(std::string_view text) const {
  return guarded([&] {
    parser::ExpandOptions options;
    options.escape = scope_.file->directives.escape;
    return parser::expandWords(text, lookup_, options);
  });
}

std::string WordExpander::heredoc(std::string_view body) const {
  return guarded([&] {
    parser::ExpandOptions options;
    options.skipQuotes = true;
    return parser::expand(body, lookup_, options).text;
  });
}

namespace {

std::string_view lineOf(std::string_view text, int number) {
  for (int line = 1; line < number; ++line) {
    const size_t end = text.find('\n');
    if (end == std::string_view::npos) return {};
    text.remove_prefix(end + 1);
  }
  return text.substr(0, text.find('\n'));
}

// Columns count Unicode scalar values: continuation bytes of UTF-8 do not count.
int columnAt(std::string_view line, size_t offset) {
  const auto isStart = [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; };
  return 1 + static_cast<int>(std::count_if(
                 line.begin(), line.begin() + static_cast<std::ptrdiff_t>(offset), isStart));
}

}  // namespace

Position positionOf(const parser::Dockerfile& file, const parser::Instruction& instruction,
                    std::string_view token) {
  Position position;
  position.file = file.fileName;
  position.line = instruction.line;
  position.endLine = instruction.endLine;
  position.text = file.text;
  const std::string_view line = lineOf(file.text, instruction.line);
  const size_t at = token.empty() ? std::string_view::npos : line.find(token);
  if (at != std::string_view::npos) {
    position.column = columnAt(line, at);
    position.width = columnAt(token, token.size()) - 1;
  } else {
    position.column = columnAt(line, std::min(line.find_first_not_of(" \t"), line.size()));
    position.width = static_cast<int>(instruction.keyword.size());
  }
  return position;
}

Error instructionError(const Scope& scope, const parser::Instruction& instruction,
                       std::string cause, std::string_view token) {
  Error error{Kind::failed, instruction.keyword + ": " + std::move(cause)};
  error.at(positionOf(*scope.file, instruction, token));
  return error;
}

std::vector<std::string> shellWithoutCommand(const store::ImageConfig& config) {
  if (config.shell.empty()) return {"/bin/sh"};
  std::vector<std::string> words{config.shell.front()};
  if (config.shell.size() > 2)
    words.insert(words.end(), config.shell.begin() + 1, config.shell.end() - 1);
  return words;
}

std::vector<std::string> commandLine(const parser::Command& command,
                                     const store::ImageConfig& config) {
  if (command.exec) return command.words;
  std::vector<std::string> argv = config.shell;
  if (argv.empty()) argv = {"/bin/sh", "-c"};
  argv.push_back(command.words.empty() ? std::string{} : command.words.front());
  return argv;
}

StageState emptyStage(const store::Platform& platform) {
  StageState stage;
  stage.config.platform = platform;
  stage.config.workingDir = "/";
  setEnv(stage.config.env, "PATH", runtime::kDefaultPath);
  stage.variables.set("PATH", std::string{runtime::kDefaultPath});
  return stage;
}

StageState imageStage(const store::Image& image) {
  StageState state;
  state.config = image.config;
  state.config.onBuild.clear();
  state.config.created.clear();
  state.config.workingDir = joinPath("/", state.config.workingDir);
  for (const std::string& entry : state.config.env) {
    const size_t equals = entry.find('=');
    state.variables.set(entry.substr(0, equals),
                        equals == std::string::npos ? "" : entry.substr(equals + 1));
  }
  if (state.variables.find("PATH") == nullptr) {
    setEnv(state.config.env, "PATH", runtime::kDefaultPath);
    state.variables.set("PATH", std::string{runtime::kDefaultPath});
  }
  for (const store::HistoryEntry& entry : image.config.history) {
    state.history.push_back({entry, nullptr, true});
  }
  return state;
}

void recordHistory(StageState& stage, std::string createdBy, LayerRef layer) {
  // Readers of configs refuse it, and it holds whatever an instruction brings in.
  if (createdBy.find('\0') != std::string::npos)
    throw Error::make(Kind::failed, "a NUL byte in {}", text::quote(createdBy));
  HistoryItem item;
  item.entry.createdBy = std::move(createdBy);
  item.entry.comment = kHistoryComment;
  item.entry.emptyLayer = layer == nullptr;
  item.layer = std::move(layer);
  stage.history.push_back(std::move(item));
}

std::string joinPath(std::string_view base, std::string_view path) {
  return parser::cleanPath(path.starts_with('/') ? std::string{path}
                                                 : fmt::format("/{}/{}", base, path));
}

}  // namespace img::builder
