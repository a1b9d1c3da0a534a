// IPv4 addresses and subnets as values: parsing, printing, overlap, and which subnet a bridge of
// ours takes. Pure arithmetic, no system calls.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace img::network {

struct Ipv4 {
  std::uint32_t value = 0;  // host byte order
  auto operator<=>(const Ipv4&) const = default;
  [[nodiscard]] std::string str() const;
  static std::optional<Ipv4> parse(std::string_view text);
};

struct Subnet {
  Ipv4 base;  // no bits beyond the prefix
  int prefix = 0;
  auto operator<=>(const Subnet&) const = default;

  // "10.89.0.0/16", with the bits beyond the prefix cleared; nullopt for anything else.
  static std::optional<Subnet> parse(std::string_view text);
  static Subnet of(Ipv4 address, int prefix);

  [[nodiscard]] std::string str() const;
  [[nodiscard]] bool contains(Ipv4 address) const;
  [[nodiscard]] bool overlaps(const Subnet& other) const;
  [[nodiscard]] Ipv4 gateway() const { return {base.value + 1}; }
  [[nodiscard]] Ipv4 broadcast() const;
  // What containers can have: everything but the network, the gateway and the broadcast address.
  [[nodiscard]] Ipv4 first() const { return {base.value + 2}; }
  [[nodiscard]] Ipv4 last() const { return {broadcast().value - 1}; }
  [[nodiscard]] bool canLease(Ipv4 address) const;
};

// 10.89.0.0/16, or the next of 10.90.0.0/16 .. 10.255.0.0/16 that overlaps nothing of `taken`.
std::optional<Subnet> chooseSubnet(const std::vector<Subnet>& taken);

using Mac = std::array<unsigned char, 6>;
std::string macText(const Mac& mac);
// "02:42:ac:11:00:02"; nullopt for anything else and for group addresses.
std::optional<Mac> parseMac(std::string_view text);
// One address, one MAC: what neighbours remember of an address (arp(7)) stays right when another
// container gets it.
Mac macOf(Ipv4 address);

}  // namespace img::network
