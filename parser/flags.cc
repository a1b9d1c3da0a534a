#include "parser/flags.h"

#include "base/text.h"

namespace img::parser {
namespace {

const FlagSpec* findSpec(std::span<const FlagSpec> specs, std::string_view name) {
  for (const FlagSpec& spec : specs) {
    if (spec.name == name) return &spec;
  }
  return nullptr;
}

Error withSuggestion(Error error, std::string_view flag, std::span<const FlagSpec> specs) {
  std::vector<std::string> names;
  names.reserve(specs.size());
  for (const FlagSpec& spec : specs) names.push_back("--" + std::string{spec.name});
  if (const auto near = text::suggest(flag, names)) error.hint(didYouMean(*near));
  return error;
}

}  // namespace

Flags::Flags(const Instruction& instruction, const SourceText& source,
             std::span<const FlagSpec> specs) {
  for (const std::string& written : instruction.flags) {
    const size_t equals = written.find('=');
    const bool hasValue = equals != std::string::npos;
    const std::string flag = written.substr(0, equals);
    std::string value = hasValue ? written.substr(equals + 1) : std::string{};
    const auto fault = [&](std::string_view problem) {
      return parseFault(source, {instruction.line, instruction.endLine},
                        fmt::format("{}: {}", instruction.keyword, problem), flag);
    };

    const FlagSpec* spec = findSpec(specs, std::string_view{flag}.substr(2));
    if (spec == nullptr) {
      throw withSuggestion(fault("unknown flag " + text::quote(flag)), flag, specs);
    }
    if (spec->kind != FlagSpec::Kind::list && find(spec->name) != nullptr) {
      throw fault(fmt::format("flag {} given twice", text::quote(flag)));
    }
    if (spec->kind == FlagSpec::Kind::boolean) {
      const std::string lower = hasValue ? text::lower(value) : "true";
      if (lower != "true" && lower != "false") {
        throw fault(fmt::format("flag {} must be true or false, got {}", text::quote(flag),
                                text::quote(value)));
      }
      value = lower;
    } else if (!hasValue) {
      throw fault(fmt::format("flag {} needs a value", text::quote(flag)));
    }
    given_.push_back({spec->name, std::move(value)});
  }
}

const Flags::Given* Flags::find(std::string_view name) const {
  for (const Given& given : given_) {
    if (given.name == name) return &given;
  }
  return nullptr;
}

std::optional<std::string> Flags::text(std::string_view name) const {
  const Given* given = find(name);
  return given == nullptr || given->value.empty() ? std::nullopt : std::optional{given->value};
}

std::optional<bool> Flags::boolean(std::string_view name) const {
  const Given* given = find(name);
  return given == nullptr ? std::nullopt : std::optional{given->value == "true"};
}

std::vector<std::string> Flags::list(std::string_view name) const {
  std::vector<std::string> values;
  for (const Given& given : given_) {
    if (given.name == name && !given.value.empty()) values.push_back(given.value);
  }
  return values;
}

}  // namespace img::parser
