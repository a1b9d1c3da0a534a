#include "cli/progress_stream.h"

#include <algorithm>

namespace img::cli {
namespace {

constexpr std::int64_t kSilenceMs = 5000;
constexpr std::int64_t kMarkMs = 10;  // times of waiting output are this exact
constexpr size_t kPiece = size_t{64} << 10;

}  // namespace

StreamDisplay::Lane& StreamDisplay::lane(const StepView& step) {
  return lanes_[step.label.number];
}

void StreamDisplay::show(std::string_view lineOfText) {
  text_ += lineOfText;
  text_ += '\n';
  if (text_.size() >= kPiece) flush();
}

void StreamDisplay::flush() {
  if (!text_.empty()) host().write(text_);
  text_.clear();
}

bool StreamDisplay::hasNews(int number) const {
  const Lane& lane = lanes_.at(number);
  return !lane.isBegun || lane.shown < lane.received || view(number).isOver();
}

// A step has come, or come to its end: it takes a free stream, or waits.
void StreamDisplay::offer(const StepView& step) {
  const int number = step.label.number;
  if (std::find(waiting_.begin(), waiting_.end(), number) == waiting_.end()) {
    waiting_.push_back(number);
  }
  if (!holder_) advance();
}

void StreamDisplay::take(int number) {
  std::erase(waiting_, number);
  holder_ = number;
  const StepView& step = view(number);
  Lane& own = lanes_.at(number);
  begin(step, own.isBegun);
  own.isBegun = true;
  showBacklog(step, own);
  lastShownMs_ = now();
}

// The holder is over.
void StreamDisplay::release() {
  const StepView& step = view(*holder_);
  Lane& own = lanes_.at(*holder_);
  own.splitter.finish(
      [&](std::string_view text) { line(step, step.endMs - step.startMs, outputLine(text)); });
  end(step);
  own.isEnded = true;
  if (own.isSealed) layer(step);
  holder_.reset();
}

void StreamDisplay::yield() {
  if (!holder_) return;
  end(view(*holder_));
  waiting_.push_back(*holder_);
  holder_.reset();
}

// The stream is free: what is over is shown whole, then the first that has something to show gets
// it, or else the first at all.
void StreamDisplay::advance() {
  while (!holder_ && !waiting_.empty()) {
    const auto first = [&](const auto& isWanted) {
      return std::find_if(waiting_.begin(), waiting_.end(), isWanted);
    };
    auto next = first([&](int number) { return view(number).isOver(); });
    if (next == waiting_.end()) next = first([&](int number) { return hasNews(number); });
    if (next == waiting_.end()) next = waiting_.begin();
    take(*next);
    if (view(*holder_).isOver()) release();
  }
}

void StreamDisplay::showBytes(const StepView& step, Lane& own, std::string_view bytes,
                              std::int64_t ms) {
  own.shown += bytes.size();
  own.splitter.add(bytes,
                   [&](std::string_view text) { line(step, ms - step.startMs, outputLine(text)); });
}

void StreamDisplay::showBacklog(const StepView& step, Lane& own) {
  const store::BuildLog* log = host().log();
  for (size_t i = 0; i < own.marks.size() && log != nullptr; ++i) {
    const bool isLast = i + 1 == own.marks.size();
    const std::uint64_t end = isLast ? own.received : own.marks[i + 1].offset;
    while (own.shown < end) {
      const auto wanted = static_cast<size_t>(std::min<std::uint64_t>(kPiece, end - own.shown));
      const std::string piece = log->read(step.label.number, own.shown, wanted);
      if (piece.empty()) break;  // somebody cut the file short
      showBytes(step, own, piece, own.marks[i].ms);
    }
  }
  own.marks.clear();
  own.shown = own.received;
}

void StreamDisplay::started(const StepView& step) {
  Lane& own = lane(step);
  if (own.isEnded) own = Lane{};  // of an attempt before
  offer(step);
  tick();
}

// Shown with what comes next: a hundred cached steps cost one write, not a hundred.
void StreamDisplay::cached(const StepView& step) {
  lane(step);
  offer(step);
}

void StreamDisplay::suspend() {
  flush();
}

void StreamDisplay::output(const StepView& step, std::string_view bytes, bool isKept) {
  Lane& own = lane(step);
  const std::int64_t ms = now();
  if (!isKept && holder_ != step.label.number) {  // now or never
    yield();
    take(step.label.number);
  }
  own.received += bytes.size();
  if (holder_ == step.label.number) {
    showBytes(step, own, bytes, ms);
    lastShownMs_ = ms;
  } else if (own.marks.empty() || ms - own.marks.back().ms >= kMarkMs) {
    own.marks.push_back({own.received - bytes.size(), ms});
  }
  tick();
}

void StreamDisplay::done(const StepView& step) {
  if (holder_ == step.label.number) {
    release();
    advance();
  }
  flush();
}

void StreamDisplay::sealed(const StepView& step) {
  Lane& own = lane(step);
  own.isSealed = true;
  if (own.isEnded) layer(step);
  flush();
}

void StreamDisplay::failed(const StepView& step) {
  const int number = step.label.number;
  lane(step);
  if (holder_ != number) {
    yield();
    take(number);
  }
  release();
  advance();
  flush();
}

void StreamDisplay::warning(const Error& warning) {
  flush();
  host().warn(warning);
}

void StreamDisplay::notice(const std::string& text) {
  show(text);
  flush();
}

void StreamDisplay::tick() {
  if (holder_ && now() - lastShownMs_ >= kSilenceMs &&
      std::any_of(waiting_.begin(), waiting_.end(), [&](int number) { return hasNews(number); })) {
    yield();
    advance();
  }
  flush();
}

int StreamDisplay::tickMs() const {
  const bool isWaitedFor =
      std::any_of(waiting_.begin(), waiting_.end(), [&](int number) { return hasNews(number); });
  if (!holder_ || !isWaitedFor) return -1;
  return static_cast<int>(std::max<std::int64_t>(0, kSilenceMs - (now() - lastShownMs_)));
}

void StreamDisplay::succeeded(const std::string& summary) {
  text_ += summary;
  flush();
}

// The hub has ended every step: what has not been shown yet is shown now.
void StreamDisplay::broke(const Error&, const std::function<void()>& report) {
  if (holder_) release();
  advance();
  flush();
  report();
}

}  // namespace img::cli
