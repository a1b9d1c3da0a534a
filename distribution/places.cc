#include <algorithm>

#include "base/fs.h"
#include "base/log.h"
#include "base/sys.h"
#include "base/text.h"
#include "distribution/push.h"

namespace img::distribution {
namespace {

constexpr char kFolder[] = "cache/places";
constexpr size_t kMaxFile = size_t{16} << 10;
constexpr size_t kMaxPlaces = 8;  // newest first

std::vector<std::string> linesOf(const store::Layout& layout, const Digest& blob) {
  const auto text =
      fs::tryReadFile(layout.fd(), fmt::format("{}/{}", kFolder, blob.hex()), kMaxFile);
  std::vector<std::string> lines = text::split(text.value_or(""), '\n');
  std::erase(lines, "");
  return lines;
}

}  // namespace

void rememberPlace(const store::Layout& layout, const Digest& blob,
                   const store::Reference& repository) try {
  const std::string name = repository.repository();
  std::vector<std::string> lines = linesOf(layout, blob);
  if (!lines.empty() && lines.front() == name) return;
  std::erase(lines, name);
  lines.insert(lines.begin(), name);
  if (lines.size() > kMaxPlaces) lines.resize(kMaxPlaces);
  const Fd folder = fs::makeDirs(layout.fd(), kFolder, 0700);
  fs::replaceFile(folder.get(), blob.hex(), text::join(lines, "\n") + "\n", 0600, fs::Sync::none);
} catch (const Error& error) {
  log::info("{} is not noted down: {}", blob.str(), error.cause());  // it only costs an upload
}

std::vector<store::Reference> placesOf(const store::Layout& layout, const Digest& blob) {
  std::vector<store::Reference> places;
  for (const std::string& line : linesOf(layout, blob)) {
    try {
      places.push_back(store::Reference::parse(line));
    } catch (const Error&) {
      continue;  // the file is nobody's but ours; a damaged line is no place
    }
  }
  return places;
}

}  // namespace img::distribution
