#include "builder/trace.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <nlohmann/json.hpp>

#include "base/fs.h"
#include "base/json.h"
#include "base/text.h"

namespace img::builder {
namespace {

constexpr std::int64_t kSampleUs = 1'000'000;
constexpr size_t kMaxNetFile = size_t{1} << 20;

std::int64_t monotonicUs() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return std::int64_t{now.tv_sec} * 1'000'000 + now.tv_nsec / 1000;
}

std::int64_t cpuMsOf(int who) {
  rusage usage{};
  ::getrusage(who, &usage);
  const auto ms = [](const timeval& time) {
    return std::int64_t{time.tv_sec} * 1000 + time.tv_usec / 1000;
  };
  return ms(usage.ru_utime) + ms(usage.ru_stime);
}

// "read_bytes: 4096" in /proc/self/io (proc(5)); what reaped children did is included.
std::int64_t fieldOf(const std::string& text, std::string_view key) {
  const size_t at = text.find(key);
  return at == std::string::npos ? 0 : std::atoll(text.c_str() + at + key.size());
}

// Received and sent bytes of all interfaces but the loopback (proc(5), /proc/net/dev: 8 columns of
// each).
std::int64_t networkBytes() {
  std::int64_t sum = 0;
  const auto file = fs::tryReadFile(AT_FDCWD, "/proc/self/net/dev", kMaxNetFile);
  for (const std::string& line : text::split(file.value_or(""), '\n')) {
    const size_t colon = line.find(':');
    if (colon == std::string::npos || text::trim(line.substr(0, colon)) == "lo") continue;
    const char* cursor = line.c_str() + colon + 1;
    for (int column = 0; column < 9; ++column) {
      char* end = nullptr;
      const std::int64_t value = std::strtoll(cursor, &end, 10);
      if (end == cursor) break;
      cursor = end;
      if (column == 0 || column == 8) sum += value;
    }
  }
  return sum;
}

}  // namespace

Trace::Span::Span(Span&& other) noexcept
    : trace_(std::exchange(other.trace_, nullptr)),
      event_(other.event_),
      ownsRow_(other.ownsRow_),
      step_(other.step_) {}

Trace::Span& Trace::Span::operator=(Span&& other) noexcept {
  if (this == &other) return *this;
  end();
  trace_ = std::exchange(other.trace_, nullptr);
  event_ = other.event_;
  ownsRow_ = other.ownsRow_;
  step_ = other.step_;
  return *this;
}

void Trace::Span::addArg(std::string_view key, std::string json) {
  trace_->events_[event_].args.emplace_back(key, std::move(json));
}

void Trace::Span::arg(std::string_view key, std::int64_t value) {
  if (trace_ != nullptr) addArg(key, std::to_string(value));
}

void Trace::Span::addFlag(std::string_view key, bool value) {
  if (trace_ != nullptr) addArg(key, value ? "true" : "false");
}

void Trace::Span::arg(std::string_view key, const std::string& value) {
  if (trace_ != nullptr) addArg(key, dumpJson(Json(value)));
}

void Trace::Span::end() {
  if (trace_ == nullptr) return;
  Event& event = trace_->events_[event_];
  event.endUs = trace_->nowUs_();
  if (ownsRow_) trace_->rows_[event.row].isBusy = false;
  if (ownsRow_) trace_->rowOfStep_.erase(step_);
  trace_ = nullptr;
}

Trace::Trace(std::function<std::int64_t()> nowUs)
    : nowUs_(nowUs ? std::move(nowUs) : monotonicUs) {}

size_t Trace::takeRow(std::string_view lane) {
  size_t count = 0;
  for (size_t i = 0; i < rows_.size(); ++i) {
    if (rows_[i].lane != lane) continue;
    ++count;
    if (rows_[i].isBusy) continue;
    rows_[i].isBusy = true;
    return i;
  }
  std::string name{lane};
  if (count > 0) name += " " + std::to_string(count + 1);
  rows_.push_back({std::string{lane}, std::move(name), true});
  return rows_.size() - 1;
}

