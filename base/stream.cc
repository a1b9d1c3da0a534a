#include "base/stream.h"

#include <archive.h>
#include <archive_entry.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/gunzip.h"
#include "base/interruption.h"
#include "base/sys.h"
#include "base/unzstd.h"

namespace img {

size_t FdSource::read(std::span<std::byte> into) {
  waitOrThrow(fd_.get(), POLLIN);
  return static_cast<size_t>(
      sys::check([&] { return ::read(fd_.get(), into.data(), into.size()); }, "read {}", name_));
}

void FdSink::write(std::span<const std::byte> bytes) {
  throwIfInterrupted();
  writeAll(fd_.get(), bytes, name_);
}

size_t StringSource::read(std::span<std::byte> into) {
  const size_t count = std::min(into.size(), text_.size() - at_);
  std::memcpy(into.data(), text_.data() + at_, count);
  at_ += count;
  return count;
}

size_t HashingSource::read(std::span<std::byte> into) {
  const size_t count = inner_.read(into);
  hasher_.update(into.first(count));
  size_ += count;
  return count;
}

PeekedSource::PeekedSource(Source& inner, size_t count) : inner_(inner), head_(count, '\0') {
  size_t have = 0;
  const std::span<std::byte> room = std::as_writable_bytes(std::span{head_});
  while (have < count) {
    const size_t got = inner.read(room.subspan(have));
    if (got == 0) break;
    have += got;
  }
  head_.resize(have);
}

size_t PeekedSource::read(std::span<std::byte> into) {
  if (at_ == head_.size()) return inner_.read(into);
  const size_t count = std::min(into.size(), head_.size() - at_);
  std::memcpy(into.data(), head_.data() + at_, count);
  at_ += count;
  return count;
}

size_t LimitedSource::read(std::span<std::byte> into) {
  // One byte more than allowed is asked for, so that "exactly the limit" and "more" can be told
  // apart.
  if (left_ < into.size()) into = into.first(static_cast<size_t>(left_) + 1);
  const size_t count = inner_.read(into);
  if (count > left_) throw Error::make(Kind::corrupt, "{} is longer than it says", name_);
  left_ -= count;
  return count;
}

std::string_view compressionName(Compression compression) {
  switch (compression) {
    case Compression::gzip: return "gzip";
    case Compression::bzip2: return "bzip2";
    case Compression::xz: return "xz";
    case Compression::zstd: return "zstd";
    case Compression::none: break;
  }
  return "none";
}

Compression detectCompression(std::string_view head) {
  if (head.starts_with("\x1f\x8b")) return Compression::gzip;
  if (head.starts_with("BZh")) return Compression::bzip2;
  if (head.starts_with(std::string_view{"\xfd\x37zXZ\0", 6})) return Compression::xz;
  if (head.starts_with("\x28\xb5\x2f\xfd")) return Compression::zstd;
  return Compression::none;
}

namespace {

constexpr size_t kBufferSize = size_t{256} << 10;
constexpr size_t kMagicSize = 6;  // xz has the longest

struct ArchiveDeleter {
  void operator()(archive* handle) const { archive_read_free(handle); }
};

// bzip2 and xz by libarchive's filters with its "raw" format: the one filter that the magic names
// and no other.
class Decompressor final : public Source {
 public:
  Decompressor(std::unique_ptr<PeekedSource> inner, Compression compression, std::string name)
      : inner_(std::move(inner)),
        name_(std::move(name)),
        buffer_(kBufferSize),
        handle_(archive_read_new()) {
    archive_read_support_format_raw(handle_.get());
    archive_read_support_format_empty(handle_.get());  // nothing, compressed: "raw" refuses it
    if (compression == Compression::xz) {
      archive_read_support_filter_xz(handle_.get());
    } else {
      archive_read_support_filter_bzip2(handle_.get());
    }
    archive_entry* entry = nullptr;
    if (archive_read_open(handle_.get(), this, nullptr, readCallback, nullptr) != ARCHIVE_OK ||
        !isStarted(archive_read_next_header(handle_.get(), &entry))) {
      fail();
    }
  }

  size_t read(std::span<std::byte> into) override {
    if (isEmpty_) return 0;
    const la_ssize_t count = archive_read_data(handle_.get(), into.data(), into.size());
    if (count < 0) fail();
    return static_cast<size_t>(count);
  }

 private:
  static la_ssize_t readCallback(archive* handle, void* self, const void** data) {
    auto& me = *static_cast<Decompressor*>(self);
    try {
      *data = me.buffer_.data();
      return static_cast<la_ssize_t>(me.inner_->read(me.buffer_));
    } catch (...) {
      // An exception must not pass through C frames; it is thrown again by fail().
      me.pending_ = std::current_exception();
      archive_set_error(handle, EIO, "read error");
      return ARCHIVE_FATAL;
    }
  }

  // libarchive passes on unchanged what no filter takes: a magic without its format behind it.
  bool isStarted(int status) {
    isEmpty_ = status == ARCHIVE_EOF;  // the "empty" format has no entry
    return (status == ARCHIVE_OK || isEmpty_) && !pending_ &&
           archive_filter_code(handle_.get(), 0) != ARCHIVE_FILTER_NONE;
  }

  [[noreturn]] void fail() {
    if (pending_) std::rethrow_exception(pending_);
    const char* text = archive_error_string(handle_.get());
    throw Error::make(Kind::corrupt, "{}: damaged compressed data: {}", name_,
                      text != nullptr ? text : "unknown error");
  }

  std::unique_ptr<PeekedSource> inner_;
  std::string name_;
  std::vector<std::byte> buffer_;
  std::exception_ptr pending_;
  bool isEmpty_ = false;
  std::unique_ptr<archive, ArchiveDeleter> handle_;
};

}  // namespace

std::unique_ptr<Source> decompress(Source& inner, std::string name) {
  auto peeked = std::make_unique<PeekedSource>(inner, kMagicSize);
  const Compression compression = detectCompression(peeked->head());
  switch (compression) {
    case Compression::none: return peeked;
    case Compression::gzip: return gunzip(std::move(peeked), std::move(name));
    case Compression::zstd: return unzstd(std::move(peeked), std::move(name));
    case Compression::bzip2:
    case Compression::xz: break;
  }
  return std::make_unique<Decompressor>(std::move(peeked), compression, std::move(name));
}

void copyAll(Source& from, Sink& to) {
  std::vector<std::byte> buffer(kBufferSize);
  while (const size_t count = from.read(buffer)) to.write(std::span{buffer}.first(count));
}

std::string readAll(Source& from, std::string_view name, size_t limit) {
  LimitedSource limited{from, limit, std::string{name}};
  StringSink sink;
  copyAll(limited, sink);
  return std::move(sink.text);
}

}  // namespace img
