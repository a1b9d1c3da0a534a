#include "registry/link.h"

#include "base/text.h"

namespace img::registry {
namespace {

// ; rel="next" or ; rel=next, among other parameters.
bool isNext(std::string_view parameters) {
  for (const std::string& parameter : text::split(parameters, ';')) {
    const std::string lower = text::lower(text::trim(parameter));
    if (lower == "rel=next" || lower == "rel=\"next\"") return true;
  }
  return false;
}

}  // namespace

std::string nextLink(std::string_view header) {
  while (true) {
    const size_t begin = header.find('<');
    if (begin == std::string_view::npos) return {};
    const size_t end = header.find('>', begin);
    if (end == std::string_view::npos) return {};
    const std::string_view target = header.substr(begin + 1, end - begin - 1);
    header.remove_prefix(end + 1);
    const size_t following = header.find('<');
    std::string_view parameters = header.substr(0, following);
    while (!parameters.empty() && (parameters.back() == ',' || parameters.back() == ' '))
      parameters.remove_suffix(1);
    if (isNext(parameters)) return std::string{target};
  }
}

}  // namespace img::registry
