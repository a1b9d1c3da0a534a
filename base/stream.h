// Byte sources and sinks, composed: count, hash, tee, decompress. Blocking, one thread at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/digest.h"
#include "base/fd.h"

namespace img {

class Source {
 public:
  Source() = default;
  Source(const Source&) = delete;
  Source& operator=(const Source&) = delete;
  virtual ~Source() = default;
  // 1..into.size() bytes, or 0 at the end.
  virtual size_t read(std::span<std::byte> into) = 0;
};

class Sink {
 public:
  Sink() = default;
  Sink(const Sink&) = delete;
  Sink& operator=(const Sink&) = delete;
  virtual ~Sink() = default;
  virtual void write(std::span<const std::byte> bytes) = 0;
};

class FdSource final : public Source {
 public:
  FdSource(Fd fd, std::string name) : fd_(std::move(fd)), name_(std::move(name)) {}
  size_t read(std::span<std::byte> into) override;

 private:
  Fd fd_;
  std::string name_;
};

class FdSink final : public Sink {
 public:
  FdSink(Fd fd, std::string name) : fd_(std::move(fd)), name_(std::move(name)) {}
  void write(std::span<const std::byte> bytes) override;
  Fd& fd() { return fd_; }

 private:
  Fd fd_;
  std::string name_;
};

class StringSource final : public Source {
 public:
  explicit StringSource(std::string text) : text_(std::move(text)) {}
  size_t read(std::span<std::byte> into) override;

 private:
  std::string text_;
  size_t at_ = 0;
};

class StringSink final : public Sink {
 public:
  void write(std::span<const std::byte> bytes) override { text.append(asText(bytes)); }
  std::string text;
};

// Passes everything through and remembers digest and size. `inner` outlives it.
class HashingSource final : public Source {
 public:
  explicit HashingSource(Source& inner) : inner_(inner) {}
  size_t read(std::span<std::byte> into) override;
  [[nodiscard]] std::uint64_t size() const { return size_; }
  Digest digest() { return hasher_.finish(); }

 private:
  Source& inner_;
  Hasher hasher_;
  std::uint64_t size_ = 0;
};

// The first `count` bytes of `inner` (fewer when it ends before) are read at once, to be looked at,
// and given out again by read(). `inner` outlives it.
class PeekedSource final : public Source {
 public:
  PeekedSource(Source& inner, size_t count);
  [[nodiscard]] const std::string& head() const { return head_; }
  size_t read(std::span<std::byte> into) override;

 private:
  Source& inner_;
  std::string head_;
  size_t at_ = 0;
};

// At most `limit` bytes of `inner`; more is Kind::corrupt ("NAME is longer than N bytes").
class LimitedSource final : public Source {
 public:
  LimitedSource(Source& inner, std::uint64_t limit, std::string name)
      : inner_(inner), left_(limit), name_(std::move(name)) {}
  size_t read(std::span<std::byte> into) override;

 private:
  Source& inner_;
  std::uint64_t left_;
  std::string name_;
};

enum class Compression { none, gzip, bzip2, xz, zstd };
std::string_view compressionName(Compression compression);
// By magic bytes (at least 6 of them, if there are that many).
Compression detectCompression(std::string_view head);

// Undoes gzip, bzip2, xz or zstd, found by magic bytes; plain bytes pass through. Damaged input
// throws Kind::corrupt, a zstd window over 128 MiB too. `inner` outlives the result.
std::unique_ptr<Source> decompress(Source& inner, std::string name);

void copyAll(Source& from, Sink& to);
std::string readAll(Source& from, std::string_view name, size_t limit = size_t{64} << 20);

}  // namespace img
