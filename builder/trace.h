// The timeline of a command as Chrome trace events (cli.md 9.9; the "Trace Event Format" that
// Perfetto and chrome://tracing read). One Trace per command, used from one thread. Everything
// takes a Trace* that may be null: then a span is empty and costs a pointer test.
//
//   Trace::Span seal = Trace::begin(trace, "sealer", "seal", label.text);
//   Trace::Span run = Trace::beginStep(trace, label.number, label.line, "run", label.text);
//   { const Trace::Span mount = Trace::beginStep(trace, label.number, ..., "mount", "rootfs"); }
//
// Spans that overlap on one row must nest, or viewers draw nonsense. So a lane is a family of rows
// ("step", "step 2", ...): begin() takes the first row that is free, and the spans of one step that
// begin while its first one is open lie in the row of that one.
#pragma once

#include <concepts>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace img::builder {

class Trace {
 public:
  class [[nodiscard]] Span {
   public:
    Span() = default;
    Span(Span&& other) noexcept;
    Span& operator=(Span&& other) noexcept;
    Span(const Span&) = delete;
    Span& operator=(const Span&) = delete;
    ~Span() { end(); }

    // step, line, bytes, files, cached, reason.
    void arg(std::string_view key, std::int64_t value);
    // A template, because a string literal would rather become a bool than a std::string.
    void arg(std::string_view key, std::same_as<bool> auto value) { addFlag(key, value); }
    void arg(std::string_view key, const std::string& value);
    void end();  // the destructor does it as well

   private:
    friend class Trace;
    Span(Trace* trace, size_t event, bool ownsRow, int step = 0)
        : trace_(trace), event_(event), ownsRow_(ownsRow), step_(step) {}
    void addArg(std::string_view key, std::string json);
    void addFlag(std::string_view key, bool value);
    Trace* trace_ = nullptr;
    size_t event_ = 0;
    bool ownsRow_ = false;
    int step_ = 0;
  };

  // `nowUs`: microseconds of a clock that only goes forward; tests give their own.
  explicit Trace(std::function<std::int64_t()> nowUs = {});
  Trace(const Trace&) = delete;
  Trace& operator=(const Trace&) = delete;
  ~Trace() = default;

  // Lanes: scheduler, sealer, network, lock. Categories: parse context pull unpack mount run
  // diff seal compress cache export gc lock.
  static Span begin(Trace* trace, std::string_view lane, std::string_view category,
                    std::string_view name);

  // In the lane "step", with the arguments step and line.
  static Span beginStep(Trace* trace, int step, int line, std::string_view category,
                        std::string_view name);

  // Counters of this process and its reaped children, at most once a second.
  void sample();
  [[nodiscard]] int msToNextSample() const;

  // The whole document. Spans that are still open end now, marked "unfinished".
  [[nodiscard]] std::string json() const;

 private:
  struct Event {
    std::string name, category;
    size_t row = 0;
    std::int64_t startUs = 0, endUs = -1;                   // -1: open
    std::vector<std::pair<std::string, std::string>> args;  // values as JSON
  };
  struct Row {
    std::string lane, name;
    bool isBusy = false;
  };
  struct Sample {
    std::int64_t atUs = 0;
    std::int64_t cpuMs = 0, rss = 0, bytesRead = 0, bytesWritten = 0, netBytes = 0;
  };
  size_t takeRow(std::string_view lane);
  size_t addEvent(std::string_view category, std::string_view name, size_t row);
  static Sample readCounters();

  std::function<std::int64_t()> nowUs_;
  std::vector<Event> events_;
  std::vector<Row> rows_;
  std::map<int, size_t> rowOfStep_;  // while its first span is open
  std::vector<Sample> samples_;
};

}  // namespace img::builder
