// The flags an instruction accepts, and their values (dockerfile.md 1.6).
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "parser/fault.h"
#include "parser/syntax.h"

namespace img::parser {

struct FlagSpec {
  enum class Kind { boolean, string, list };
  std::string_view name;
  Kind kind;
};

class Flags {
 public:
  // Throws for an unknown, repeated or ill-formed flag.
  Flags(const Instruction& instruction, const SourceText& source, std::span<const FlagSpec> specs);

  // nullopt: absent, or given as `--x=`.
  [[nodiscard]] std::optional<std::string> text(std::string_view name) const;
  [[nodiscard]] std::optional<bool> boolean(std::string_view name) const;
  [[nodiscard]] bool isSet(std::string_view name) const { return boolean(name).value_or(false); }
  [[nodiscard]] std::vector<std::string> list(std::string_view name) const;

 private:
  struct Given {
    std::string_view name;
    std::string value;
  };
  [[nodiscard]] const Given* find(std::string_view name) const;
  std::vector<Given> given_;
};

}  // namespace img::parser
