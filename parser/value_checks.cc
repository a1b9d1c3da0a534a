#include "parser/value_checks.h"

#include <arpa/inet.h>
#include <sys/stat.h>
#include <sys/utsname.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <csignal>
#include <limits>

#include "base/text.h"
#include "parser/chars.h"
#include "parser/fault.h"

namespace img::parser {
namespace {

std::optional<int> parsePort(std::string_view digits) {
  const auto number = text::parseUnsigned(digits);
  if (!number || *number > 65535) return std::nullopt;
  return static_cast<int>(*number);
}

struct PortRange {
  int first = 0;
  int last = 0;
};

PortRange parsePortRange(std::string_view range, std::string_view word) {
  const size_t dash = range.find('-');
  const auto first = parsePort(range.substr(0, dash));
  const auto last = dash == std::string_view::npos ? first : parsePort(range.substr(dash + 1));
  if (!first || !last) throw badValue("bad port " + text::quote(word));
  if (*last < *first) throw badValue("range " + text::quote(range) + " ends before it starts");
  return {*first, *last};
}

bool isAddress(std::string host) {
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  }
  in6_addr unused{};
  return inet_pton(AF_INET, host.c_str(), &unused) == 1 ||
         inet_pton(AF_INET6, host.c_str(), &unused) == 1;
}

// `[ip:]hostport`, checked and dropped (3.13).
void checkHostPart(std::string_view host, const PortRange& ports, std::string_view word) {
  const size_t colon = host.rfind(':');
  const std::string_view hostPort = colon == std::string_view::npos ? host : host.substr(colon + 1);
  if (colon != std::string_view::npos && !isAddress(std::string{host.substr(0, colon)})) {
    throw badValue("bad port " + text::quote(word));
  }
  if (hostPort.empty() && colon != std::string_view::npos) return;  // "127.0.0.1::80"
  const PortRange range = parsePortRange(hostPort, word);
  const bool isRange = ports.first != ports.last;
  if (isRange && range.last - range.first != ports.last - ports.first) {
    throw badValue("bad port " + text::quote(word));
  }
}

struct SignalName {
  std::string_view name;
  int number;
};

// signal(7), with the older names that shells still accept.
constexpr std::array<SignalName, 35> kSignals{{
    {"ABRT", SIGABRT},   {"ALRM", SIGALRM}, {"BUS", SIGBUS},    {"CHLD", SIGCHLD},
    {"CLD", SIGCHLD},    {"CONT", SIGCONT}, {"FPE", SIGFPE},    {"HUP", SIGHUP},
    {"ILL", SIGILL},     {"INT", SIGINT},   {"IO", SIGIO},      {"IOT", SIGABRT},
    {"KILL", SIGKILL},   {"PIPE", SIGPIPE}, {"POLL", SIGPOLL},  {"PROF", SIGPROF},
    {"PWR", SIGPWR},     {"QUIT", SIGQUIT}, {"SEGV", SIGSEGV},  {"STKFLT", SIGSTKFLT},
    {"STOP", SIGSTOP},   {"SYS", SIGSYS},   {"TERM", SIGTERM},  {"TRAP", SIGTRAP},
    {"TSTP", SIGTSTP},   {"TTIN", SIGTTIN}, {"TTOU", SIGTTOU},  {"URG", SIGURG},
    {"USR1", SIGUSR1},   {"USR2", SIGUSR2}, {"UNUSED", SIGSYS}, {"VTALRM", SIGVTALRM},
    {"WINCH", SIGWINCH}, {"XCPU", SIGXCPU}, {"XFSZ", SIGXFSZ},
}};

// The kernel's 34..64; the first two real-time signals belong to libc (signal(7)).
constexpr int kRtMin = 34;
constexpr int kRtMax = 64;

std::optional<int> realTimeSignal(std::string_view name) {
  const bool fromMin = name.starts_with("RTMIN");
  if (!fromMin && !name.starts_with("RTMAX")) return std::nullopt;
  const std::string_view rest = name.substr(5);
  if (rest.empty()) return fromMin ? kRtMin : kRtMax;
  if (rest[0] != (fromMin ? '+' : '-')) return std::nullopt;
  const auto offset = text::parseUnsigned(rest.substr(1));
  if (!offset || *offset > kRtMax - kRtMin) return std::nullopt;
  const int distance = static_cast<int>(*offset);
  return fromMin ? kRtMin + distance : kRtMax - distance;
}

struct Unit {
  std::string_view name;
  double nanoseconds;
};
// Longest first where one is the beginning of another.
constexpr std::array<Unit, 8> kUnits{{{"ns", 1},
                                      {"us", 1e3},
                                      {"\xC2\xB5s", 1e3},  // MICRO SIGN
                                      {"\xCE\xBCs", 1e3},  // GREEK SMALL LETTER MU
                                      {"ms", 1e6},
                                      {"s", 1e9},
                                      {"m", 60e9},
                                      {"h", 3600e9}}};

constexpr long double kMaxNanoseconds = 9.2e18L;

// One "1.5h" at the start of `rest`, which moves past it.
std::optional<long double> readDurationPart(std::string_view& rest) {
  size_t end = 0;
  bool hasDigit = false;
  bool hasPoint = false;
  long double value = 0;
  long double scale = 1;
  for (; end < rest.size(); ++end) {
    if (isDigit(rest[end])) {
      hasDigit = true;
      value = value * 10 + (rest[end] - '0');
      if (hasPoint) scale *= 10;
    } else if (rest[end] == '.' && !hasPoint) {
      hasPoint = true;
    } else {
      break;
    }
  }
  if (!hasDigit) return std::nullopt;
  rest.remove_prefix(end);
  for (const Unit& unit : kUnits) {
    if (!rest.starts_with(unit.name)) continue;
    rest.remove_prefix(unit.name.size());
    return value / scale * unit.nanoseconds;
  }
  return std::nullopt;
}

bool isPlatformPart(std::string_view part) {
  return !part.empty() && std::all_of(part.begin(), part.end(), [](char c) {
    return isNameStart(c) || isDigit(c) || c == '.' || c == '-';
  });
}

bool isKnownOs(std::string_view os) {
  constexpr std::array<std::string_view, 13> kSystems{
      "linux", "windows", "darwin",  "freebsd", "netbsd",  "openbsd", "dragonfly",
      "plan9", "solaris", "illumos", "aix",     "android", "wasip1"};
  return std::find(kSystems.begin(), kSystems.end(), os) != kSystems.end();
}

void normalise(Platform& platform) {
  platform.os = text::lower(platform.os);
  std::string& arch = platform.architecture;
  std::string& variant = platform.variant;
  arch = text::lower(arch);
  variant = text::lower(variant);
  if (platform.os == "macos") platform.os = "darwin";
  if (arch == "x86_64" || arch == "x86-64") arch = "amd64";
  if (arch == "aarch64") arch = "arm64";
  if (arch == "i386") arch = "386";
  if (arch == "armhf") {
    arch = "arm";
    variant = "v7";
  } else if (arch == "armel") {
    arch = "arm";
    variant = "v6";
  }
  if (arch == "arm" && variant.empty()) variant = "v7";
  if (arch == "arm" && variant.size() == 1) variant.insert(0, "v");
  if (arch == "arm64" && (variant == "v8" || variant == "8")) variant.clear();
  if (arch == "amd64" && variant == "v1") variant.clear();
}

}  // namespace

