#include "cli/template.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "base/error.h"
#include "base/text.h"
#include "cli/template_tree.h"

namespace img::cli {
namespace tmpl {
namespace {

enum class Flow { next, again, leave };  // after a node: go on, {{continue}}, {{break}}

template <class... Args>
[[noreturn]] void refuse(fmt::format_string<Args...> text, Args&&... args) {
  throw Error{Kind::failed, "template: " + fmt::format(text, std::forward<Args>(args)...)};
}

// Lists what there is, so that the user need not look it up.
[[noreturn]] void refuseField(const Json& value, const std::string& name) {
  constexpr size_t kMaxListed = 40;
  std::vector<std::string> known;
  for (const auto& [key, unused] : value.items()) known.push_back(key);
  std::vector<std::string> listed{
      known.begin(),
      known.begin() + static_cast<std::ptrdiff_t>(std::min(known.size(), kMaxListed))};
  if (known.size() > kMaxListed) listed.emplace_back("...");
  Error error = Error::make(Kind::failed, "template: no field {}; fields here: {}",
                            text::quote(name), text::join(listed, ", "));
  const auto sameLetters = std::find_if(known.begin(), known.end(), [&](const std::string& key) {
    return text::lower(key) == text::lower(name);
  });
  if (sameLetters != known.end()) {
    error.hint("did you mean ." + *sameLetters + "?");
  } else if (const auto near = text::suggest(name, known)) {
    error.hint("did you mean ." + *near + "?");
  }
  throw error;
}

class Runner {
 public:
  explicit Runner(const Json& root) : root_(root) {}

  std::string run(const Body& body) {
    (void)runBody(body, root_);
    return std::move(out_);
  }

 private:
  Flow runBody(const Body& body, const Json& dot) {
    const size_t scope = variables_.size();
    Flow flow = Flow::next;
    for (const Node& node : body.nodes) {
      flow = runNode(node, dot);
      if (flow != Flow::next) break;
    }
    variables_.resize(scope);
    return flow;
  }

  Flow runNode(const Node& node, const Json& dot) {
    if (const auto* text = std::get_if<Text>(&node)) {
      out_ += text->text;
    } else if (const auto* print = std::get_if<Print>(&node)) {
      const Json value = evaluate(print->pipe, dot);
      if (print->pipe.variables.empty()) out_ += printValue(value);
    } else if (const auto* block = std::get_if<Block>(&node)) {
      return runBlock(*block, dot);
    } else {
      return std::get<Jump>(node).leaves ? Flow::leave : Flow::again;
    }
    return Flow::next;
  }

  Flow runBlock(const Block& block, const Json& dot) {
    const size_t scope = variables_.size();
    Flow flow = Flow::next;
    if (block.kind == Block::Kind::range) {
      flow = runRange(block, dot);
    } else {
      const Json value = evaluate(block.pipe, dot);
      if (isTrue(value)) {
        flow = runBody(*block.body, block.kind == Block::Kind::with ? value : dot);
      } else if (block.otherwise) {
        flow = runBody(*block.otherwise, dot);
      }
    }
    variables_.resize(scope);
    return flow;
  }

  Flow runRange(const Block& block, const Json& dot) {
    Pipe pipe = block.pipe;
    const std::vector<std::string> names = std::exchange(pipe.variables, {});
    const Json value = evaluate(pipe, dot);
    if (!value.is_array() && !value.is_object() && !value.is_null()) {
      refuse("range can't go over {} {}", typeName(value), text::quote(printValue(value)));
    }
    if (value.empty()) return block.otherwise ? runBody(*block.otherwise, dot) : Flow::next;
    const size_t scope = variables_.size();
    size_t number = 0;
    for (const auto& [key, element] : value.items()) {
      if (names.size() == 2) {
        variables_.emplace_back(names[0], value.is_array() ? Json(number) : Json(key));
      }
      if (!names.empty()) variables_.emplace_back(names.back(), element);
      const Flow flow = runBody(*block.body, element);
      variables_.resize(scope);
      ++number;
      if (flow == Flow::leave) break;
    }
    return Flow::next;
  }

  Json evaluate(const Pipe& pipe, const Json& dot) {
    std::optional<Json> value;
    for (const Command& command : pipe.commands) value = runCommand(command, dot, value);
    if (!pipe.variables.empty()) setVariable(pipe.variables.front(), *value, pipe.declares);
    return std::move(*value);
  }

