// The output of a container on disk: one record per line, in the format that Kubernetes' container
// runtimes write
// ("TIME stdout|stderr F|P TEXT", cri-api logging): the text is kept byte by byte, F means that a
// newline followed it, P that it did not (yet). log is rotated to log.1 when it grows, so a chatty
// container keeps at most twice the limit. More files than two are kept on request (log.2, ...).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/fd.h"

namespace img::runtime {

enum class LogStream { out, err };

class LogWriter {
 public:
  static constexpr std::uint64_t kRotateAt = std::uint64_t{64} << 20;
  static constexpr int kFiles = 2;

  // Appends to `folder`/log. `folder` outlives the writer. `files`: how many there are at most,
  // with the one that is written to.
  explicit LogWriter(int folder, std::uint64_t rotateAt = kRotateAt, int files = kFiles);
  // Whatever a read returned: lines, parts of lines, any bytes. One write(2) for all that goes into
  // one file, which ends with the record that reaches the limit. What cannot be written is lost
  // with a warning: a full disk must not end the container.
  void write(LogStream stream, std::string_view bytes);

 private:
  void open();
  void append(std::string_view records);
  void rotateIfFull();

  int folder_;
  std::uint64_t rotateAt_;
  int files_;
  std::uint64_t size_ = 0;
  bool isBroken_ = false;  // the last write failed
  Fd file_;
};

struct LogRecord {
  std::string_view time;  // RFC 3339 with nine digits of a second
  LogStream stream = LogStream::out;
  bool isPartial = false;
  std::string_view text;
};

// nullopt: not a record (the tail of a file that a power cut shortened).
std::optional<LogRecord> parseLogRecord(std::string_view line);

// Reads the older files (log.2, log.1) and log in order, and what is added later, through
// rotations.
class LogReader {
 public:
  explicit LogReader(int folder);
  // The next complete line, or nullopt when there is none at the moment. Valid until the next call.
  std::optional<std::string_view> nextLine();

 private:
  bool fill();
  bool openNext();
  bool open(int number);

  int folder_;
  Fd file_;
  std::string buffer_;
  size_t at_ = 0;
};

}  // namespace img::runtime
