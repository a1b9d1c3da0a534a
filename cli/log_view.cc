#include "cli/log_view.h"

namespace img::cli {
namespace {

// Both sides without the 'Z', so that whole seconds sort before their fractions.
std::string_view comparable(std::string_view time) {
  return time.substr(0, time.find('Z'));
}

}  // namespace

void LogView::add(const runtime::LogRecord& record) {
  if (!filter_.since.empty() && comparable(record.time) < comparable(filter_.since)) return;
  if (!filter_.until.empty() && comparable(record.time) > comparable(filter_.until)) {
    isPastEnd_ = true;
    return;
  }
  const size_t stream = record.stream == runtime::LogStream::out ? 0 : 1;
  const bool begins = !isInLine_[stream];
  if (begins) currentLine_[stream] = lines_++;
  isInLine_[stream] = record.isPartial;
  std::string text;
  if (!filter_.name.empty() && begins) text.append(filter_.name).push_back(' ');
  if (filter_.timestamps && begins) text.append(record.time).push_back(' ');
  text.append(record.text);
  if (!record.isPartial) text.push_back('\n');
  bytes_ += text.size();
  const std::uint64_t line = currentLine_[stream];
  const bool joins = !filter_.tail && !chunks_.empty() && chunks_.back().stream == record.stream;
  if (joins) {
    chunks_.back().text += text;
    return;
  }
  chunks_.push_back({record.stream, std::move(text)});
  lineOf_.push_back(line);
  // Two lines may be under way at once, one per stream: what is certainly too old goes.
  while (filter_.tail && !lineOf_.empty() && lineOf_.front() + *filter_.tail + 1 < lines_) {
    chunks_.pop_front();
    lineOf_.pop_front();
  }
}

std::vector<LogChunk> LogView::take() {
  std::vector<LogChunk> taken;
  for (LogChunk& chunk : chunks_) taken.push_back(std::move(chunk));
  chunks_.clear();
  lineOf_.clear();
  bytes_ = 0;
  return taken;
}

std::vector<LogChunk> LogView::finish() {
  if (filter_.tail) {
    // The end of an older line may stand behind the beginning of a newer one of the other stream.
    std::deque<LogChunk> kept;
    for (size_t i = 0; i < chunks_.size(); ++i) {
      if (lineOf_[i] + *filter_.tail >= lines_) kept.push_back(std::move(chunks_[i]));
    }
    chunks_ = std::move(kept);
    filter_.tail.reset();
  }
  return take();
}

}  // namespace img::cli
