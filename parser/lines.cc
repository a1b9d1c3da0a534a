#include "parser/lines.h"

#include "base/text.h"
#include "parser/chars.h"
#include "parser/checks.h"

namespace img::parser {
namespace {

constexpr size_t kMaxLineBytes = size_t{1} << 20;  // Q1

std::string_view cutLineEnding(std::string_view line) {
  while (!line.empty() && (line.back() == '\n' || line.back() == '\r')) line.remove_suffix(1);
  return line;
}

bool isComment(std::string_view line) {
  return trimLeftSpace(line).starts_with('#');
}

struct DirectiveText {
  std::string name;  // lower case
  std::string_view value;
};

// `# name = value`
std::optional<DirectiveText> splitDirective(std::string_view line) {
  line = trimLeftSpace(line);
  if (!line.starts_with('#')) return std::nullopt;
  line = trimLeftSpace(line.substr(1));
  size_t end = 0;
  while (end < line.size() &&
         (isDigit(line[end]) ? end > 0 : isNameStart(line[end]) && line[end] != '_')) {
    ++end;
  }
  if (end == 0) return std::nullopt;
  DirectiveText directive;
  directive.name = text::lower(line.substr(0, end));
  line = trimLeftSpace(line.substr(end));
  if (!line.starts_with('=')) return std::nullopt;
  directive.value = trimSpace(line.substr(1));
  if (directive.value.empty()) return std::nullopt;
  return directive;
}

}  // namespace

LineReader::LineReader(const SourceText& source) : source_(source), rest_(source.text) {
  if (rest_.starts_with("\xEF\xBB\xBF")) rest_.remove_prefix(3);
}

std::optional<std::string_view> LineReader::readPhysical() {
  if (rest_.empty()) return std::nullopt;
  const size_t newline = rest_.find('\n');
  const size_t length = newline == std::string_view::npos ? rest_.size() : newline + 1;
  ++number_;
  if (std::min(newline, rest_.size()) > kMaxLineBytes) {
    throw parseFault(source_, {number_, number_},
                     fmt::format("line exceeds {} bytes", kMaxLineBytes));
  }
  const std::string_view line = rest_.substr(0, length);
  rest_.remove_prefix(length);
  return line;
}

Directives LineReader::readDirectives() {
  Directives directives;
  for (;;) {
    // The line is only looked at here; what is no directive is read again by next().
    const std::string_view before = rest_;
    const auto line = readPhysical();
    if (!line) return directives;
    const bool isShebang = number_ == 1 && line->starts_with("#!");  // Q4
    if (isShebang || readDirective(cutLineEnding(*line), directives)) continue;
    rest_ = before;
    --number_;
    escape_ = directives.escape;
    return directives;
  }
}

bool LineReader::readDirective(std::string_view line, Directives& directives) {
  const auto found = splitDirective(line);
  if (!found) return false;
  const auto fault = [&](std::string message) {
    return parseFault(source_, {number_, number_}, std::move(message));
  };
  const auto once = [&](int& seenAt) {
    if (seenAt != 0) {
      throw fault(
          fmt::format("parser directive {} may appear only once", text::quote(found->name)));
    }
    seenAt = number_;
  };
  if (found->name == "escape") {
    once(directives.escapeLine);
    if (found->value != "\\" && found->value != "`") {
      throw fault(fmt::format("escape directive must be \\ or a backtick, got {}",
                              text::quote(found->value)));
    }
    directives.escape = found->value[0];
    return true;
  }
  if (found->name == "syntax") {
    once(directives.syntaxLine);
    directives.syntax = std::string{found->value};
    return true;
  }
  if (found->name == "check") {
    once(directives.checkLine);
    directives.check = std::string{found->value};
    try {
      parseCheckConfig(found->value);
    } catch (Error& error) {
      error.prefixCause("check directive: ").at(positionOf(source_, {number_, number_}));
      throw;
    }
    return true;
  }
  return false;
}

std::optional<LogicalLine> LineReader::next() {
  LogicalLine logical;
  while (const auto physical = readPhysical()) {
    std::string_view line = trimLeftSpace(cutLineEnding(*physical));
    if (line.empty()) continue;
    if (line.starts_with('#')) {
      const std::string_view comment = trimSpace(line.substr(1));
      if (comment.empty()) {
        logical.comments.clear();
      } else {
        logical.comments.emplace_back(comment);
      }
      continue;
    }
    logical.lines.first = number_;
    const bool continues = cutContinuation(line);
    logical.text = std::string{line};
    if (continues) readContinuation(logical);
    logical.lines.last = number_;
    return logical;
  }
  return std::nullopt;
}

void LineReader::readContinuation(LogicalLine& logical) {
  while (const auto physical = readPhysical()) {
    std::string_view line = cutLineEnding(*physical);
    if (isComment(line)) continue;
    if (trimLeftSpace(line).empty()) {
      logical.emptyContinuation = true;
      continue;
    }
    const bool continues = cutContinuation(line);
    logical.text += line;
    if (!continues) return;
  }
}

bool LineReader::cutContinuation(std::string_view& line) const {
  std::string_view cut = line;
  while (!cut.empty() && (cut.back() == ' ' || cut.back() == '\t')) cut.remove_suffix(1);
  if (cut.empty() || cut.back() != escape_) return false;
  cut.remove_suffix(1);
  // An escape character that is itself escaped, or only looks so, does not continue (1.2 step 4).
  if (!cut.empty() && cut.back() == escape_) return false;
  line = cut;
  return true;
}

bool LineReader::readHeredoc(Heredoc& heredoc) {
  while (const auto physical = readPhysical()) {
    std::string_view line = cutLineEnding(*physical);
    if (heredoc.chomp) {
      while (line.starts_with('\t')) line.remove_prefix(1);
    }
    if (line == heredoc.name) return true;
    heredoc.content += *physical;
  }
  return false;
}

}  // namespace img::parser