  // `piped` is the value from the left of a |, the last argument.
  Json runCommand(const Command& command, const Json& dot, const std::optional<Json>& piped) {
    const Operand& first = command.front();
    const bool isFunctionCall = first.source == Operand::Source::function;
    if (isFunctionCall && (first.name == "and" || first.name == "or")) {
      return runLogic(command, dot, piped);
    }
    std::vector<Json> args;
    for (size_t i = 1; i < command.size(); ++i) args.push_back(valueOf(command[i], dot));
    if (piped) args.push_back(*piped);
    if (isFunctionCall) return callFunction(first.name, args);

    Json value = valueOf(first, dot);
    if (args.empty()) return value;
    if (first.fields.empty()) refuse("can't give an argument to something that is no function");
    for (const Json& arg : args) value = indexValue(value, arg);  // `.Label "key"`
    return value;
  }

  // The first value that decides, and no further: `and .A .A.B` is safe when A is nil.
  Json runLogic(const Command& command, const Json& dot, const std::optional<Json>& piped) {
    const bool isAnd = command.front().name == "and";
    if (command.size() == 1 && !piped) refuse("{} needs an argument", command.front().name);
    Json value;
    for (size_t i = 1; i < command.size(); ++i) {
      value = valueOf(command[i], dot);
      if (isTrue(value) != isAnd) return value;
    }
    return piped ? *piped : value;
  }

  Json valueOf(const Operand& operand, const Json& dot) {
    switch (operand.source) {
      case Operand::Source::literal: return operand.literal;
      case Operand::Source::function: return callFunction(operand.name, {});
      case Operand::Source::group: {
        const Json value = evaluate(*operand.group, dot);
        return *follow(operand, value);
      }
      case Operand::Source::variable: return *follow(operand, getVariable(operand.name));
      case Operand::Source::dot: break;
    }
    return *follow(operand, dot);
  }

  static const Json* follow(const Operand& operand, const Json& start) {
    const Json* value = &start;
    for (const std::string& name : operand.fields) {
      if (!value->is_object()) {
        refuse("no field {}: this is {}", text::quote(name), typeName(*value));
      }
      const auto found = value->find(name);
      if (found == value->end()) refuseField(*value, name);
      value = &*found;
    }
    return value;
  }

  [[nodiscard]] const Json& getVariable(const std::string& name) const {
    if (name.empty()) return root_;
    for (auto variable = variables_.rbegin(); variable != variables_.rend(); ++variable) {
      if (variable->first == name) return variable->second;
    }
    refuse("undefined variable {}", text::quote("$" + name));
  }

  void setVariable(const std::string& name, const Json& value, bool declares) {
    if (declares) {
      variables_.emplace_back(name, value);
      return;
    }
    for (auto variable = variables_.rbegin(); variable != variables_.rend(); ++variable) {
      if (variable->first != name) continue;
      variable->second = value;
      return;
    }
    refuse("undefined variable {}", text::quote("$" + name));
  }

  const Json& root_;
  std::vector<std::pair<std::string, Json>> variables_;
  std::string out_;
};

}  // namespace

bool isTrue(const Json& value) {
  switch (value.type()) {
    case Json::value_t::null: return false;
    case Json::value_t::boolean: return value.get<bool>();
    case Json::value_t::string: return !value.get_ref<const std::string&>().empty();
    case Json::value_t::array:
    case Json::value_t::object: return !value.empty();
    default: return value.get<double>() != 0;
  }
}

std::string_view typeName(const Json& value) {
  switch (value.type()) {
    case Json::value_t::null: return "nil";
    case Json::value_t::boolean: return "a boolean";
    case Json::value_t::string: return "a string";
    case Json::value_t::array: return "an array";
    case Json::value_t::object: return "a map";
    default: return "a number";
  }
}

std::string printValue(const Json& value, bool nested) {
  if (value.is_null()) return nested ? "<nil>" : "<no value>";
  if (value.is_string()) return value.get<std::string>();
  if (value.is_boolean()) return value.get<bool>() ? "true" : "false";
  if (value.is_number_unsigned()) return std::to_string(value.get<unsigned long long>());
  if (value.is_number_integer()) return std::to_string(value.get<long long>());
  if (value.is_number()) {
    constexpr double kExponentFrom = 1e21;  // as strconv's shortest form
    const double real = value.get<double>();
    const bool isIntegral = std::trunc(real) == real && std::abs(real) < kExponentFrom;
    if (isIntegral) return fmt::format("{:.0f}", real);
    return fmt::format("{}", real);
  }
  std::string out = value.is_array() ? "[" : "map[";
  bool isFirst = true;
  for (const auto& [key, element] : value.items()) {
    if (!std::exchange(isFirst, false)) out += ' ';
    if (value.is_object()) out += key + ":";
    out += printValue(element, true);
  }
  return out + "]";
}

}  // namespace tmpl

Template::Template(std::string_view source) : body_(tmpl::parseTemplate(source)) {}

std::string Template::run(const Json& data) const {
  return tmpl::Runner{data}.run(*body_);
}

}  // namespace img::cli
