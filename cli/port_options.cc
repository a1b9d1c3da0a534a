#include "cli/port_options.h"

#include <arpa/inet.h>

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "base/error.h"
#include "base/text.h"

namespace img::cli {
namespace {

struct Numbers {
  std::uint16_t first = 0, last = 0;
  [[nodiscard]] int count() const { return last - first + 1; }
};

std::optional<std::uint16_t> parseNumber(std::string_view text) {
  const auto number = text::parseUnsigned(text);
  if (!number || *number > 65535) return std::nullopt;
  return static_cast<std::uint16_t>(*number);
}

// "80" or "80-90".
std::optional<Numbers> parseNumbers(std::string_view text) {
  const size_t dash = text.find('-');
  const auto first = parseNumber(text.substr(0, dash));
  const auto last = dash == std::string_view::npos ? first : parseNumber(text.substr(dash + 1));
  if (!first || !last || *first > *last) return std::nullopt;
  // 0 means "any": only alone.
  if (*first == 0 && *last != 0) return std::nullopt;
  return Numbers{*first, *last};
}

Error badPublish(std::string_view spec, std::string_view why) {
  return Error::make(Kind::usage, "-p {}: {}", text::quote(spec), why);
}

std::string parseProtocol(std::string_view spec, std::string_view word) {
  std::string protocol = text::lower(word);
  if (protocol == "tcp" || protocol == "udp") return protocol;
  if (protocol == "sctp") {
    throw Error::make(Kind::unsupported, "-p {}: sctp ports cannot be published", text::quote(spec))
        .hint("with --network host the container's own socket is the host's")
        .exitCode(125);
  }
  throw badPublish(spec, fmt::format("unknown protocol {}", text::quote(word)));
}

// The normal form, so that equal addresses are equal texts.
std::string parseAddress(std::string_view spec, const std::string& text, bool isInBrackets) {
  unsigned char raw[sizeof(in6_addr)];
  char normal[INET6_ADDRSTRLEN] = {};
  const std::string bare = text.substr(0, isInBrackets ? text.find('%') : text.npos);
  const int family = isInBrackets ? AF_INET6 : AF_INET;
  if (::inet_pton(family, bare.c_str(), raw) != 1) {
    throw badPublish(spec, fmt::format("{} is not an IP address", text::quote(text)));
  }
  return ::inet_ntop(family, raw, normal, sizeof normal) + text.substr(bare.size());
}

// The spec without its protocol, taken apart.
struct Parts {
  std::string ip, host, container;
};

Parts splitPublish(std::string_view spec, std::string_view ports) {
  Parts parts;
  const bool isInBrackets = ports.starts_with('[');
  if (isInBrackets) {
    const size_t end = ports.find("]:");
    if (end == std::string_view::npos) throw badPublish(spec, "no ']:' after the address");
    parts.ip = parseAddress(spec, std::string{ports.substr(1, end - 1)}, true);
    ports.remove_prefix(end + 2);
  }
  std::vector<std::string> words = text::split(ports, ':');
  if (!isInBrackets && words.size() == 3) {
    if (!words[0].empty()) parts.ip = parseAddress(spec, words[0], false);
    words.erase(words.begin());
  }
  const bool hasAddressOnly = words.size() == 2 && words[0].find('.') != std::string::npos;
  if (hasAddressOnly || (isInBrackets && words.size() == 1)) {
    throw badPublish(spec, "the port of the host is missing")
        .hint("ADDRESS::PORT takes a free port of the host");
  }
  if (words.size() > 2) {
    throw badPublish(spec, "too many colons")
        .hint("an IPv6 address stands in brackets: [::1]:80:80");
  }
  parts.container = words.back();
  if (words.size() == 2) parts.host = words.front();
  return parts;
}

// Whether two sockets, one on each address, want the same one ("": every address of both families).
bool isSameAddress(const std::string& one, const std::string& other) {
  const auto covers = [](const std::string& wide, const std::string& narrow) {
    if (wide.empty() || wide == narrow) return true;
    const bool isIpv6 = narrow.find(':') != std::string::npos;
    return (wide == "0.0.0.0" && !isIpv6) || (wide == "::" && isIpv6);
  };
  return covers(one, other) || covers(other, one);
}

}  // namespace

std::vector<store::PortRecord> parsePublish(std::string_view spec) {
  const size_t slash = spec.rfind('/');
  const std::string protocol =
      slash == std::string_view::npos ? "tcp" : parseProtocol(spec, spec.substr(slash + 1));
  const Parts parts = splitPublish(spec, spec.substr(0, slash));
  const auto container = parseNumbers(parts.container);
  if (!container || container->first == 0) {
    throw badPublish(spec, fmt::format("{} is not a port (1-65535)", text::quote(parts.container)));
  }
  const auto host = parseNumbers(parts.host.empty() ? "0" : parts.host);
  if (!host) {
    throw badPublish(spec, fmt::format("{} is not a port (1-65535)", text::quote(parts.host)));
  }
  if (host->first != 0 && host->count() != container->count()) {
    throw badPublish(spec, "the two ranges of ports differ in length");
  }
  std::vector<store::PortRecord> ports;
  for (int i = 0; i < container->count(); ++i) {
    const int hostPort = host->first == 0 ? 0 : host->first + i;
    ports.push_back({parts.ip, static_cast<std::uint16_t>(hostPort),
                     static_cast<std::uint16_t>(container->first + i), protocol});
  }
  return ports;
}

std::vector<store::PortRecord> parsePublished(const std::vector<std::string>& specs) {
  std::vector<store::PortRecord> all;
  std::map<std::pair<std::uint16_t, std::string>, std::vector<std::string>> taken;
  for (const std::string& spec : specs) {
    for (store::PortRecord& port : parsePublish(spec)) {
      std::vector<std::string>& addresses = taken[{port.hostPort, port.protocol}];
      const bool isTaken = port.hostPort != 0 &&
                           std::any_of(addresses.begin(), addresses.end(), [&](const auto& ip) {
                             return isSameAddress(ip, port.hostIp);
                           });
      if (isTaken) {
        throw badPublish(spec, fmt::format("port {}/{} of the host is published twice",
                                           port.hostPort, port.protocol));
      }
      addresses.push_back(port.hostIp);
      all.push_back(std::move(port));
    }
  }
  return all;
}

PortRange parsePortRange(std::string_view text, std::string_view what) {
  const size_t slash = text.find('/');
  const auto numbers = parseNumbers(text.substr(0, slash));
  PortRange range;
  range.protocol = slash == std::string_view::npos ? "tcp" : text::lower(text.substr(slash + 1));
  const bool isProtocol =
      range.protocol == "tcp" || range.protocol == "udp" || range.protocol == "sctp";
  if (!numbers || numbers->first == 0 || !isProtocol) {
    throw Error::make(Kind::usage, "{}: {} is not PORT[-PORT][/PROTOCOL]", what, text::quote(text));
  }
  range.first = numbers->first;
  range.last = numbers->last;
  return range;
}

}  // namespace img::cli
