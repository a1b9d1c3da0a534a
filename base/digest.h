// SHA-256 digests as OCI writes them ("sha256:<64 lower-case hex>", image-spec descriptor.md,
// "Digests").
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace img {

class Digest {
 public:
  using Bytes = std::array<std::uint8_t, 32>;
  Digest() = default;  // all zero; isZero()
  explicit Digest(const Bytes& bytes) : bytes_(bytes) {}

  // "sha256:" + 64 lower-case hex digits; anything else: nullopt / Kind::corrupt.
  static std::optional<Digest> tryParse(std::string_view text);
  static Digest parse(std::string_view text);
  static std::optional<Digest> tryParseHex(std::string_view hex);
  static Digest of(std::string_view bytes);

  [[nodiscard]] std::string hex() const;
  [[nodiscard]] std::string str() const { return "sha256:" + hex(); }
  [[nodiscard]] std::string shortHex() const { return hex().substr(0, 12); }
  [[nodiscard]] bool isZero() const { return bytes_ == Bytes{}; }
  [[nodiscard]] const Bytes& bytes() const { return bytes_; }
  // NOLINTNEXTLINE(modernize-use-nullptr): the check takes the comparison with 0 for a pointer
  auto operator<=>(const Digest&) const = default;

 private:
  Bytes bytes_{};
};

// Streaming SHA-256. One thread at a time.
class Hasher {
 public:
  Hasher();
  void update(std::span<const std::byte> bytes);
  void update(std::string_view bytes);
  // Length-prefixed, so that no two sequences of fields give the same input.
  void field(std::string_view bytes);
  void field(std::uint64_t number);
  Digest finish();  // the hasher starts anew afterwards

 private:
  struct alignas(8) State {
    std::byte raw[128];
  };
  State state_;
};

}  // namespace img

template <>
struct std::hash<img::Digest> {
  size_t operator()(const img::Digest& digest) const noexcept;
};
