#include "base/json_plain.h"

#include <array>
#include <charconv>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <utility>

namespace img {
namespace {

using Json = nlohmann::json;

// Characters that stand for themselves in a string (RFC 8259, 7), those of ASCII.
constexpr std::array<bool, 256> kIsPlain = [] {
  std::array<bool, 256> plain{};
  for (size_t i = 0x20; i < 0x80; ++i) plain[i] = i != '"' && i != '\\';
  return plain;
}();

bool isPlain(char c) {
  return kIsPlain[static_cast<unsigned char>(c)];
}

constexpr std::pair<char, char> kEscapes[] = {{'"', '"'},  {'\\', '\\'}, {'b', '\b'}, {'f', '\f'},
                                              {'n', '\n'}, {'r', '\r'},  {'t', '\t'}};

class PlainParser {
 public:
  PlainParser(std::string_view text, size_t maxDepth)
      : at_(text.data()), end_(text.data() + text.size()), depthLeft_(maxDepth) {}

  bool document(Json& value) {
    if (!parse(value)) return false;
    skipSpace();
    return at_ == end_;
  }

 private:
  void skipSpace() {
    while (at_ != end_ && (*at_ == ' ' || *at_ == '\n' || *at_ == '\t' || *at_ == '\r')) ++at_;
  }
  bool take(char wanted) {
    skipSpace();
    if (at_ == end_ || *at_ != wanted) return false;
    ++at_;
    return true;
  }
  bool word(std::string_view wanted) {
    if (!std::string_view{at_, static_cast<size_t>(end_ - at_)}.starts_with(wanted)) return false;
    at_ += wanted.size();
    return true;
  }

  bool parse(Json& value) {
    skipSpace();
    if (at_ == end_) return false;
    switch (*at_) {
      case '{': return object(value);
      case '[': return array(value);
      case '"': value = Json(Json::value_t::string); return string(value.get_ref<std::string&>());
      default: return scalar(value);
    }
  }

  bool object(Json& value) {
    if (depthLeft_ == 0) return false;
    --depthLeft_;
    ++at_;
    value = Json::object();
    auto& members = value.get_ref<Json::object_t&>();
    if (take('}')) return leave();
    do {
      std::string key;
      skipSpace();
      if (at_ == end_ || *at_ != '"' || !string(key) || !take(':')) return false;
      // Most documents have their keys sorted: then the place is known.
      const size_t before = members.size();
      const auto member = members.emplace_hint(members.end(), std::move(key), nullptr);
      if (members.size() == before || !parse(member->second)) return false;
    } while (take(','));
    return take('}') && leave();
  }

  bool array(Json& value) {
    if (depthLeft_ == 0) return false;
    --depthLeft_;
    ++at_;
    value = Json::array();
    auto& items = value.get_ref<Json::array_t&>();
    if (take(']')) return leave();
    do {
      if (!parse(items.emplace_back())) return false;
    } while (take(','));
    return take(']') && leave();
  }

  bool leave() {
    ++depthLeft_;
    return true;
  }

  // From its opening quote.
  bool string(std::string& text) {
    for (++at_;;) {
      const char* const begin = at_;
      while (at_ != end_ && isPlain(*at_)) ++at_;
      text.append(begin, at_);
      if (at_ == end_) return false;
      if (*at_ == '"') {
        ++at_;
        return true;
      }
      if (*at_ != '\\' || !escape(text)) return false;
    }
  }

  bool escape(std::string& text) {
    if (++at_ == end_) return false;
    if (*at_ == '/') {
      text += *at_++;
      return true;
    }
    for (const auto& [name, meaning] : kEscapes) {
      if (*at_ != name) continue;
      text += meaning;
      ++at_;
      return true;
    }
    return false;
  }

  bool scalar(Json& value) {
    if (word("true")) {
      value = true;
      return true;
    }
    if (word("false")) {
      value = false;
      return true;
    }
    return word("null") || number(value);  // it is null already
  }

  bool number(Json& value) {
    constexpr std::ptrdiff_t kMaxDigits = 18;  // in 64 bits, whatever they are
    const bool isNegative = *at_ == '-';
    const char* const digits = at_ + (isNegative ? 1 : 0);
    std::uint64_t number = 0;
    const auto [last, error] = std::from_chars(digits, end_, number);
    if (error != std::errc{} || last - digits > kMaxDigits) return false;
    if (*digits == '0' && (isNegative || last - digits > 1)) return false;
    if (last != end_ && (*last == '.' || *last == 'e' || *last == 'E')) return false;
    at_ = last;
    if (isNegative) {
      value = -static_cast<std::int64_t>(number);
    } else {
      value = number;
    }
    return true;
  }

  const char* at_;
  const char* end_;
  size_t depthLeft_;
};

void writeByLibrary(const Json& value, std::string& out) {
  out += value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

// The escape of a character that is not plain; false: it needs the library.
bool writeEscape(char c, std::string& out) {
  for (const auto& [name, meaning] : kEscapes) {
    if (c != meaning) continue;
    out += '\\';
    out += name;
    return true;
  }
  return false;
}

void writeString(const std::string& text, std::string& out) {
  const size_t start = out.size();
  out += '"';
  for (const char *at = text.data(), *const end = at + text.size();;) {
    const char* const begin = at;
    while (at != end && isPlain(*at)) ++at;
    out.append(begin, at);
    if (at == end) break;
    if (writeEscape(*at++, out)) continue;
    out.resize(start);
    return writeByLibrary(text, out);
  }
  out += '"';
}

void write(const Json& value, std::string& out) {
  if (value.is_string()) return writeString(value.get_ref<const std::string&>(), out);
  if (!value.is_structured()) return writeByLibrary(value, out);
  const bool isObject = value.is_object();
  out += isObject ? '{' : '[';
  for (auto at = value.begin(); at != value.end(); ++at) {
    if (at != value.begin()) out += ',';
    if (isObject) {
      writeString(at.key(), out);
      out += ':';
    }
    write(*at, out);
  }
  out += isObject ? '}' : ']';
}

}  // namespace

std::optional<Json> parsePlainJson(std::string_view text, size_t maxDepth) {
  Json value;
  if (!PlainParser{text, maxDepth}.document(value)) return std::nullopt;
  return value;
}

std::string writeJson(const Json& value) {
  std::string out;
  write(value, out);
  return out;
}

}  // namespace img
