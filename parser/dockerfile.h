// The typed Dockerfile: global ARGs, stages, and one value per instruction with its flags checked
// (dockerfile.md 1.6, 1.10, 3). Words are still unexpanded; the builder expands them in stage
// order.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "parser/syntax.h"

namespace img::parser {

using KeyValues = std::vector<std::pair<std::string, std::string>>;

// RUN, CMD, ENTRYPOINT, SHELL, HEALTHCHECK CMD: exec form (json) or one string.
struct Command {
  bool exec = false;
  std::vector<std::string> words;  // exec: argv; shell: exactly one string
};

struct ArgInstruction {
  struct Item {
    std::string name;
    std::optional<std::string> value;  // the default, unexpanded
  };
  std::vector<Item> items;
};
struct EnvInstruction {
  KeyValues pairs;
  bool legacy = false;
};
struct LabelInstruction {
  KeyValues pairs;
  bool legacy = false;
};
struct RunInstruction {
  Command command;
  std::vector<Heredoc> heredocs;
  bool isHeredocScript =
      false;  // the command is nothing but one marker: its content is the script (1.9)
  std::vector<std::string> mounts;      // the text of each --mount
  std::optional<std::string> network;   // default | none | host
  std::optional<std::string> security;  // sandbox | insecure
  std::vector<std::string> devices;
};
struct CopyInstruction {
  bool isAdd = false;
  std::vector<std::string> sources;  // paths; heredoc markers are in inlineFiles
  std::string destination;
  struct InlineFile {
    std::string name;
    std::string content;  // tabs already removed for <<-
    bool expand = true;
  };
  std::vector<InlineFile> inlineFiles;
  std::optional<std::string> from, chown, chmod, checksum;
  std::vector<std::string> excludes;
  bool link = false, parents = false, keepGitDir = false;
  std::optional<bool> unpack;
};
struct WorkdirInstruction {
  std::string path;
};
struct UserInstruction {
  std::string user;
};
struct VolumeInstruction {
  std::vector<std::string> paths;
};
struct ExposeInstruction {
  std::vector<std::string> ports;
};
struct StopSignalInstruction {
  std::string signal;
};
struct MaintainerInstruction {
  std::string author;
};
struct CmdInstruction {
  Command command;
};
struct EntrypointInstruction {
  Command command;
};
struct ShellInstruction {
  std::vector<std::string> argv;
};
struct OnbuildInstruction {
  std::string trigger;
};  // as config.OnBuild stores it (3.20)
struct HealthcheckInstruction {
  bool none = false;
  Command command;
  // Nanoseconds; 0: inherit the runtime's default.
  long long interval = 0, timeout = 0, startPeriod = 0, startInterval = 0;
  int retries = 0;
};

using Body = std::variant<ArgInstruction, EnvInstruction, LabelInstruction, RunInstruction,
                          CopyInstruction, WorkdirInstruction, UserInstruction, VolumeInstruction,
                          ExposeInstruction, StopSignalInstruction, MaintainerInstruction,
                          CmdInstruction, EntrypointInstruction, ShellInstruction,
                          OnbuildInstruction, HealthcheckInstruction>;

struct Step {
  Instruction syntax;
  Body body;
};

struct Stage {
  Instruction from;
  std::string baseName;                 // unexpanded
  std::optional<std::string> platform;  // unexpanded
  std::string name;                     // lower case; empty when there is no AS
  std::vector<Step> steps;
};

struct Dockerfile {
  std::string fileName;
  std::string text;
  Directives directives;
  std::vector<Step> globalArgs;  // bodies are ArgInstruction
  std::vector<Stage> stages;
  // Warnings found while parsing (Q2, Q7, Q10), each with its line.
  struct Warning {
    int line;
    std::string text;
  };
  std::vector<Warning> warnings;
};

// The content of a heredoc as the builder uses it: leading tabs removed for <<-.
std::string heredocText(const Heredoc& heredoc);
// What the shell gets for the shell form of RUN: the command, followed by the heredocs it reads
// itself; or the script of isHeredocScript. A script that starts with "#!" is to be run as a file
// instead (1.9, Q9).
std::string shellText(const RunInstruction& run);

// Syntax, arity, flags, stage names. Throws like parseSyntax; messages of dockerfile.md 1.10 and
// section 3.
Dockerfile parseDockerfile(std::string_view text, std::string_view name);

// The typed form of one instruction (ONBUILD triggers, `commit --change`).
Step typeInstruction(Instruction syntax, std::string_view fileName, std::string_view text);

}  // namespace img::parser
