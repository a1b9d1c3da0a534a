// The functions of templates: Go's own (text/template, "Functions") and the ones docker adds.
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdio>
#include <functional>

#include "base/error.h"
#include "base/text.h"
#include "cli/template_tree.h"

namespace img::cli::tmpl {
namespace {

using Args = std::vector<Json>;

template <class... Rest>
[[noreturn]] void refuse(fmt::format_string<Rest...> text, Rest&&... rest) {
  throw Error{Kind::failed, "template: " + fmt::format(text, std::forward<Rest>(rest)...)};
}

const std::string& stringOf(const Json& value, std::string_view function) {
  if (!value.is_string()) {
    refuse("{} takes a string, and this is {}", function, typeName(value));
  }
  return value.get_ref<const std::string&>();
}

size_t countOf(const Json& value, std::string_view function) {
  constexpr long long kLargest = 1'000'000;  // pad must not fill the memory
  if (!value.is_number_integer() || value.get<long long>() < 0 ||
      value.get<long long>() > kLargest) {
    refuse("{} takes a number from 0, and this is {}", function, text::quote(printValue(value)));
  }
  return value.get<size_t>();
}

// -1, 0, 1 for two numbers or two strings.
int compare(const Json& a, const Json& b) {
  if (a.is_string() && b.is_string()) {
    return a.get_ref<const std::string&>().compare(b.get_ref<const std::string&>());
  }
  if (!a.is_number() || !b.is_number())
    refuse("{} and {} can't be ordered", typeName(a), typeName(b));
  return a < b ? -1 : (b < a ? 1 : 0);
}

bool isEqual(const Json& a, const Json& b) {
  const bool comparable =
      a.type() == b.type() || a.is_null() || b.is_null() || (a.is_number() && b.is_number());
  if (!comparable) refuse("{} and {} can't be compared", typeName(a), typeName(b));
  return a == b;
}

Json callEq(const Args& args) {
  return std::any_of(args.begin() + 1, args.end(),
                     [&](const Json& other) { return isEqual(args[0], other); });
}

Json callLen(const Args& args) {
  const Json& value = args[0];
  if (value.is_string()) return value.get_ref<const std::string&>().size();
  if (!value.is_array() && !value.is_object() && !value.is_null()) {
    refuse("len of {}", typeName(value));
  }
  return value.size();
}

Json callIndex(const Args& args) {
  Json value = args[0];
  for (size_t i = 1; i < args.size(); ++i) value = indexValue(value, args[i]);
  return value;
}

Json callSlice(const Args& args) {
  const Json& value = args[0];
  const bool isText = value.is_string();
  if (!isText && !value.is_array()) refuse("slice of {}", typeName(value));
  const size_t size = isText ? value.get_ref<const std::string&>().size() : value.size();
  const size_t from = args.size() > 1 ? countOf(args[1], "slice") : 0;
  const size_t to = args.size() > 2 ? countOf(args[2], "slice") : size;
  if (from > to || to > size) refuse("slice {}:{} is out of range, length {}", from, to, size);
  if (isText) return value.get_ref<const std::string&>().substr(from, to - from);
  const auto first = value.begin() + static_cast<std::ptrdiff_t>(from);
  return Args(first, first + static_cast<std::ptrdiff_t>(to - from));
}

// fmt.Sprint: a blank between two operands when neither is a string.
std::string sprint(const Args& args) {
  std::string out;
  for (size_t i = 0; i < args.size(); ++i) {
    if (i > 0 && !args[i].is_string() && !args[i - 1].is_string()) out += ' ';
    out += printValue(args[i], true);
  }
  return out;
}

std::string sprintln(const Args& args) {
  std::string out;
  for (size_t i = 0; i < args.size(); ++i) out += (i > 0 ? " " : "") + printValue(args[i], true);
  return out + "\n";
}

std::string replaceEach(const std::string& text,
                        const std::function<std::string(unsigned char)>& replacement) {
  std::string out;
  for (const char c : text) out += replacement(static_cast<unsigned char>(c));
  return out;
}

std::string htmlEscape(const std::string& text) {
  return replaceEach(text, [](unsigned char c) -> std::string {
    switch (c) {
      case '&': return "&amp;";
      case '<': return "&lt;";
      case '>': return "&gt;";
      case '"': return "&#34;";
      case '\'': return "&#39;";
      case 0: return "\xEF\xBF\xBD";  // U+FFFD
      default: return {static_cast<char>(c)};
    }
  });
}

std::string jsEscape(const std::string& text) {
  return replaceEach(text, [](unsigned char c) -> std::string {
    if (c == '\\' || c == '\'' || c == '"') return {'\\', static_cast<char>(c)};
    if (c < 0x20 || c == '<' || c == '>' || c == '&' || c == '=') {
      return fmt::format("\\u{:04X}", c);
    }
    return {static_cast<char>(c)};
  });
}

std::string queryEscape(const std::string& text) {
  return replaceEach(text, [](unsigned char c) -> std::string {
    if (c == ' ') return "+";
    const bool isPlain = std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.' || c == '~';
    return isPlain ? std::string{static_cast<char>(c)} : fmt::format("%{:02X}", c);
  });
}

std::string titleCase(std::string text) {
  bool startsWord = true;
  for (char& c : text) {
    if (startsWord) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    startsWord = std::isspace(static_cast<unsigned char>(c)) != 0;
  }
  return text;
}

Json callSplit(const Args& args) {
  const std::string& text = stringOf(args[0], "split");
  const std::string& separator = stringOf(args[1], "split");
  Json parts = Json::array();
  if (separator.empty()) {
    for (const char c : text) parts.push_back(std::string{c});
    return parts;
  }
  for (size_t at = 0;;) {
    const size_t end = text.find(separator, at);
    parts.push_back(text.substr(at, end - at));
    if (end == std::string::npos) return parts;
    at = end + separator.size();
  }
}

Json callJoin(const Args& args) {
  if (!args[0].is_array() && !args[0].is_null())
    refuse("join takes an array, and this is {}", typeName(args[0]));
  std::vector<std::string> parts;
  for (const Json& part : args[0]) parts.push_back(printValue(part, true));
  return text::join(parts, stringOf(args[1], "join"));
}

Json callPad(const Args& args) {
  const std::string& text = stringOf(args[0], "pad");
  if (text.empty()) return text;
  return std::string(countOf(args[1], "pad"), ' ') + text +
         std::string(countOf(args[2], "pad"), ' ');
}

// One verb of printf with its flags and width, as "%-5d".
std::string formatVerb(std::string spec, const Json& value) {
  constexpr size_t kMaxSpec = 8;  // a width that fits no line is a mistake
  const char verb = spec.back();
  if (spec.size() > kMaxSpec) refuse("printf: {} is too long", text::quote(spec));
  const auto print = [&](auto argument) {
    const int length = std::snprintf(nullptr, 0, spec.c_str(), argument);
    std::string out(static_cast<size_t>(std::max(length, 0)) + 1, '\0');
    (void)std::snprintf(out.data(), out.size(), spec.c_str(), argument);
    out.pop_back();
    return out;
  };
  const auto as = [&](std::string_view length, char letter) {
    spec.pop_back();
    spec += length;
    spec += letter;
  };
  switch (verb) {
    case 'd':
    case 'x':
    case 'X':
    case 'o':
      if (value.is_number_integer()) {
        as("ll", verb);
        return print(value.get<long long>());
      }
      break;
    case 'f':
    case 'g':
    case 'e':
      if (value.is_number()) return print(value.get<double>());
      break;
    case 'q': as("", 's'); return print(dumpJson(Json(printValue(value, true))).c_str());
    case 't':
    case 's':
    case 'v': {
      as("", 's');
      const std::string text = printValue(value, true);
      return print(text.c_str());
    }
    default: break;
  }
  refuse("printf: %{} does not suit {}", verb, typeName(value));
}

Json callPrintf(const Args& args) {
  const std::string& format = stringOf(args[0], "printf");
  std::string out;
  size_t next = 1;
  for (size_t at = 0; at < format.size();) {
    if (format[at] != '%') {
      out += format[at++];
      continue;
    }
    const size_t verb = format.find_first_not_of("+-# 0123456789.", at + 1);
    if (verb == std::string::npos) refuse("printf: a % has no verb");
    if (format[verb] == '%') {
      out += '%';
    } else {
      if (next >= args.size()) refuse("printf: too few arguments for {}", text::quote(format));
      out += formatVerb(format.substr(at, verb + 1 - at), args[next++]);
    }
    at = verb + 1;
  }
  return out;
}

struct Function {
  std::string_view name;
  size_t least, most;
  Json (*call)(const Args& args);
};

constexpr size_t kAny = static_cast<size_t>(-1);

const std::array<Function, 26> kFunctions{{
    {"and", 1, kAny, nullptr},  // evaluated lazily by the interpreter
    {"or", 1, kAny, nullptr},
    {"not", 1, 1, [](const Args& args) { return Json(!isTrue(args[0])); }},
    {"eq", 2, kAny, callEq},
    {"ne", 2, 2, [](const Args& args) { return Json(!isEqual(args[0], args[1])); }},
    {"lt", 2, 2, [](const Args& args) { return Json(compare(args[0], args[1]) < 0); }},
    {"le", 2, 2, [](const Args& args) { return Json(compare(args[0], args[1]) <= 0); }},
    {"gt", 2, 2, [](const Args& args) { return Json(compare(args[0], args[1]) > 0); }},
    {"ge", 2, 2, [](const Args& args) { return Json(compare(args[0], args[1]) >= 0); }},
    {"len", 1, 1, callLen},
    {"index", 1, kAny, callIndex},
    {"slice", 1, 3, callSlice},
    {"print", 0, kAny, [](const Args& args) { return Json(sprint(args)); }},
    {"println", 0, kAny, [](const Args& args) { return Json(sprintln(args)); }},
    {"printf", 1, kAny, callPrintf},
    {"html", 1, kAny, [](const Args& args) { return Json(htmlEscape(sprint(args))); }},
    {"js", 1, kAny, [](const Args& args) { return Json(jsEscape(sprint(args))); }},
    {"urlquery", 1, kAny, [](const Args& args) { return Json(queryEscape(sprint(args))); }},
    {"json", 1, 1, [](const Args& args) { return Json(dumpJson(args[0])); }},
    {"split", 2, 2, callSplit},
    {"join", 2, 2, callJoin},
    {"title", 1, 1, [](const Args& args) { return Json(titleCase(stringOf(args[0], "title"))); }},
    {"lower", 1, 1, [](const Args& args) { return Json(text::lower(stringOf(args[0], "lower"))); }},
    {"upper", 1, 1, [](const Args& args) { return Json(text::upper(stringOf(args[0], "upper"))); }},
    {"pad", 3, 3, callPad},
    {"truncate", 2, 2,
     [](const Args& args) {
       return Json(stringOf(args[0], "truncate").substr(0, countOf(args[1], "truncate")));
     }},
}};

const Function* findFunction(std::string_view name) {
  const auto found = std::find_if(kFunctions.begin(), kFunctions.end(),
                                  [&](const Function& f) { return f.name == name; });
  return found == kFunctions.end() ? nullptr : &*found;
}

}  // namespace

bool isFunction(std::string_view name) {
  return findFunction(name) != nullptr;
}

Json callFunction(const std::string& name, const std::vector<Json>& args) {
  const Function* function = findFunction(name);
  if (args.size() < function->least || args.size() > function->most) {
    refuse("wrong number of arguments for {}: {}", name, args.size());
  }
  return function->call(args);
}

Json indexValue(const Json& value, const Json& key) {
  if (value.is_array()) {
    const size_t at = countOf(key, "index");
    if (at >= value.size()) refuse("index {} is out of range, length {}", at, value.size());
    return value[at];
  }
  if (value.is_object() || value.is_null()) {
    const std::string& name = stringOf(key, "index of a map");
    if (const auto found = value.find(name); found != value.end()) return *found;
    // Go gives the zero value of the element type; labels are maps of strings.
    const bool holdsStrings = std::all_of(value.begin(), value.end(),
                                          [](const Json& element) { return element.is_string(); });
    return holdsStrings ? Json("") : Json();
  }
  refuse("index of {}", typeName(value));
}

}  // namespace img::cli::tmpl
