// The parsed form of a template, between its reader (template_parse.cc) and its interpreter
// (template.cc).
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/json.h"

namespace img::cli::tmpl {

struct Pipe;

// One operand: where its value comes from, then the fields taken from it (".State.Pid", "$x.A", "(f
// .).B").
// NOLINTNEXTLINE(bugprone-exception-escape): the check looks into Json's noexcept move
struct Operand {
  enum class Source { dot, variable, literal, function, group } source = Source::dot;
  std::string name;  // variable without '$' ("" is the root), or function
  Json literal;
  std::shared_ptr<Pipe> group;  // in parentheses
  std::vector<std::string> fields;
};

// The first operand, called with the others if it is a function or a field that takes arguments.
using Command = std::vector<Operand>;

// `$i, $v := a | b`: the value of each command is the last argument of the next.
struct Pipe {
  std::vector<std::string> variables;  // set by it; two only in range
  bool declares = false;               // := against =
  std::vector<Command> commands;
};

struct Body;

struct Text {
  std::string text;
};
struct Print {
  Pipe pipe;
};
struct Block {
  enum class Kind { ifTrue, with, range } kind = Kind::ifTrue;
  Pipe pipe;
  std::shared_ptr<Body> body, otherwise;  // otherwise may be null
};
struct Jump {
  bool leaves = false;  // break against continue
};

using Node = std::variant<Text, Print, Block, Jump>;
struct Body {
  std::vector<Node> nodes;
};

std::shared_ptr<const Body> parseTemplate(std::string_view source);

bool isFunction(std::string_view name);
// `and` and `or` evaluate lazily and are the interpreter's.
Json callFunction(const std::string& name, const std::vector<Json>& args);

bool isTrue(const Json& value);
// As Go prints it; `nested` inside an array or map.
std::string printValue(const Json& value, bool nested = false);
std::string_view typeName(const Json& value);
// One level of `index` and of field access with an argument.
Json indexValue(const Json& value, const Json& key);

}  // namespace img::cli::tmpl
