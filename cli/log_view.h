// Which parts of a log are shown and how: --tail, --since, --until, -t (cli.md 11 logs). Records
// in, bytes out.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "runtime/log_file.h"

namespace img::cli {

struct LogFilter {
  std::string since, until;           // RFC 3339, whole seconds; empty: no bound
  std::optional<std::uint64_t> tail;  // lines
  bool timestamps = false;
  std::string name = {};  // shown before each line; empty: nothing is
};

struct LogChunk {
  runtime::LogStream stream;
  std::string text;
};

class LogView {
 public:
  explicit LogView(LogFilter filter) : filter_(std::move(filter)) {}

  void add(const runtime::LogRecord& record);
  // Without --tail there is something worth printing before the end is known.
  [[nodiscard]] bool hasEnough() const { return !filter_.tail && bytes_ >= size_t{64} << 10; }
  std::vector<LogChunk> take();
  // The end of what there is at the moment: --tail counts from here, and what follows is all shown.
  std::vector<LogChunk> finish();
  [[nodiscard]] bool isPastEnd() const { return isPastEnd_; }

 private:
  LogFilter filter_;
  std::deque<LogChunk> chunks_;
  std::deque<std::uint64_t> lineOf_;  // of each chunk
  std::uint64_t lines_ = 0;           // begun so far
  bool isInLine_[2] = {false, false};
  std::uint64_t currentLine_[2] = {0, 0};
  size_t bytes_ = 0;
  bool isPastEnd_ = false;
};

}  // namespace img::cli
