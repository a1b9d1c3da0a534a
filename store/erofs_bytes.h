// Little-endian fields of EROFS, and its inline extended attributes. Internal to the writer.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "store/xattrs.h"

namespace img::store {

inline constexpr std::uint64_t kErofsDirent = 12;

// Values are cut to their field: the caller has checked that they fit.
class ErofsBytes {
 public:
  ErofsBytes() { bytes_.reserve(128); }  // an inode and a little more
  ErofsBytes& u8(std::uint64_t value) { return number(value, 1); }
  ErofsBytes& u16(std::uint64_t value) { return number(value, 2); }
  ErofsBytes& u32(std::uint64_t value) { return number(value, 4); }
  ErofsBytes& u64(std::uint64_t value) { return number(value, 8); }
  ErofsBytes& text(std::string_view bytes) {
    bytes_.append(bytes);
    return *this;
  }
  ErofsBytes& zeros(std::uint64_t count) { return padTo(bytes_.size() + count); }
  ErofsBytes& padTo(std::uint64_t size) {
    bytes_.resize(static_cast<size_t>(size));
    return *this;
  }
  [[nodiscard]] size_t size() const { return bytes_.size(); }
  std::string take() { return std::move(bytes_); }

 private:
  ErofsBytes& number(std::uint64_t value, size_t bytes) {
    std::array<char, 8> text{};
    for (size_t i = 0; i < bytes; ++i, value >>= 8) text[i] = static_cast<char>(value & 0xff);
    bytes_.append(text.data(), bytes);
    return *this;
  }

  std::string bytes_;
};

// Bytes that the attributes take behind their inode, header included.
std::uint64_t erofsXattrSize(const Xattrs& xattrs);
void appendErofsXattrs(ErofsBytes& out, const Xattrs& xattrs);

// Throws Kind::unsupported for a value or a set that EROFS has no room for.
void checkErofsXattrs(const Xattrs& xattrs, std::string_view where);

}  // namespace img::store
