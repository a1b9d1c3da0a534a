#include "base/digest.h"

// The low-level SHA256_* functions: the EVP interface loads OpenSSL's providers at first use (about
// 1 ms), which a command that runs for 5 ms cannot afford. Both end in the same assembly (SHA-NI
// where the CPU has it).
#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/sha.h>

#include <cstring>

#include "base/error.h"

namespace img {
namespace {

constexpr std::string_view kPrefix = "sha256:";

int hexValue(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

SHA256_CTX* context(void* raw) {
  return static_cast<SHA256_CTX*>(raw);
}

}  // namespace

std::optional<Digest> Digest::tryParseHex(std::string_view hex) {
  Bytes bytes;
  if (hex.size() != bytes.size() * 2) return std::nullopt;
  for (size_t i = 0; i < bytes.size(); ++i) {
    const int high = hexValue(hex[2 * i]);
    const int low = hexValue(hex[2 * i + 1]);
    if (high < 0 || low < 0) return std::nullopt;
    bytes[i] = static_cast<std::uint8_t>(high * 16 + low);
  }
  return Digest{bytes};
}

std::optional<Digest> Digest::tryParse(std::string_view text) {
  if (!text.starts_with(kPrefix)) return std::nullopt;
  return tryParseHex(text.substr(kPrefix.size()));
}

Digest Digest::parse(std::string_view text) {
  if (auto digest = tryParse(text)) return *digest;
  throw Error::make(Kind::corrupt,
                    "bad digest \"{}\": expected sha256: and 64 lower-case hex digits",
                    text.substr(0, 100));
}

Digest Digest::of(std::string_view bytes) {
  Hasher hasher;
  hasher.update(bytes);
  return hasher.finish();
}

std::string Digest::hex() const {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text(bytes_.size() * 2, '\0');
  for (size_t i = 0; i < bytes_.size(); ++i) {
    text[2 * i] = kDigits[bytes_[i] >> 4];
    text[2 * i + 1] = kDigits[bytes_[i] & 15];
  }
  return text;
}

Hasher::Hasher() {
  static_assert(sizeof(SHA256_CTX) <= sizeof(state_.raw) && alignof(SHA256_CTX) <= alignof(State));
  SHA256_Init(context(state_.raw));
}

void Hasher::update(std::span<const std::byte> bytes) {
  SHA256_Update(context(state_.raw), bytes.data(), bytes.size());
}

void Hasher::update(std::string_view bytes) {
  SHA256_Update(context(state_.raw), bytes.data(), bytes.size());
}

void Hasher::field(std::uint64_t number) {
  std::byte raw[8];
  for (size_t i = 0; i < 8; ++i) raw[i] = static_cast<std::byte>(number >> (8 * i));
  update(std::span<const std::byte>{raw});
}

void Hasher::field(std::string_view bytes) {
  field(std::uint64_t{bytes.size()});
  update(bytes);
}

Digest Hasher::finish() {
  Digest::Bytes bytes;
  SHA256_Final(bytes.data(), context(state_.raw));
  SHA256_Init(context(state_.raw));
  return Digest{bytes};
}

}  // namespace img

size_t std::hash<img::Digest>::operator()(const img::Digest& digest) const noexcept {
  size_t value = 0;
  std::memcpy(&value, digest.bytes().data(), sizeof value);
  return value;
}
