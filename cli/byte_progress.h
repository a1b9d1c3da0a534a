// How far a command that reads or writes one long stream has come: bytes on one line of a terminal,
// drawn again in place and wiped away at the end. Without a terminal, or quiet, nothing is shown.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/stream.h"
#include "cli/command.h"

namespace img::cli {

class ByteProgress {
 public:
  // `what`: "loading app.tar". `total`: 0 when it is not known.
  ByteProgress(Context& context, bool isQuiet, std::string what, std::uint64_t total = 0);
  ~ByteProgress();
  ByteProgress(const ByteProgress&) = delete;
  ByteProgress& operator=(const ByteProgress&) = delete;

  // By one thread at a time.
  void add(std::uint64_t bytes);
  // Nothing is drawn any more.
  void finish();

 private:
  void draw();

  Context& context_;
  std::string what_;
  std::uint64_t total_, done_ = 0;
  std::int64_t drawnMs_;
  bool isShown_, isDrawn_ = false;
};

// "loading app.tar  12MB/217MB (5 %)", in at most `columns` columns.
std::string renderBytes(const std::string& what, std::uint64_t done, std::uint64_t total,
                        size_t columns);

// Both outlive nothing they are made with.
class CountedSource final : public Source {
 public:
  CountedSource(Source& inner, ByteProgress& progress) : inner_(inner), progress_(progress) {}
  size_t read(std::span<std::byte> into) override;

 private:
  Source& inner_;
  ByteProgress& progress_;
};

class CountedSink final : public Sink {
 public:
  CountedSink(Sink& inner, ByteProgress& progress) : inner_(inner), progress_(progress) {}
  void write(std::span<const std::byte> bytes) override;

 private:
  Sink& inner_;
  ByteProgress& progress_;
};

}  // namespace img::cli