std::optional<bool> parseBool(std::string_view text) {
  constexpr std::array<std::string_view, 6> kTrue{"1", "t", "T", "TRUE", "true", "True"};
  constexpr std::array<std::string_view, 6> kFalse{"0", "f", "F", "FALSE", "false", "False"};
  if (std::find(kTrue.begin(), kTrue.end(), text) != kTrue.end()) return true;
  if (std::find(kFalse.begin(), kFalse.end(), text) != kFalse.end()) return false;
  return std::nullopt;
}

ExposeWord parseExposeWord(std::string_view word) {
  const size_t slash = word.find('/');
  const std::string_view written =
      slash == std::string_view::npos ? std::string_view{} : word.substr(slash + 1);
  const std::string protocol = written.empty() ? "tcp" : text::lower(written);
  if (protocol != "tcp" && protocol != "udp" && protocol != "sctp") {
    throw badValue("bad protocol " + text::quote(written));
  }
  ExposeWord result;
  result.protocolNotLowerCase = !written.empty() && protocol != written;

  const std::string_view ports = word.substr(0, slash);
  const size_t colon = ports.rfind(':');
  const bool hasHost = colon != std::string_view::npos;
  const PortRange range = parsePortRange(hasHost ? ports.substr(colon + 1) : ports, word);
  if (hasHost) checkHostPart(ports.substr(0, colon), range, word);
  result.hasHostPart = hasHost;
  for (int port = range.first; port <= range.last; ++port) {
    result.ports.push_back(fmt::format("{}/{}", port, protocol));
  }
  return result;
}

