#include "store/json_reader.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/text.h"

namespace img::store {
namespace {

constexpr std::int64_t kMaxExact = std::int64_t{1}
                                   << 53;  // the largest integer every JSON reader keeps exact

// RFC 6901: "~" and "/" in a key are written "~0" and "~1".
std::string pointerToken(std::string_view key) {
  if (key.find_first_of("~/") == std::string_view::npos) return std::string{key};
  std::string token;
  for (const char c : key) {
    if (c == '~')
      token += "~0";
    else if (c == '/')
      token += "~1";
    else
      token += c;
  }
  return token;
}

}  // namespace

void JsonReader::fail(std::string_view problem) const {
  throw Error::make(Kind::corrupt, "{}: {} {}", origin_,
                    pointer_.empty() ? std::string{"the document"} : text::escape(pointer_),
                    problem);
}

JsonReader JsonReader::child(const Json& value, std::string_view key) const {
  return JsonReader{value, origin_, pointer_ + "/" + pointerToken(key)};
}

void JsonReader::requireObject() const {
  if (!value_->is_object()) fail("must be an object");
}

bool JsonReader::has(const char* key) const {
  return find(key).has_value();
}

std::optional<JsonReader> JsonReader::find(const char* key) const {
  requireObject();
  const auto it = value_->find(key);
  if (it == value_->end() || it->is_null()) return std::nullopt;
  return child(*it, key);
}

JsonReader JsonReader::get(const char* key) const {
  auto found = find(key);
  if (!found) fail(fmt::format("lacks \"{}\"", key));
  return *found;
}

std::string JsonReader::string() const {
  const auto* text = value_->get_ptr<const Json::string_t*>();
  if (text == nullptr) fail("must be a string");
  if (text->find('\0') != std::string::npos) fail("must not contain a NUL character");
  return *text;
}

bool JsonReader::boolean() const {
  if (!value_->is_boolean()) fail("must be true or false");
  return value_->get<bool>();
}

std::int64_t JsonReader::integer() const {
  if (!value_->is_number_integer()) fail("must be an integer");
  if (value_->is_number_unsigned() && value_->get<std::uint64_t>() > INT64_MAX)
    fail("is out of range");
  return value_->get<std::int64_t>();
}

std::uint64_t JsonReader::size() const {
  const std::int64_t number = integer();
  if (number < 0 || number >= kMaxExact) fail("is out of range");
  return static_cast<std::uint64_t>(number);
}

Digest JsonReader::digest() const {
  const std::string text = string();
  const auto parsed = Digest::tryParse(text);
  if (!parsed) fail(fmt::format("is not a SHA-256 digest: {}", text::quote(text)));
  return *parsed;
}

std::vector<JsonReader> JsonReader::array() const {
  if (!value_->is_array()) fail("must be an array");
  std::vector<JsonReader> items;
  items.reserve(value_->size());
  for (size_t i = 0; i < value_->size(); ++i)
    items.push_back(child((*value_)[i], std::to_string(i)));
  return items;
}

std::vector<std::pair<std::string, JsonReader>> JsonReader::members() const {
  requireObject();
  std::vector<std::pair<std::string, JsonReader>> all;
  for (auto it = value_->begin(); it != value_->end(); ++it) {
    if (it.key().find('\0') != std::string::npos) fail("has a key with a NUL character");
    all.emplace_back(it.key(), child(*it, it.key()));
  }
  return all;
}

std::vector<std::string> JsonReader::strings() const {
  std::vector<std::string> all;
  for (const JsonReader& item : array()) all.push_back(item.string());
  return all;
}

std::map<std::string, std::string> JsonReader::stringMap() const {
  std::map<std::string, std::string> all;
  for (const auto& [key, value] : members()) all.emplace(key, value.string());
  return all;
}

std::map<std::string, bool> JsonReader::keySet() const {
  std::map<std::string, bool> all;
  for (const auto& [key, value] : members()) all.emplace(key, true);
  return all;
}

std::string JsonReader::stringOr(const char* key, std::string fallback) const {
  requireObject();
  const auto it = value_->find(key);
  if (it == value_->end() || it->is_null()) return fallback;
  // Most members are as they should be: only a message needs the place.
  const auto* text = it->get_ptr<const Json::string_t*>();
  const bool isRight = text != nullptr && text->find('\0') == std::string::npos;
  return isRight ? *text : child(*it, key).string();
}

std::int64_t JsonReader::integerOr(const char* key, std::int64_t fallback) const {
  const auto found = find(key);
  return found ? found->integer() : fallback;
}

bool JsonReader::booleanOr(const char* key, bool fallback) const {
  const auto found = find(key);
  return found ? found->boolean() : fallback;
}

std::vector<std::string> JsonReader::stringsOf(const char* key) const {
  const auto found = find(key);
  return found ? found->strings() : std::vector<std::string>{};
}

std::map<std::string, std::string> JsonReader::stringMapOf(const char* key) const {
  const auto found = find(key);
  return found ? found->stringMap() : std::map<std::string, std::string>{};
}

std::map<std::string, bool> JsonReader::keySetOf(const char* key) const {
  const auto found = find(key);
  return found ? found->keySet() : std::map<std::string, bool>{};
}

std::vector<JsonReader> JsonReader::arrayOf(const char* key) const {
  const auto found = find(key);
  return found ? found->array() : std::vector<JsonReader>{};
}

}  // namespace img::store
