#include "base/json.h"

#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"

namespace img {
namespace {

constexpr size_t kMaxDepth = 64;  // security.md M9

// Builds the value while refusing what two readers could understand differently.
class StrictBuilder final : public nlohmann::json_sax<Json> {
 public:
  explicit StrictBuilder(Json& root) : builder_(root, false) {}

  bool null() override { return builder_.null(); }
  bool boolean(bool value) override { return builder_.boolean(value); }
  bool number_integer(number_integer_t value) override { return builder_.number_integer(value); }
  bool number_unsigned(number_unsigned_t value) override { return builder_.number_unsigned(value); }
  bool number_float(number_float_t value, const string_t& text) override {
    return builder_.number_float(value, text);
  }
  bool string(string_t& value) override { return builder_.string(value); }
  bool binary(binary_t& value) override { return builder_.binary(value); }
  bool start_object(size_t size) override {
    if (!enter()) return false;
    keys_.emplace_back();
    return builder_.start_object(size);
  }
  bool key(string_t& name) override {
    if (!keys_.back().insert(name).second) {
      problem = "duplicate key";
      return false;
    }
    return builder_.key(name);
  }
  bool end_object() override {
    --depth_;
    keys_.pop_back();
    return builder_.end_object();
  }
  bool start_array(size_t size) override { return enter() && builder_.start_array(size); }
  bool end_array() override {
    --depth_;
    return builder_.end_array();
  }
  bool parse_error(size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    at = position;
    if (problem.empty()) problem = "not valid JSON";
    return false;
  }

  std::string problem;
  size_t at = 0;

 private:
  bool enter() {
    if (++depth_ <= kMaxDepth) return true;
    problem = "nested too deeply";
    return false;
  }
  nlohmann::detail::json_sax_dom_parser<Json> builder_;
  std::vector<std::set<std::string>> keys_;
  size_t depth_ = 0;
};

}  // namespace

Json parseJson(std::string_view text, std::string_view origin) {
  Json value;
  StrictBuilder builder{value};
  bool isParsed = false;
  try {
    isParsed = Json::sax_parse(text.begin(), text.end(), &builder);
  } catch (const std::exception& error) {
    builder.problem = error.what();
  }
  if (!isParsed) {
    throw Error::make(Kind::corrupt, "{}: {}{}", origin,
                      builder.problem.empty() ? "not valid JSON" : builder.problem,
                      builder.at == 0 ? std::string{} : fmt::format(" at byte {}", builder.at));
  }
  return value;
}

std::string dumpJson(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace img
