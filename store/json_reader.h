// A JSON value together with its place in the document, so that a wrong type, a missing key or a
// number out of range is a Kind::corrupt error with the JSON pointer (security.md M9). null counts
// as absent, as in Go's encoding/json, which wrote most of the documents we read.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/digest.h"
#include "base/json.h"

namespace img::store {

class JsonReader {
 public:
  // `value` and `origin` outlive the reader.
  JsonReader(const Json& value, std::string_view origin) : value_(&value), origin_(origin) {}

  bool has(const char* key) const;  // there, and not null
  std::optional<JsonReader> find(const char* key) const;
  JsonReader get(const char* key) const;  // throws when absent
  void requireObject() const;

  [[nodiscard]] std::string string() const;
  [[nodiscard]] bool boolean() const;
  [[nodiscard]] std::int64_t integer() const;
  [[nodiscard]] std::uint64_t size() const;  // 0 <= n < 2^53 (M2)
  [[nodiscard]] Digest digest() const;
  [[nodiscard]] std::vector<JsonReader> array() const;
  [[nodiscard]] std::vector<std::pair<std::string, JsonReader>> members() const;
  [[nodiscard]] std::vector<std::string> strings() const;
  [[nodiscard]] std::map<std::string, std::string> stringMap() const;
  [[nodiscard]] std::map<std::string, bool> keySet() const;  // {"80/tcp":{}}

  // The member's value, or the type's default when it is absent.
  std::string stringOr(const char* key, std::string fallback = {}) const;
  std::int64_t integerOr(const char* key, std::int64_t fallback = 0) const;
  bool booleanOr(const char* key, bool fallback = false) const;
  std::vector<std::string> stringsOf(const char* key) const;
  std::map<std::string, std::string> stringMapOf(const char* key) const;
  std::map<std::string, bool> keySetOf(const char* key) const;
  std::vector<JsonReader> arrayOf(const char* key) const;

  [[noreturn]] void fail(std::string_view problem) const;

 private:
  JsonReader(const Json& value, std::string_view origin, std::string pointer)
      : value_(&value), origin_(origin), pointer_(std::move(pointer)) {}
  [[nodiscard]] JsonReader child(const Json& value, std::string_view key) const;

  const Json* value_;
  std::string_view origin_;
  std::string pointer_;
};

}  // namespace img::store
