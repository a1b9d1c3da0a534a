// The state of a stage while its instructions are carried out: file system, config, variables,
// history.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "builder/request.h"
#include "builder/snapshot.h"
#include "builder/variables.h"
#include "parser/dockerfile.h"
#include "store/images.h"
#include "store/oci.h"

namespace img::builder {

struct HistoryItem {
  store::HistoryEntry entry;
  LayerRef layer;         // null for an entry without a layer
  bool fromBase = false;  // keeps its own time
};

struct StageState {
  store::ImageConfig config;  // without diffIds and history, which follow from the two below
  Snapshot snapshot;
  std::vector<HistoryItem> history;
  // The step whose work folder holds the init layer that fits the snapshot; null: the next RUN
  // makes one.
  LayerRef init;
  Variables variables;
  std::vector<std::string> args;  // declared ARG names, first declaration first
  bool hasCmd = false;            // a CMD of this stage (dockerfile.md 3.16, reset rule)
  // For explanations: the step that made the snapshot, and the base that all of it stands on.
  int lastStep = 0;
  bool isOnBase = true;  // no layer above the base yet
  std::string baseName = "scratch", baseDigest;
  bool isUnknown = false;  // a dry run: a step below would have to run first
};

// What all stages share.
struct Scope {
  const Request* request = nullptr;
  const parser::Dockerfile* file = nullptr;
  Variables globals;  // predefined and global ARGs
  [[nodiscard]] const std::string* findBuildArg(std::string_view name) const;
};

// Expands the words of one instruction; errors get its keyword and position.
class WordExpander {
 public:
  WordExpander(const Scope& scope, const parser::Instruction& instruction,
               const Variables& variables);
  [[nodiscard]] std::string word(std::string_view text) const;
  [[nodiscard]] std::vector<std::string> words(std::string_view text) const;  // multi-word mode
  [[nodiscard]] std::string heredoc(std::string_view body) const;             // dockerfile.md 2.9

 private:
  template <class Work>
  auto guarded(Work&& work) const;
  const Scope& scope_;
  const parser::Instruction& instruction_;
  parser::Lookup lookup_;
};

// Where the instruction stands, the caret under `token` if it occurs in its first line.
Position positionOf(const parser::Dockerfile& file, const parser::Instruction& instruction,
                    std::string_view token = {});

// The name for messages: keyword, or `ONBUILD keyword` is not distinguished.
Error instructionError(const Scope& scope, const parser::Instruction& instruction,
                       std::string cause, std::string_view token = {});

// Shell form under the stage's SHELL, or the words as they are.
std::vector<std::string> commandLine(const parser::Command& command,
                                     const store::ImageConfig& config);

// SHELL without the option that makes it read its command from an argument; /bin/sh without SHELL.
std::vector<std::string> shellWithoutCommand(const store::ImageConfig& config);

inline constexpr char kHistoryComment[] = "img.dockerfile.v0";

// Starting points of a stage (dockerfile.md 7.2, 7.3).
StageState emptyStage(const store::Platform& platform);
StageState imageStage(const store::Image& image);  // without a snapshot
void recordHistory(StageState& stage, std::string createdBy, LayerRef layer = nullptr);

// Lexically cleaned absolute path: `path` joined to `base` when relative.
std::string joinPath(std::string_view base, std::string_view path);

}  // namespace img::builder
