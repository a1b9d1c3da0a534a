#include "runtime/log_file.h"

#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <utility>

#include "base/log.h"
#include "base/sys.h"

namespace img::runtime {
namespace {

constexpr char kLog[] = "log";
constexpr int kMostFiles = 100;  // --log-opt max-file
constexpr size_t kTimeLength = sizeof "2026-01-01T00:00:00.000000000Z" - 1;

// log, log.1, log.2, ...: the higher the older.
std::string fileName(int number) {
  return number == 0 ? kLog : fmt::format("{}.{}", kLog, number);
}

std::string timeNow() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  tm parts{};
  ::gmtime_r(&now.tv_sec, &parts);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:09}Z", parts.tm_year + 1900,
                     parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec,
                     now.tv_nsec);
}

}  // namespace

LogWriter::LogWriter(int folder, std::uint64_t rotateAt, int files)
    : folder_(folder), rotateAt_(rotateAt), files_(std::clamp(files, 1, kMostFiles)) {
  open();
}

void LogWriter::open() {
  file_ = sys::openat(folder_, kLog, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0600);
  size_ = static_cast<std::uint64_t>(sys::fstat(file_.get()).st_size);
}

void LogWriter::write(LogStream stream, std::string_view bytes) {
  const std::string head = timeNow() + (stream == LogStream::out ? " stdout " : " stderr ");
  while (!bytes.empty()) {
    const std::uint64_t room = size_ < rotateAt_ ? rotateAt_ - size_ : rotateAt_;
    std::string records;
    records.reserve(std::min<std::uint64_t>(room, bytes.size() + head.size()));
    while (!bytes.empty() && records.size() < room) {
      const size_t newline = bytes.find('\n');
      const bool isPartial = newline == std::string_view::npos;
      records.append(head).append(isPartial ? "P " : "F ");
      records.append(bytes.substr(0, newline)).push_back('\n');
      bytes.remove_prefix(isPartial ? bytes.size() : newline + 1);
    }
    append(records);
  }
}

void LogWriter::append(std::string_view records) {
  try {
    rotateIfFull();
    writeAll(file_.get(), records, "the container's log");
    size_ += records.size();
    isBroken_ = false;
  } catch (const Error& error) {
    // A full disk costs output, not the container. What is there of the records goes, so that the
    // next one stands on a line of its own.
    if (!std::exchange(isBroken_, true)) log::warn("{}", error.cause());
    if (::ftruncate(file_.get(), static_cast<off_t>(size_)) != 0) isBroken_ = true;
  }
}

void LogWriter::rotateIfFull() {
  if (size_ < rotateAt_) return;
  // The oldest goes: it is renamed over, or removed when there is no other.
  for (int number = files_ - 1; number > 1; --number) {
    if (sys::tryFstatat(folder_, fileName(number - 1))) {
      sys::renameat(folder_, fileName(number - 1), folder_, fileName(number));
    }
  }
  if (files_ > 1) {
    sys::renameat(folder_, kLog, folder_, fileName(1));
  } else {
    sys::tryUnlinkat(folder_, kLog, 0);
  }
  open();
}

std::optional<LogRecord> parseLogRecord(std::string_view line) {
  constexpr size_t kHeader = kTimeLength + sizeof " stdout F " - 1;
  if (line.size() < kHeader || line[kTimeLength] != ' ') return std::nullopt;
  LogRecord record;
  record.time = line.substr(0, kTimeLength);
  const std::string_view stream = line.substr(kTimeLength + 1, 7);
  const char flag = line[kTimeLength + 8];
  if ((stream != "stdout " && stream != "stderr ") || (flag != 'F' && flag != 'P')) {
    return std::nullopt;
  }
  record.stream = stream == "stdout " ? LogStream::out : LogStream::err;
  record.isPartial = flag == 'P';
  record.text = line.substr(kHeader);
  return record;
}

LogReader::LogReader(int folder) : folder_(folder) {}

bool LogReader::open(int number) {
  auto file = sys::tryOpenat(folder_, fileName(number), O_RDONLY | O_NOFOLLOW);
  if (file) file_ = std::move(*file);
  return file.has_value();
}

// The file after the one just read to its end; false when there is none (yet).
bool LogReader::openNext() {
  const ino_t current = file_ ? sys::fstat(file_.get()).st_ino : 0;
  int oldest = -1;
  for (int number = 0; number < kMostFiles; ++number) {
    const auto st = sys::tryFstatat(folder_, fileName(number));
    if (!st && number > 0) break;
    if (!st) continue;
    if (current != 0 && st->st_ino == current) return number > 0 && open(number - 1);
    oldest = number;
  }
  // The first one, or the one that was read is no longer kept.
  return oldest >= 0 && open(oldest);
}

bool LogReader::fill() {
  if (!file_ && !openNext()) return false;
  buffer_.erase(0, at_);
  at_ = 0;
  for (;;) {
    char chunk[65536];
    const ssize_t count =
        sys::check([&] { return ::read(file_.get(), chunk, sizeof chunk); }, "read {}", kLog);
    if (count > 0) {
      buffer_.append(chunk, static_cast<size_t>(count));
      return true;
    }
    // A file is looked at once more after its successor appeared: its last lines came before that.
    const Fd finished = file_.duplicate();
    if (!openNext()) return false;
    const ssize_t last =
        sys::check([&] { return ::read(finished.get(), chunk, sizeof chunk); }, "read {}", kLog);
    if (last > 0) buffer_.append(chunk, static_cast<size_t>(last));
    if (last > 0) return true;
  }
}

std::optional<std::string_view> LogReader::nextLine() {
  for (;;) {
    const size_t newline = buffer_.find('\n', at_);
    if (newline != std::string::npos) {
      const std::string_view line = std::string_view{buffer_}.substr(at_, newline - at_);
      at_ = newline + 1;
      return line;
    }
    if (!fill()) return std::nullopt;
  }
}

}  // namespace img::runtime