size_t Trace::addEvent(std::string_view category, std::string_view name, size_t row) {
  Event event;
  event.name = name;
  event.category = category;
  event.row = row;
  event.startUs = nowUs_();
  events_.push_back(std::move(event));
  return events_.size() - 1;
}

Trace::Span Trace::begin(Trace* trace, std::string_view lane, std::string_view category,
                         std::string_view name) {
  if (trace == nullptr) return {};
  return Span{trace, trace->addEvent(category, name, trace->takeRow(lane)), true};
}

Trace::Span Trace::beginStep(Trace* trace, int step, int line, std::string_view category,
                             std::string_view name) {
  if (trace == nullptr) return {};
  const auto found = trace->rowOfStep_.find(step);
  const bool isFirst = found == trace->rowOfStep_.end();
  const size_t row = isFirst ? trace->takeRow("step") : found->second;
  if (isFirst) trace->rowOfStep_[step] = row;
  Span span{trace, trace->addEvent(category, name, row), isFirst, step};
  span.arg("step", std::int64_t{step});
  span.arg("line", std::int64_t{line});
  return span;
}

Trace::Sample Trace::readCounters() {
  Sample sample;
  sample.cpuMs = cpuMsOf(RUSAGE_SELF) + cpuMsOf(RUSAGE_CHILDREN);
  const std::string statm = fs::tryReadFile(AT_FDCWD, "/proc/self/statm", 4096).value_or("");
  const size_t blank = statm.find(' ');  // "SIZE RESIDENT ..." in pages
  if (blank != std::string::npos) {
    sample.rss = std::atoll(statm.c_str() + blank) * ::sysconf(_SC_PAGESIZE);
  }
  const std::string io = fs::tryReadFile(AT_FDCWD, "/proc/self/io", 4096).value_or("");
  sample.bytesRead = fieldOf(io, "\nread_bytes: ");
  sample.bytesWritten = fieldOf(io, "\nwrite_bytes: ");
  sample.netBytes = networkBytes();
  return sample;
}

void Trace::sample() {
  const std::int64_t now = nowUs_();
  if (!samples_.empty() && now - samples_.back().atUs < kSampleUs) return;
  samples_.push_back(readCounters());
  samples_.back().atUs = now;
}

int Trace::msToNextSample() const {
  if (samples_.empty()) return 0;
  const std::int64_t left = kSampleUs - (nowUs_() - samples_.back().atUs);
  return static_cast<int>(std::max<std::int64_t>(0, (left + 999) / 1000));
}

std::string Trace::json() const {
  const std::int64_t now = nowUs_();
  Json list = Json::array();
  const auto named = [&](const char* what, size_t tid, const std::string& name) {
    list.push_back(
        {{"ph", "M"}, {"name", what}, {"pid", 1}, {"tid", tid}, {"args", {{"name", name}}}});
  };
  named("process_name", 0, "img");
  for (size_t i = 0; i < rows_.size(); ++i) named("thread_name", i + 1, rows_[i].name);
  for (const Event& event : events_) {
    Json args = Json::object();
    for (const auto& [key, value] : event.args) args[key] = parseJson(value, "trace argument");
    if (event.endUs < 0) args["unfinished"] = true;
    const std::int64_t end = event.endUs < 0 ? now : event.endUs;
    list.push_back({{"ph", "X"},
                    {"name", event.name},
                    {"cat", event.category},
                    {"pid", 1},
                    {"tid", event.row + 1},
                    {"ts", event.startUs},
                    {"dur", end - event.startUs},
                    {"args", std::move(args)}});
  }
  for (const Sample& sample : samples_) {
    const auto counter = [&](const char* name, std::int64_t value) {
      list.push_back({{"ph", "C"},
                      {"name", name},
                      {"pid", 1},
                      {"tid", 0},
                      {"ts", sample.atUs},
                      {"args", {{"value", value}}}});
    };
    counter("cpu_ms", sample.cpuMs);
    counter("rss", sample.rss);
    counter("bytes_read", sample.bytesRead);
    counter("bytes_written", sample.bytesWritten);
    counter("net_bytes", sample.netBytes);
  }
  return dumpJson({{"displayTimeUnit", "ms"}, {"traceEvents", std::move(list)}}) + "\n";
}

}  // namespace img::builder
