// The findings of the build checks while they are collected: what the `check` directive, the build
// argument and the comments of an instruction switch off is dropped here, so that a rule only says
// what it sees (dockerfile.md 8.1).
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "parser/checks.h"
#include "parser/dockerfile.h"
#include "parser/fault.h"

namespace img::builder {

struct CheckRule {
  enum class Kind { normal, experimental, extended };  // extended: ours, named Img...
  std::string_view name;
  Kind kind;
};
// All of them, BuildKit's first.
std::span<const CheckRule> checkRules();

struct Finding {
  std::string_view rule;    // a name of checkRules()
  parser::LineRange lines;  // of the excerpt; the first is the line that is reported
  std::string message;
  std::string token;  // marked in the excerpt where it occurs in the first line
};

class CheckFindings {
 public:
  CheckFindings(parser::CheckConfig config, bool extended)
      : config_(std::move(config)), extended_(extended) {}

  // A finding at an instruction, unless it is switched off there.
  void add(std::string_view rule, const parser::Instruction& at, std::string message,
           std::string_view token = {});
  // The same with lines of its own.
  void addAt(parser::LineRange lines, std::string_view rule, const parser::Instruction& at,
             std::string message, std::string_view token = {});
  // Whether the file and the comments of the instruction leave the rule switched on.
  [[nodiscard]] bool isOn(std::string_view rule, const parser::Instruction& at) const;
  [[nodiscard]] bool isExtended() const { return extended_; }

  // Sorted by line, then rule; identical ones once.
  std::vector<Finding> take();

 private:
  const parser::CheckConfig config_;
  const bool extended_;
  std::vector<Finding> findings_;
};

}  // namespace img::builder
