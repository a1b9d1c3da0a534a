#include "builder/check_copy.h"

#include "base/error.h"
#include "base/text.h"
#include "builder/remote_url.h"
#include "builder/stage.h"

namespace img::builder {
namespace {

// What ADD fetches instead of taking it from the context.
bool isException(std::string_view line) {
  return text::trim(line).starts_with('!');
}

bool isEverything(std::string_view line) {
  std::string_view pattern = text::trim(line);
  if (pattern.starts_with('/')) pattern.remove_prefix(1);
  return pattern == "*" || pattern == "**" || pattern == "**/*";
}

}  // namespace

CopySourceCheck::CopySourceCheck(const Request& request) {
  if (request.ignoreName.empty() || request.ignoreText.empty()) return;
  bool ignoresAll = false;
  for (const std::string& line : text::split(request.ignoreText, '\n')) {
    if (line.starts_with('#')) continue;
    if (isException(line)) return;
    ignoresAll |= isEverything(line);
  }
  try {
    patterns_ = parser::IgnorePatterns::parseFile(request.ignoreText, request.ignoreName);
    ignoresAll_ = ignoresAll;
  } catch (const Error&) {
    // A build says what is wrong with the file; there is no source to judge with it.
  }
}

bool CopySourceCheck::isIgnored(const std::string& path, bool isAdd) const {
  if (patterns_.empty() || (isAdd && classifySource(path) != SourceKind::local)) return false;
  const std::string clean = joinPath("/", path).substr(1);
  return clean.empty() ? ignoresAll_ : patterns_.isIgnored(clean);
}

}  // namespace img::builder
