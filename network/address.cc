#include "network/address.h"

#include <fmt/core.h>

#include <algorithm>

#include "base/text.h"

namespace img::network {
namespace {

constexpr int kBits = 32;
constexpr int kLongestPrefix = 29;  // room for the gateway and a few containers
constexpr std::uint32_t kFirstSecondByte = 89, kLastSecondByte = 255;

std::uint32_t maskOf(int prefix) {
  return prefix == 0 ? 0 : ~std::uint32_t{0} << (kBits - prefix);
}

}  // namespace

std::string Ipv4::str() const {
  return fmt::format("{}.{}.{}.{}", value >> 24, value >> 16 & 255, value >> 8 & 255, value & 255);
}

std::optional<Ipv4> Ipv4::parse(std::string_view text) {
  const std::vector<std::string> parts = text::split(text, '.');
  if (parts.size() != 4) return std::nullopt;
  Ipv4 address;
  for (const std::string& part : parts) {
    const auto number = text::parseUnsigned(part);
    // inet_aton(3) reads a leading zero as octal: such a text means two addresses to two readers.
    const bool isPlain = part.size() == 1 || (part.size() <= 3 && !part.starts_with('0'));
    if (!number || *number > 255 || !isPlain) return std::nullopt;
    address.value = address.value << 8 | static_cast<std::uint32_t>(*number);
  }
  return address;
}

Subnet Subnet::of(Ipv4 address, int prefix) {
  return {{address.value & maskOf(prefix)}, prefix};
}

std::optional<Subnet> Subnet::parse(std::string_view text) {
  const size_t slash = text.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  const auto address = Ipv4::parse(text.substr(0, slash));
  const auto prefix = text::parseUnsigned(text.substr(slash + 1));
  if (!address || !prefix || *prefix > kLongestPrefix) return std::nullopt;
  return of(*address, static_cast<int>(*prefix));
}

std::string Subnet::str() const {
  return fmt::format("{}/{}", base.str(), prefix);
}

bool Subnet::contains(Ipv4 address) const {
  return (address.value & maskOf(prefix)) == base.value;
}

bool Subnet::overlaps(const Subnet& other) const {
  const std::uint32_t mask = maskOf(std::min(prefix, other.prefix));
  return (base.value & mask) == (other.base.value & mask);
}

Ipv4 Subnet::broadcast() const {
  return {base.value | ~maskOf(prefix)};
}

bool Subnet::canLease(Ipv4 address) const {
  return address >= first() && address <= last();
}

std::optional<Subnet> chooseSubnet(const std::vector<Subnet>& taken) {
  for (std::uint32_t second = kFirstSecondByte; second <= kLastSecondByte; ++second) {
    const Subnet candidate{{10U << 24 | second << 16}, 16};
    const bool isFree = std::none_of(taken.begin(), taken.end(),
                                     [&](const Subnet& used) { return used.overlaps(candidate); });
    if (isFree) return candidate;
  }
  return std::nullopt;
}

std::string macText(const Mac& mac) {
  return fmt::format("{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", mac[0], mac[1], mac[2], mac[3],
                     mac[4], mac[5]);
}

std::optional<Mac> parseMac(std::string_view text) {
  const std::vector<std::string> parts = text::split(text, ':');
  Mac mac{};
  if (parts.size() != mac.size()) return std::nullopt;
  for (size_t i = 0; i < mac.size(); ++i) {
    const std::string part = text::lower(parts[i]);
    if (part.size() != 2 || part.find_first_not_of("0123456789abcdef") != std::string::npos) {
      return std::nullopt;
    }
    mac[i] = static_cast<unsigned char>(std::stoul(part, nullptr, 16));
  }
  // The lowest bit of the first byte marks a group (IEEE 802): no interface can have it.
  if ((mac[0] & 1) != 0) return std::nullopt;
  return mac;
}

Mac macOf(Ipv4 address) {
  // 0x02: locally administered (IEEE 802), so it meets no card's own.
  return {0x02,
          0x69,
          static_cast<unsigned char>(address.value >> 24),
          static_cast<unsigned char>(address.value >> 16),
          static_cast<unsigned char>(address.value >> 8),
          static_cast<unsigned char>(address.value)};
}

}  // namespace img::network
