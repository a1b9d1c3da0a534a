// A whole file as memory, read only. For files that are replaced by rename and never changed in
// place: one that shrinks under a mapping kills its reader (mmap(2), SIGBUS).
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace img {

class [[nodiscard]] MappedFile {
 public:
  // nullopt: not there, or longer than `limit`.
  static std::optional<MappedFile> tryOpen(int dir, const std::string& path, size_t limit);
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  MappedFile(MappedFile&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}
  MappedFile& operator=(MappedFile&& other) noexcept {
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~MappedFile();
  [[nodiscard]] std::string_view bytes() const { return bytes_; }

 private:
  explicit MappedFile(std::string_view bytes) : bytes_(bytes) {}
  std::string_view bytes_;
};

}  // namespace img
