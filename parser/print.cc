#include "parser/print.h"

#include "base/error.h"
#include "parser/chars.h"
#include "parser/syntax.h"

namespace img::parser {
namespace {

void appendStrings(std::string& out, const std::vector<std::string>& strings) {
  out += '[';
  for (size_t i = 0; i < strings.size(); ++i) {
    if (i > 0) out += ',';
    appendJsonString(out, strings[i]);
  }
  out += ']';
}

void appendHeredoc(std::string& out, const Heredoc& heredoc) {
  out += "{\"name\":";
  appendJsonString(out, heredoc.name);
  out += ",\"content\":";
  appendJsonString(out, heredoc.content);
  out += heredoc.expand ? ",\"expand\":true" : ",\"expand\":false";
  out += heredoc.chomp ? ",\"chomp\":true}" : ",\"chomp\":false}";
}

// Keys in the order of X3.
void appendInstruction(std::string& out, const Instruction& instruction) {
  out += "{\"instruction\":";
  appendJsonString(out, instruction.keyword);
  out +=
      fmt::format(",\"line\":{},\"end_line\":{},\"flags\":", instruction.line, instruction.endLine);
  appendStrings(out, instruction.flags);
  out += ",\"args\":";
  appendStrings(out, instruction.args);
  out += instruction.json ? ",\"json\":true" : ",\"json\":false";
  out += ",\"heredocs\":[";
  for (size_t i = 0; i < instruction.heredocs.size(); ++i) {
    if (i > 0) out += ',';
    appendHeredoc(out, instruction.heredocs[i]);
  }
  out += "],\"original\":";
  appendJsonString(out, instruction.original);
  if (!instruction.child.empty()) {
    out += ",\"child\":";
    appendInstruction(out, instruction.child.front());
  }
  out += '}';
}

std::string printWord(std::string_view word, const WordsRequest& request) {
  ExpandOptions options;
  options.escape = request.escape;
  std::string out;
  try {
    if (request.split) {
      appendStrings(out, expandWords(word, request.lookup, options));
    } else {
      appendJsonString(out, expand(word, request.lookup, options).text);
    }
  } catch (const Error& error) {
    out = "{\"error\":";
    appendJsonString(out, error.cause());
    out += '}';
  }
  return out;
}

}  // namespace

void appendJsonString(std::string& out, std::string_view text) {
  out += '"';
  for (size_t pos = 0; pos < text.size();) {
    const char32_t c = nextChar(text, pos);
    switch (c) {
      case U'"': out += "\\\""; break;
      case U'\\': out += "\\\\"; break;
      case U'\b': out += "\\b"; break;
      case U'\f': out += "\\f"; break;
      case U'\n': out += "\\n"; break;
      case U'\r': out += "\\r"; break;
      case U'\t': out += "\\t"; break;
      default:
        if (c < 0x20) {
          out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
        } else {
          appendChar(out, c >= kRawByte ? U'\uFFFD' : c);
        }
    }
  }
  out += '"';
}

std::string printSyntax(const Syntax& syntax) {
  std::string out = "[";
  for (size_t i = 0; i < syntax.instructions.size(); ++i) {
    if (i > 0) out += ',';
    appendInstruction(out, syntax.instructions[i]);
  }
  out += "]\n";
  return out;
}

std::string printWords(const WordsRequest& request) {
  std::string out;
  std::string_view rest = request.input;
  while (!rest.empty()) {
    const size_t newline = rest.find('\n');
    out += printWord(rest.substr(0, newline), request);
    out += '\n';
    rest.remove_prefix(newline == std::string_view::npos ? rest.size() : newline + 1);
  }
  return out;
}

}  // namespace img::parser
