#include "cli/report.h"

#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "base/json.h"
#include "base/text.h"

namespace img::cli {
namespace {

constexpr size_t kMaxSentence = 900;  // the first line stays under 1000 bytes of plain text (E2)
constexpr int kMaxExcerptLines = 8;
constexpr size_t kMaxExcerptWidth = 400;
constexpr size_t kMinGutter = 2;  // notes line up for every file of less than 100 lines
constexpr std::string_view kTab = "    ";

enum class Tone { error, warning, place, note };

std::string paint(const ReportStyle& style, Tone tone, std::string_view text) {
  if (!style.color) return std::string{text};
  std::string_view code = "1;31";  // SGR: bold red
  if (tone == Tone::warning) code = "1;33";
  if (tone == Tone::place) code = "34";
  if (tone == Tone::note) code = "36";
  return fmt::format("\x1b[{}m{}\x1b[0m", code, text);
}

size_t sequenceLength(std::string_view text, size_t at) {
  const auto first = static_cast<unsigned char>(text[at]);
  const size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : first >= 0xC0 ? 2 : 1;
  return text::isValidUtf8(text.substr(at, length)) ? length : 1;
}

// One scalar value as it is shown.
std::string shown(std::string_view scalar) {
  return scalar == "\t" ? std::string{kTab} : text::escape(scalar);
}

// The sentence must stay one line, and short.
std::string sentence(std::string_view text) {
  std::string out = text::escape(text, kMaxSentence);
  if (out.size() <= kMaxSentence) return out;
  size_t end = kMaxSentence;
  while ((static_cast<unsigned char>(out[end]) & 0xC0) == 0x80) --end;  // not inside a character
  return out.substr(0, end) + "...";
}

// Where the marked token stands in the line as it is shown.
struct Mark {
  size_t column = 0, width = 1;  // 0-based
};

Mark findMark(std::string_view line, const Position& position) {
  size_t start = position.column > 0 ? static_cast<size_t>(position.column - 1) : std::string::npos;
  size_t length = static_cast<size_t>(std::max(position.width, 0));
  std::vector<std::string_view> scalars;
  for (size_t at = 0; at < line.size();) {
    const size_t size = sequenceLength(line, at);
    scalars.push_back(line.substr(at, size));
    at += size;
  }
  const auto isBlank = [&](size_t i) { return scalars[i] == " " || scalars[i] == "\t"; };
  if (start == std::string::npos) {
    for (start = 0; start < scalars.size() && isBlank(start);) ++start;
  }
  if (length == 0) {
    while (start + length < scalars.size() && !isBlank(start + length)) ++length;
  }
  Mark mark;
  for (size_t i = 0; i < std::min(start, scalars.size()); ++i) {
    mark.column += columnsOf(shown(scalars[i]));
  }
  mark.width = 0;
  for (size_t i = start; i < std::min(start + length, scalars.size()); ++i) {
    mark.width += columnsOf(shown(scalars[i]));
  }
  mark.width = std::max<size_t>(mark.width, 1);
  return mark;
}

std::string excerptLine(std::string_view line) {
  std::string out = printable(line);
  if (columnsOf(out) <= kMaxExcerptWidth) return out;
  size_t end = 0;
  for (size_t count = 0; count < kMaxExcerptWidth; ++count) end += sequenceLength(out, end);
  return out.substr(0, end) + "...";
}

// The line before, the lines of the instruction, and the caret run below its first line.
std::string renderExcerpt(const Position& position, const ReportStyle& style, size_t gutter) {
  std::vector<std::string> lines = text::split(position.text, '\n');
  if (!lines.empty() && lines.back().empty()) lines.pop_back();
  const int count = static_cast<int>(lines.size());
  if (position.line < 1 || position.line > count) return {};

  const bool hasNumbers = !position.file.empty();
  const auto row = [&](std::optional<int> number, std::string_view text) {
    const std::string left =
        number && hasNumbers ? fmt::format("{:>{}}", *number, gutter) : std::string(gutter, ' ');
    return paint(style, Tone::place, left + " |") + (text.empty() ? "" : " ") + std::string{text} +
           "\n";
  };
  const auto lineAt = [&](int number) {
    std::string_view line = lines[static_cast<size_t>(number - 1)];
    if (line.ends_with('\r')) line.remove_suffix(1);
    return line;
  };

  std::string out = row({}, "");
  if (position.line > 1) out += row(position.line - 1, excerptLine(lineAt(position.line - 1)));
  const int end = std::clamp(position.endLine, position.line, count);
  const int last = std::min(end, position.line + kMaxExcerptLines - 1);
  for (int number = position.line; number <= last; ++number) {
    out += row(number, excerptLine(lineAt(number)));
    if (number != position.line) continue;
    const Mark mark = findMark(lineAt(number), position);
    if (mark.column >= kMaxExcerptWidth) continue;
    const size_t width = std::min(mark.width, kMaxExcerptWidth - mark.column);
    const std::string run =
        paint(style, style.isWarning ? Tone::warning : Tone::error, std::string(width, '^'));
    out += row({}, std::string(mark.column, ' ') + run);
  }
  if (last < end) out += row({}, "...");
  return out;
}

// FILE:LINE:COL; a column that is not known is that of the first word.
std::string placeOf(const Position& position) {
  std::string place = text::escape(position.file);
  if (position.line < 1) return place;
  int column = position.column;
  if (column < 1) {
    const std::vector<std::string> lines = text::split(position.text, '\n');
    const auto line = static_cast<size_t>(position.line - 1);
    const size_t blanks = line < lines.size() ? lines[line].find_first_not_of(" \t") : 0;
    column = blanks == std::string::npos ? 1 : static_cast<int>(blanks) + 1;
  }
  return place + fmt::format(":{}:{}", position.line, column);
}

// Lines after the first stand under the text of the first.
std::string note(const ReportStyle& style, size_t gutter, std::string_view label,
                 std::string_view text) {
  const std::string head = fmt::format("{}= {}: ", std::string(gutter + 1, ' '), label);
  std::string out;
  for (const std::string& line : text::split(text, '\n')) {
    out += out.empty() ? paint(style, Tone::note, head) : std::string(head.size(), ' ');
    out += printable(line) + "\n";
  }
  return out;
}

std::string renderNotes(const Error& error, const ReportStyle& style, size_t gutter) {
  std::string out;
  const std::string indent(gutter + 1, ' ');
  if (const auto& tail = error.logTail(); !tail.empty()) {
    const std::string head =
        fmt::format("= last {} line{} of its output:", tail.size(), tail.size() == 1 ? "" : "s");
    out += indent + paint(style, Tone::note, head) + "\n";
    for (const std::string& line : tail) out += indent + "  " + printable(line) + "\n";
  }
  if (!error.why().empty()) out += note(style, gutter, "why", error.why());
  if (!error.position() || style.chain) {
    for (const std::string& step : error.steps()) out += note(style, gutter, "while", step);
  }
  for (const std::string& hint : error.hints()) out += note(style, gutter, "hint", hint);
  return out;
}

std::string seeHelp(const ReportStyle& style) {
  return fmt::format("See 'img {}--help'", style.command.empty() ? "" : style.command + " ");
}

std::string firstWord(const Error& error, const ReportStyle& style) {
  if (style.isWarning) return "warning: ";
  return error.kind() == Kind::internal ? "error: internal error: " : "error: ";
}

std::string renderText(const Error& error, const ReportStyle& style) {
  std::string out = paint(style, style.isWarning ? Tone::warning : Tone::error,
                          style.isWarning ? "warning:" : "error:");
  out += firstWord(error, style).substr(style.isWarning ? 8 : 6) + sentence(error.cause()) + "\n";

  size_t gutter = kMinGutter;
  std::string notes;
  if (const auto& position = error.position()) {
    gutter = std::max(gutter, std::to_string(std::max(position->line, position->endLine)).size());
    if (!position->file.empty()) {
      out += std::string(gutter, ' ') + paint(style, Tone::place, "-->") + " " + placeOf(*position);
      if (!error.stage().empty()) out += "   " + printable(error.stage());
      out += "\n";
    }
    const std::string excerpt = renderExcerpt(*position, style, gutter);
    notes = renderNotes(error, style, gutter);
    out += excerpt;
    if (!excerpt.empty() && !notes.empty()) {
      out += paint(style, Tone::place, std::string(gutter, ' ') + " |") + "\n";
    }
  } else {
    notes = renderNotes(error, style, gutter);
  }
  out += notes;
  if (error.kind() == Kind::usage && !style.isWarning) out += seeHelp(style) + "\n";
  return out;
}

// The label of a position is `stage "build", step 4/9`, either part may be missing.
void addStage(const std::string& label, Json& object) {
  const auto between = [&](std::string_view before, char end) -> std::string {
    const size_t at = label.find(before);
    if (at == std::string::npos) return {};
    const size_t start = at + before.size();
    return label.substr(start, std::min(label.find(end, start), label.size()) - start);
  };
  if (const std::string name = between("stage \"", '"'); !name.empty()) object["stage"] = name;
  if (const std::string step = between("step ", ','); !step.empty()) object["step"] = step;
}

std::string renderJson(const Error& error, const ReportStyle& style) {
  Json object = {{style.isWarning ? "warning" : "error", error.cause()}};
  if (!style.isWarning) object["exit_code"] = exitStatusOf(error);
  if (!error.code().empty()) object["code"] = error.code();
  if (const auto& position = error.position(); position && !position->file.empty()) {
    object["file"] = position->file;
    if (position->line > 0) object["line"] = position->line;
    if (position->column > 0) object["column"] = position->column;
    if (position->endLine > 0) object["end_line"] = position->endLine;
  }
  addStage(error.stage(), object);
  if (!error.why().empty()) object["why"] = error.why();
  if (!error.hints().empty()) object["hint"] = error.hints();
  if (!error.logTail().empty()) object["log_tail"] = error.logTail();
  if (!error.steps().empty() && (style.chain || !error.position())) object["while"] = error.steps();
  return dumpJson(object) + "\n";
}

}  // namespace

std::string renderReport(const Error& error, const ReportStyle& style) {
  return style.json ? renderJson(error, style) : renderText(error, style);
}

int exitStatusOf(const Error& error) {
  constexpr int kUsage = 125;
  if (error.exitCode()) return *error.exitCode();
  return error.kind() == Kind::usage ? kUsage : 1;
}

std::string printable(std::string_view untrusted) {
  std::string out;
  for (size_t at = 0; at < untrusted.size();) {
    const size_t tab = std::min(untrusted.find('\t', at), untrusted.size());
    out += text::escape(untrusted.substr(at, tab - at), untrusted.size() + 1);
    if (tab < untrusted.size()) out += kTab;
    at = tab + 1;
  }
  return out;
}

size_t columnsOf(std::string_view utf8) {
  return static_cast<size_t>(std::count_if(utf8.begin(), utf8.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;  // not a continuation byte
  }));
}

}  // namespace img::cli
