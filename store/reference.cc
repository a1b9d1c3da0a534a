#include "store/reference.h"

#include <algorithm>

#include "base/error.h"
#include "base/text.h"

namespace img::store {
namespace {

constexpr size_t kMaxName = 255;
constexpr size_t kMaxTag = 128;
constexpr char kDefaultHost[] = "docker.io";
constexpr char kLibrary[] = "library/";

bool isLower(char c) {
  return c >= 'a' && c <= 'z';
}
bool isUpper(char c) {
  return c >= 'A' && c <= 'Z';
}
bool isDigit(char c) {
  return c >= '0' && c <= '9';
}
bool isLowerAlnum(char c) {
  return isLower(c) || isDigit(c);
}
bool isAlnum(char c) {
  return isLowerAlnum(c) || isUpper(c);
}

[[noreturn]] void fail(std::string_view text, std::string_view problem) {
  throw Error::make(Kind::usage, "invalid reference format: {}", problem)
      .why(fmt::format("the name is {}", text::quote(text)))
      .code("invalid-reference");
}

// [a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*
bool isPathComponent(std::string_view text) {
  size_t at = 0;
  for (;;) {
    const size_t begin = at;
    while (at < text.size() && isLowerAlnum(text[at])) ++at;
    if (at == begin) return false;
    if (at == text.size()) return true;
    const char separator = text[at];
    size_t count = 0;
    while (at < text.size() && text[at] == separator) ++at, ++count;
    if (separator != '.' && separator != '_' && separator != '-') return false;
    if ((separator == '.' && count > 1) || (separator == '_' && count > 2)) return false;
  }
}

// A list of a thousand images asks this for each name: nothing is copied.
template <class Predicate>
bool allParts(std::string_view text, char separator, Predicate&& isGood) {
  for (;;) {
    const size_t end = text.find(separator);
    if (!isGood(text.substr(0, end))) return false;
    if (end == std::string_view::npos) return true;
    text.remove_prefix(end + 1);
  }
}

bool isPath(std::string_view path) {
  return allParts(path, '/', isPathComponent);
}

bool isTag(std::string_view tag) {
  if (tag.empty() || tag.size() > kMaxTag || !(isAlnum(tag[0]) || tag[0] == '_')) return false;
  return std::all_of(tag.begin(), tag.end(),
                     [](char c) { return isAlnum(c) || c == '_' || c == '.' || c == '-'; });
}

bool isHostLabel(std::string_view label) {
  if (label.empty() || label.front() == '-' || label.back() == '-') return false;
  return std::all_of(label.begin(), label.end(), [](char c) { return isAlnum(c) || c == '-'; });
}

bool isPort(std::string_view port) {
  return !port.empty() && port.size() <= 5 && std::all_of(port.begin(), port.end(), isDigit);
}

// Labels joined by dots, or an IPv6 address in brackets, with an optional port.
bool isHost(std::string_view host) {
  if (host.starts_with('[')) {
    const size_t close = host.find(']');
    if (close == std::string_view::npos || close == 1) return false;
    const std::string_view address = host.substr(1, close - 1);
    const std::string_view rest = host.substr(close + 1);
    return address.find_first_not_of("0123456789abcdefABCDEF:.") == std::string_view::npos &&
           (rest.empty() || (rest.starts_with(':') && isPort(rest.substr(1))));
  }
  const size_t colon = host.rfind(':');
  if (colon != std::string_view::npos) {
    if (!isPort(host.substr(colon + 1))) return false;
    host = host.substr(0, colon);
  }
  return allParts(host, '.', isHostLabel);
}

bool looksLikeHost(std::string_view first) {
  return first == "localhost" || first.find_first_of(".:[") != std::string_view::npos ||
         std::any_of(first.begin(), first.end(), isUpper);
}

// Cuts "@DIGEST" and ":TAG" off the end of `rest`.
void cutSuffixes(std::string_view text, std::string_view& rest, Reference& reference) {
  if (const size_t at = rest.find('@'); at != std::string_view::npos) {
    reference.digest = Digest::tryParse(rest.substr(at + 1));
    if (!reference.digest)
      fail(text, "the digest must be sha256: and 64 lower-case hexadecimal digits");
    rest = rest.substr(0, at);
  }
  const size_t slash = rest.rfind('/');
  const size_t colon = rest.rfind(':');
  if (colon == std::string_view::npos || (slash != std::string_view::npos && colon < slash)) return;
  reference.tag = rest.substr(colon + 1);
  if (!isTag(reference.tag))
    fail(text, "the tag must be 1 to 128 letters, digits, '_', '.' or '-'");
  rest = rest.substr(0, colon);
}

}  // namespace

Reference Reference::parse(std::string_view text) {
  Reference reference;
  std::string_view rest = text;
  cutSuffixes(text, rest, reference);
  if (rest.empty()) fail(text, "the name is empty");
  const size_t slash = rest.find('/');
  reference.host = kDefaultHost;
  if (slash != std::string_view::npos && looksLikeHost(rest.substr(0, slash))) {
    reference.host = rest.substr(0, slash);
    rest = rest.substr(slash + 1);
    if (!isHost(reference.host)) fail(text, "the host is not valid");
  }
  if (reference.host == "index.docker.io") reference.host = kDefaultHost;
  if (std::any_of(rest.begin(), rest.end(), isUpper))
    fail(text, "repository name must be lowercase");
  if (!isPath(rest))
    fail(text, "the name must be lower-case letters and digits, separated by '.', '_', '-' or '/'");
  // It could not be told from an image id.
  if (rest == text && Digest::tryParseHex(rest))
    fail(text, "a name must not look like an image id");
  reference.path = rest;
  if (reference.host == kDefaultHost && rest.find('/') == std::string_view::npos) {
    reference.path = kLibrary + reference.path;
  }
  if (reference.repository().size() > kMaxName) fail(text, "the name is longer than 255 bytes");
  if (reference.tag.empty() && !reference.digest) reference.tag = "latest";
  return reference;
}

std::string Reference::repository() const {
  return host + "/" + path;
}

std::string Reference::familiarRepository() const {
  if (host != kDefaultHost) return repository();
  const bool isOfficial = path.starts_with(kLibrary) && path.rfind('/') == sizeof kLibrary - 2;
  return isOfficial ? path.substr(sizeof kLibrary - 1) : path;
}

namespace {

std::string withSuffixes(std::string name, const Reference& reference) {
  if (!reference.tag.empty()) name += ":" + reference.tag;
  if (reference.digest) name += "@" + reference.digest->str();
  return name;
}

}  // namespace

std::string Reference::full() const {
  return withSuffixes(repository(), *this);
}

std::string Reference::familiar() const {
  return withSuffixes(familiarRepository(), *this);
}

}  // namespace img::store
