#include "cli/progress_tty.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/environment.h"
#include "base/text.h"
#include "cli/columns.h"
#include "cli/human.h"
#include "cli/progress_plain.h"
#include "cli/report.h"
#include "runtime/terminal.h"

namespace img::cli {
namespace {

constexpr std::int64_t kFrameMs = 100;
constexpr size_t kMaxTailLine = 500;
constexpr int kNoLimit = 1'000'000;

char markOf(StepView::State state) {
  switch (state) {
    case StepView::State::running: return '>';
    case StepView::State::done: return '+';
    case StepView::State::cached: return '=';
    case StepView::State::failed: return '!';
    case StepView::State::cancelled: return '-';
  }
  return ' ';
}

std::string_view utf8Mark(char mark) {
  if (mark == '+') return "✔";
  if (mark == '>') return "●";
  if (mark == '!') return "✖";
  return {};
}

// SGR, ECMA-48 8.3.117.
std::string_view colorOf(char mark) {
  switch (mark) {
    case '=': return "36";
    case '+': return "32";
    case '>': return "33";
    case '!': return "1;31";
    default: return {};
  }
}

std::string paint(std::string_view code, std::string_view text) {
  return code.empty() ? std::string{text} : fmt::format("\x1b[{}m{}\x1b[0m", code, text);
}

}  // namespace

TerminalSize terminalSizeOf(int fd) {
  TerminalSize size;
  const runtime::WindowSize window = runtime::windowSize(fd).value_or(runtime::WindowSize{});
  if (window.rows > 0) size.rows = window.rows;
  if (window.columns > 0) {
    size.columns = window.columns;
  } else {
    const auto value = text::parseUnsigned(variableOrEmpty("COLUMNS"));
    if (value && *value > 0 && *value < 10'000) size.columns = static_cast<int>(*value);
  }
  return size;
}

// Columns of the rows: mark, label, text, time, detail.
struct TtyProgress::Layout {
  size_t width = 0, label = 0, text = 0, time = 0, detail = 0;
};

TtyProgress::TtyProgress(DisplayHost host, Terminal terminal)
    : Display(std::move(host)), terminal_(std::move(terminal)), lastFrameMs_(now()) {}

void TtyProgress::started(const StepView& step) {
  tails_[step.label.number];
  tick();
}
void TtyProgress::cached(const StepView&) {
  tick();
}
void TtyProgress::done(const StepView& step) {
  tails_.erase(step.label.number);
  tick();
}
void TtyProgress::sealed(const StepView&) {
  tick();
}
void TtyProgress::failed(const StepView& step) {
  tails_.erase(step.label.number);
  tick();
}

void TtyProgress::output(const StepView& step, std::string_view bytes, bool) {
  Tail& tail = tails_[step.label.number];
  const auto keep = static_cast<size_t>(std::max(terminal_.logLines, 1));
  tail.splitter.add(bytes, [&](std::string_view line) {
    tail.lines.emplace_back(line.substr(0, LineSplitter::kMaxLine));
    if (tail.lines.size() > keep) tail.lines.pop_front();
  });
  tick();
}

// What has been drawn stays; the next frame begins below whatever came in between.
void TtyProgress::suspend() {
  draw();
  drawnWidths_.clear();
  isSuspended_ = true;
}

void TtyProgress::resume() {
  isSuspended_ = false;
  draw();
}

void TtyProgress::tick() {
  if (!isSuspended_ && now() - lastFrameMs_ >= kFrameMs) draw();
}

int TtyProgress::tickMs() const {
  if (isSuspended_) return -1;
  return static_cast<int>(std::max<std::int64_t>(0, kFrameMs - (now() - lastFrameMs_)));
}

std::string TtyProgress::plain(const std::string& text) const {
  return terminal_.isUtf8 ? text : asciiOnly(text);
}

// The last lines, with what stands in a line that has not ended yet.
std::vector<std::string> TtyProgress::tailOf(const StepView& step) const {
  std::vector<std::string> lines;
  const auto found = tails_.find(step.label.number);
  if (found == tails_.end()) return lines;
  const auto add = [&](std::string_view line) {
    const std::string shown = outputLine(line);
    if (!text::trim(shown).empty()) lines.push_back(fitColumns(shown, kMaxTailLine, ""));
  };
  for (const std::string& line : found->second.lines) add(line);
  add(found->second.splitter.partial());
  return lines;
}

// How many lines each running step may show: one each in turn until there is no room.
std::map<int, size_t> TtyProgress::shareTails(size_t room) const {
  std::map<int, size_t> available;
  std::map<int, size_t> share;
  for (const auto& [number, step] : host().view.steps) {
    if (!step.isOver()) available[number] = tailOf(step).size();
  }
  for (bool isAny = true; room > 0 && isAny;) {
    isAny = false;
    for (const auto& [number, count] : available) {
      if (room == 0 || share[number] >= count) continue;
      ++share[number];
      --room;
      isAny = true;
    }
  }
  return share;
}

// Those that run, and of the others the ones that ended last, as many as there is room for; in the
// order of their numbers.
std::vector<const StepView*> TtyProgress::chosenSteps(size_t room, size_t& hidden) const {
  std::vector<const StepView*> steps;
  for (const auto& [number, step] : host().view.steps) steps.push_back(&step);
  hidden = 0;
  if (steps.size() <= room) return steps;
  if (room > 1) --room;  // for the line that says how many are hidden
  std::stable_sort(steps.begin(), steps.end(), [](const StepView* a, const StepView* b) {
    if (a->isOver() != b->isOver()) return !a->isOver();
    return a->isOver() && a->endMs > b->endMs;
  });
  hidden = steps.size() - room;
  steps.resize(room);
  std::sort(steps.begin(), steps.end(),
            [](const StepView* a, const StepView* b) { return a->label.number < b->label.number; });
  return steps;
}

std::string TtyProgress::timeText(const StepView& step) const {
  if (step.state == StepView::State::cached) return "cached";
  if (step.state == StepView::State::cancelled) return "cancelled";
  return fmt::format("{:.1f}s", secondsOf(step, now()));
}

std::string TtyProgress::detailText(const StepView& step) const {
  if (step.state == StepView::State::running) return plain(printable(step.reason));
  if (step.state == StepView::State::failed) return plain(shortError(step));
  return step.layer ? "+" + formatSize(step.bytes) : std::string{};
}

TtyProgress::Layout TtyProgress::layoutFor(const std::vector<const StepView*>& steps,
                                           size_t width) const {
  Layout layout;
  layout.width = width;
  for (const StepView* step : steps) {
    layout.label = std::max(layout.label, displayWidth(printable(step->label.stage)) + 2);
    layout.text = std::max(layout.text, displayWidth(stepText(step->label)));
    layout.time = std::max(layout.time, timeText(*step).size());
    layout.detail = std::max(layout.detail, displayWidth(detailText(*step)));
  }
  layout.label = std::min(layout.label, width / 3);
  layout.detail = std::min(layout.detail, width / 3);
  // " M LABEL TEXT  TIME   DETAIL"
  const size_t others = 3 + layout.label + 1 + 2 + layout.time + 3 + layout.detail;
  const size_t least = std::min<size_t>(10, width);
  layout.text = std::min(layout.text, width > others + least ? width - others : least);
  return layout;
}

TtyProgress::Line TtyProgress::row(const StepView& step, const Layout& layout) const {
  const std::string_view cut = terminal_.isUtf8 ? "…" : "...";
  const std::string label = "[" + plain(printable(step.label.stage)) + "]";
  std::string text = "   " + padColumns(fitColumns(label, layout.label, cut), layout.label) + " ";
  text += padColumns(fitColumns(plain(stepText(step.label)), layout.text, cut), layout.text);
  text += "  " + timeText(step);
  if (const std::string detail = detailText(step); !detail.empty()) {
    text = padColumns(std::move(text), 3 + layout.label + 1 + layout.text + 2 + layout.time);
    text += "   " + fitColumns(detail, layout.detail, cut);
  }
  return {fitColumns(text, layout.width, cut), markOf(step.state), false};
}

std::string TtyProgress::header() const {
  const BuildView& view = host().view;
  const char* word = "building";
  if (phase_ == Phase::built) word = "built";
  if (phase_ == Phase::failed) word = "failed";
  const int running = view.count(StepView::State::running);
  const int total = std::max(view.outline.steps, static_cast<int>(view.steps.size()));
  std::string text = fmt::format("[{}] {}", phase_ == Phase::failed ? '!' : '+', word);
  if (!view.title.empty()) text += " " + plain(printable(view.title));
  text += fmt::format(
      "   {:.1f}s   {}/{} done", static_cast<double>(now() - view.startMs) / 1000,
      static_cast<int>(view.steps.size()) - running - view.count(StepView::State::cancelled),
      total);
  if (const int cached = view.count(StepView::State::cached); cached > 0)
    text += fmt::format("   {} cached", cached);
  if (running > 0 && phase_ == Phase::building) text += fmt::format("   {} running", running);
  return text;
}

std::vector<TtyProgress::Line> TtyProgress::frame(const TerminalSize& size) const {
  const std::string_view cut = terminal_.isUtf8 ? "…" : "...";
  const auto width = static_cast<size_t>(std::max(size.columns - 1, 1));
  const bool isLast = phase_ != Phase::building;
  const auto height = static_cast<size_t>(isLast ? kNoLimit : std::max(size.rows - 1, 1));
  std::vector<Line> lines{{fitColumns(header(), width, cut), ' ', false}};

  const auto running = static_cast<size_t>(host().view.count(StepView::State::running));
  size_t room = height - 1;
  const size_t forOthers = host().view.steps.size() > running ? 1 : 0;
  const size_t forTails = room - std::min(room, running + forOthers);
  const auto shares =
      shareTails(isLast ? 0 : std::min(static_cast<size_t>(terminal_.logLines), forTails));
  for (const auto& [number, count] : shares) room -= count;
  size_t hidden = 0;
  const std::vector<const StepView*> steps = chosenSteps(room, hidden);
  if (hidden > 0 && room > 1) {
    lines.push_back(
        {fitColumns(fmt::format("   {} {} more steps", cut, hidden), width, cut), ' ', true});
  }
  const Layout layout = layoutFor(steps, width);
  for (const StepView* step : steps) {
    lines.push_back(row(*step, layout));
    const auto share = shares.find(step->label.number);
    if (share == shares.end()) continue;
    const std::vector<std::string> tail = tailOf(*step);
    for (size_t i = tail.size() - share->second; i < tail.size(); ++i) {
      lines.push_back({fitColumns("     " + plain(tail[i]), width, cut), ' ', true});
    }
  }
  return lines;
}

std::string TtyProgress::painted(const Line& line) const {
  if (line.mark == ' ') {
    return line.isDim && host().useColor ? paint("2", line.text) : line.text;
  }
  if (line.text.size() < 2) return line.text;  // a terminal of one column
  std::string mark(1, line.mark);
  if (terminal_.isUtf8 && !utf8Mark(line.mark).empty()) mark = utf8Mark(line.mark);
  if (host().useColor) mark = paint(colorOf(line.mark), mark);
  return line.text.substr(0, 1) + mark + line.text.substr(2);
}

// Back to the first line of the frame. A terminal that has become narrower may have broken lines.
std::string TtyProgress::erase(const TerminalSize& size) {
  if (drawnWidths_.empty()) return {};
  const auto columns = static_cast<size_t>(std::max(size.columns, 1));
  size_t rows = 0;
  for (const size_t width : drawnWidths_)
    rows += std::max<size_t>(1, (width + columns - 1) / columns);
  drawnWidths_.clear();
  return fmt::format("\r\x1b[{}A", std::min(rows, static_cast<size_t>(std::max(size.rows - 1, 1))));
}

void TtyProgress::draw(std::string_view below) {
  const TerminalSize size = terminal_.size();
  std::string out = erase(size);
  for (const Line& line : frame(size)) {
    out += painted(line) + "\x1b[K\n";
    drawnWidths_.push_back(displayWidth(line.text));
  }
  out += "\x1b[J";
  out += below;
  host().write(out);
  lastFrameMs_ = now();
}

// Above the frame.
void TtyProgress::warning(const Error& warning) {
  if (const std::string up = erase(terminal_.size()); !up.empty()) host().write(up + "\x1b[J");
  host().warn(warning);
  tick();
}

void TtyProgress::notice(const std::string& text) {
  if (const std::string up = erase(terminal_.size()); !up.empty()) host().write(up + "\x1b[J");
  host().write(text + "\n");
  tick();
}

void TtyProgress::succeeded(const std::string& summary) {
  phase_ = Phase::built;
  draw(summary);
}

void TtyProgress::broke(const Error&, const std::function<void()>& report) {
  phase_ = Phase::failed;
  tails_.clear();
  if (!host().view.steps.empty()) {
    draw();
  } else if (const std::string up = erase(terminal_.size()); !up.empty()) {
    host().write(up + "\x1b[J");
  }
  report();
}

}  // namespace img::cli