std::optional<int> signalNumber(std::string_view name) {
  if (const auto number = text::parseUnsigned(name)) {
    if (*number == 0 || *number > std::numeric_limits<int>::max()) return std::nullopt;
    return static_cast<int>(*number);
  }
  const std::string upper = text::upper(name);
  std::string_view bare = upper;
  if (bare.starts_with("SIG")) bare.remove_prefix(3);
  for (const SignalName& signal : kSignals) {
    if (signal.name == bare) return signal.number;
  }
  return realTimeSignal(bare);
}

void checkStopSignal(std::string_view name) {
  if (!signalNumber(name)) throw badValue("unknown signal " + text::quote(name));
}

long long parseDuration(std::string_view text) {
  std::string_view rest = text;
  const bool negative = rest.starts_with('-');
  if (negative || rest.starts_with('+')) rest.remove_prefix(1);
  if (rest == "0") return 0;
  long double total = 0;
  bool valid = !rest.empty();
  while (valid && !rest.empty()) {
    const auto part = readDurationPart(rest);
    valid = part.has_value();
    total += part.value_or(0);
  }
  if (!valid) throw badValue("not a duration; write it like 30s, 1m30s or 500ms");
  if (total > kMaxNanoseconds) throw badValue("the duration is too long");
  const auto rounded = static_cast<long long>(total + 0.5L);
  return negative ? -rounded : rounded;
}

std::string Platform::str() const {
  std::string out = os;
  if (!osVersion.empty()) out += "(" + osVersion + ")";
  if (!architecture.empty()) out += "/" + architecture;
  if (!variant.empty()) out += "/" + variant;
  return out;
}

Platform hostPlatform() {
  Platform host{"linux", "", "amd64", ""};
  utsname names{};
  if (uname(&names) == 0) host.architecture = names.machine;
  // uname(2) names the 32-bit ARM machines armv6l, armv7l, and PCs i386 to i686.
  if (host.architecture.starts_with("armv")) {
    host.variant = "v" + host.architecture.substr(4, 1);
    host.architecture = "arm";
  } else if (host.architecture.size() == 4 && host.architecture.ends_with("86")) {
    host.architecture = "386";
  }
  normalise(host);
  return host;
}

Platform parsePlatform(std::string_view text, const Platform& host) {
  const std::vector<std::string> parts = text::split(text, '/');
  const auto fault = [&] { return badValue("bad platform " + text::quote(text)); };
  if (parts.size() > 3) throw fault();
  Platform platform;
  std::string first = parts[0];
  const size_t open = first.find('(');
  if (open != std::string::npos) {
    if (first.back() != ')') throw fault();
    platform.osVersion = first.substr(open + 1, first.size() - open - 2);
    if (!isPlatformPart(platform.osVersion)) throw fault();
    first.resize(open);
  }
  if (!isPlatformPart(first)) throw fault();
  for (size_t i = 1; i < parts.size(); ++i) {
    if (!isPlatformPart(parts[i])) throw fault();
  }
  if (parts.size() > 1) {
    platform.os = first;
    platform.architecture = parts[1];
    if (parts.size() > 2) platform.variant = parts[2];
  } else if (isKnownOs(text::lower(first)) || open != std::string::npos) {
    platform.os = first;
    platform.architecture = host.architecture;
    platform.variant = host.variant;
  } else {
    platform.os = host.os;
    platform.architecture = first;
  }
  normalise(platform);
  return platform;
}

}  // namespace img::parser
