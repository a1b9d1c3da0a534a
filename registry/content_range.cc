#include "registry/content_range.h"

#include "base/text.h"

namespace img::registry {
namespace {

std::optional<std::uint64_t> number(std::string_view digits) {
  const auto value = text::parseUnsigned(digits);
  if (!value) return std::nullopt;
  return std::uint64_t{*value};
}

// "FIRST-LAST"
std::optional<ContentRange> interval(std::string_view text) {
  const size_t dash = text.find('-');
  if (dash == std::string_view::npos) return std::nullopt;
  const auto first = number(text.substr(0, dash));
  const auto last = number(text.substr(dash + 1));
  if (!first || !last || *last < *first) return std::nullopt;
  return ContentRange{*first, *last};
}

}  // namespace

std::optional<ContentRange> parseContentRange(std::string_view header) {
  const std::string_view trimmed = text::trim(header);
  constexpr std::string_view kUnit = "bytes ";
  if (text::lower(trimmed.substr(0, kUnit.size())) != kUnit) return std::nullopt;
  const std::string_view rest = text::trim(trimmed.substr(kUnit.size()));
  const size_t slash = rest.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  std::optional<ContentRange> range = interval(rest.substr(0, slash));
  if (!range || rest.substr(slash + 1) == "*") return range;
  range->size = number(rest.substr(slash + 1));
  if (!range->size || *range->size <= range->last) return std::nullopt;
  return range;
}

std::optional<std::uint64_t> parseUploadRange(std::string_view header) {
  std::string_view trimmed = text::trim(header);
  constexpr std::string_view kUnit = "bytes=";
  if (trimmed.starts_with(kUnit)) trimmed.remove_prefix(kUnit.size());
  const std::optional<ContentRange> range = interval(trimmed);
  if (!range || range->first != 0) return std::nullopt;
  return range->last == 0 ? 0 : range->last + 1;
}

}  // namespace img::registry
