#include <algorithm>

#include "base/error.h"
#include "base/text.h"
#include "store/tar.h"

namespace img::store {

std::string cleanTarPath(std::string_view path, std::string_view archive) {
  constexpr size_t kMaxPath = 65536;
  constexpr size_t kMaxComponent = 255;
  const auto refuse = [&](std::string_view what) {
    return Error::make(Kind::corrupt, "{}: entry {}: {}", archive, text::quote(path), what);
  };
  if (path.empty()) throw refuse("empty name");
  if (path.size() > kMaxPath) throw refuse("name over 65536 bytes");
  if (path.find('\0') != std::string_view::npos) throw refuse("NUL in the name");
  std::string clean;
  for (size_t at = 0; at <= path.size();) {
    const size_t slash = std::min(path.find('/', at), path.size());
    const std::string_view component = path.substr(at, slash - at);
    at = slash + 1;
    if (component.empty() || component == ".") continue;
    if (component == "..") throw refuse("\"..\" in the name");
    // A whiteout may name something whose name is as long as names can be.
    const size_t extra = component.starts_with(".wh.") ? 4 : 0;
    if (component.size() > kMaxComponent + extra) throw refuse("a name component over 255 bytes");
    if (!clean.empty()) clean += '/';
    clean += component;
  }
  return clean;
}

}  // namespace img::store
