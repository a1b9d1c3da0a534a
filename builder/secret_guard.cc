#include "builder/secret_guard.h"

#include <dirent.h>
#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/fs.h"
#include "base/sys.h"
#include "base/text.h"
#include "builder/failed_step.h"

namespace img::builder {
namespace {

// A few bytes are everywhere: masking them would only spoil the output.
constexpr size_t kMinMasked = 4;
// base64(1) breaks lines after 76 characters, and a secret that begins a line must be found before
// that.
constexpr size_t kMaxBase64 = 64;
constexpr size_t kReadSize = size_t{256} << 10;

constexpr std::string_view kStandard =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

// Editors end a file with a newline that is no part of the secret.
std::string_view coreOf(std::string_view secret) {
  const size_t end = secret.find_last_not_of("\r\n");
  return secret.substr(0, end == std::string_view::npos ? 0 : end + 1);
}

// RFC 4648, without padding: whole groups of six bits only.
std::string encodeBase64(std::string_view bytes) {
  std::string out;
  std::uint32_t bits = 0;
  int count = 0;
  for (const char c : bytes) {
    bits = bits << 8 | static_cast<unsigned char>(c);
    for (count += 8; count >= 6; count -= 6) out += kStandard[bits >> (count - 6) & 63];
  }
  return out;
}

// What is the same in the base64 of every text that holds the secret after `offset` bytes (modulo
// 3).
std::string base64Core(std::string_view secret, size_t offset) {
  const std::string encoded = encodeBase64(std::string(offset, '\0') + std::string{secret});
  const size_t first = (offset * 8 + 5) / 6;
  return encoded.substr(first, kMaxBase64);
}

std::string urlSafe(std::string base64) {
  std::replace(base64.begin(), base64.end(), '+', '-');
  std::replace(base64.begin(), base64.end(), '/', '_');
  return base64;
}

struct Patterns {
  std::vector<std::string> texts, ids;
  void add(std::string text, const std::string& id) {
    if (text.size() < PatternSearch::kMinLength) return;
    if (std::find(texts.begin(), texts.end(), text) != texts.end()) return;
    texts.push_back(std::move(text));
    ids.push_back(id);
  }
};

Patterns patternsOf(const std::vector<Secret>& secrets) {
  Patterns patterns;
  for (const Secret& secret : secrets) {
    std::string_view core = coreOf(secret.content);
    if (core.size() < PatternSearch::kMinLength) core = secret.content;
    if (core.size() < PatternSearch::kMinLength) continue;
    patterns.add(std::string{core}, secret.id);
    for (size_t offset = 0; offset < 3; ++offset) {
      const std::string base64 = base64Core(core, offset);
      patterns.add(base64, secret.id);
      patterns.add(urlSafe(base64), secret.id);
    }
  }
  return patterns;
}

bool isFolder(int dir, const fs::Entry& entry) {
  if (entry.type != DT_UNKNOWN) return entry.type == DT_DIR;
  return S_ISDIR(sys::fstatat(dir, entry.name).st_mode);
}

}  // namespace

PatternSearch::PatternSearch(std::vector<std::string> patterns) : patterns_(std::move(patterns)) {
  if (patterns_.empty()) return;
  // How far the window of kMinLength bytes may move when its last two bytes are these.
  shifts_.assign(size_t{1} << 16, kMinLength - 1);
  for (size_t i = 0; i < patterns_.size(); ++i) {
    longest_ = std::max(longest_, patterns_[i].size());
    for (size_t last = 1; last < kMinLength; ++last) {
      std::uint8_t& shift = shifts_[blockAt(patterns_[i], last)];
      shift = std::min(shift, static_cast<std::uint8_t>(kMinLength - 1 - last));
    }
    buckets_[blockAt(patterns_[i], kMinLength - 1)].push_back(i);
  }
}

size_t PatternSearch::blockAt(std::string_view text, size_t last) {
  return static_cast<size_t>(static_cast<unsigned char>(text[last - 1])) << 8 |
         static_cast<unsigned char>(text[last]);
}

std::optional<size_t> PatternSearch::matchAt(std::string_view text, size_t last) const {
  const std::string_view rest = text.substr(last + 1 - kMinLength);
  for (const size_t index : buckets_.at(blockAt(text, last))) {
    if (rest.starts_with(patterns_[index])) return index;
  }
  return std::nullopt;
}

std::optional<size_t> PatternSearch::find(std::string_view text) const {
  if (patterns_.empty()) return std::nullopt;
  for (size_t last = kMinLength - 1; last < text.size();) {
    const std::uint8_t shift = shifts_[blockAt(text, last)];
    if (shift == 0) {
      if (const auto match = matchAt(text, last)) return match;
    }
    last += std::max<std::uint8_t>(shift, 1);
  }
  return std::nullopt;
}

SecretGuard::SecretGuard(const std::vector<Secret>& secrets) : search_({}) {
  Patterns patterns = patternsOf(secrets);
  ids_ = std::move(patterns.ids);
  search_ = PatternSearch{std::move(patterns.texts)};
}

std::optional<std::string> SecretGuard::find(std::string_view text) const {
  const auto match = search_.find(text);
  if (!match) return std::nullopt;
  return ids_[*match];
}

std::optional<SecretHit> SecretGuard::findInNames(int folder) const {
  return findInFolder(folder, "/", false);
}

std::optional<SecretHit> SecretGuard::findInTree(int folder) const {
  return findInFolder(folder, "/", true);
}

std::optional<SecretHit> SecretGuard::findInFile(int file, const std::string& path) const {
  SecretStream stream{*this};
  std::vector<std::byte> buffer(kReadSize);
  for (size_t count; !stream.hit() && (count = readFull(file, buffer, path)) > 0;)
    stream.add(path.substr(1), std::span{buffer}.first(count));
  return stream.hit();
}

bool SecretGuard::holdsInXattrs(int fd, std::string& id) const {
  for (const std::string& name : sys::flistxattr(fd)) {
    const auto value = sys::fgetxattr(fd, name);
    const auto found = find(value ? name + '\0' + *value : name);
    if (!found) continue;
    id = *found;
    return true;
  }
  return false;
}

std::optional<SecretHit> SecretGuard::findInFolder(int folder, const std::string& prefix,
                                                   bool withContent) const {
  std::string id;
  for (const fs::Entry& entry : fs::list(folder)) {
    const std::string path = prefix + entry.name;
    // A name that holds a secret must not be told either.
    if (const auto found = find(entry.name)) return SecretHit{prefix, *found};
    if (entry.type == DT_LNK) {
      if (const auto found = find(sys::readlinkat(folder, entry.name)))
        return SecretHit{path, *found};
      continue;
    }
    if (entry.type == DT_REG || isFolder(folder, entry)) {
      const Fd fd = sys::openat(folder, entry.name, O_RDONLY | O_NOFOLLOW);
      if (holdsInXattrs(fd.get(), id)) return SecretHit{path, id};
      auto hit = entry.type != DT_REG ? findInFolder(fd.get(), path + "/", withContent)
                 : withContent        ? findInFile(fd.get(), path)
                                      : std::nullopt;
      if (hit) return hit;
    }
  }
  return std::nullopt;
}

std::optional<SecretHit> SecretGuard::findInEntry(const store::TarEntry& entry) const {
  const size_t base = entry.path.rfind('/') + 1;
  if (const auto found = find(std::string_view{entry.path}.substr(base)))
    return SecretHit{"/" + entry.path.substr(0, base), *found};
  const std::string path = "/" + entry.path;
  if (entry.type == store::TarEntry::Type::symlink) {
    if (const auto found = find(entry.linkTarget)) return SecretHit{path, *found};
  }
  for (const auto& [name, value] : entry.xattrs) {
    if (const auto found = find(name + '\0' + value)) return SecretHit{path, *found};
  }
  return std::nullopt;
}

std::optional<SecretHit> SecretGuard::findInJson(const Json& json, const std::string& place) const {
  if (json.is_string()) {
    const auto found = find(json.get_ref<const std::string&>());
    return found ? std::optional{SecretHit{place, *found}} : std::nullopt;
  }
  if (json.is_object()) {
    for (const auto& [key, value] : json.items()) {
      if (const auto found = find(key)) return SecretHit{place, *found};
      const char* joint = place.ends_with("'s") ? " " : ".";
      if (auto hit = findInJson(value, fmt::format("{}{}{}", place, joint, key))) return hit;
    }
  }
  if (json.is_array()) {
    for (size_t i = 0; i < json.size(); ++i) {
      if (auto hit = findInJson(json[i], fmt::format("{}[{}]", place, i))) return hit;
    }
  }
  return std::nullopt;
}

void SecretStream::add(const std::string& path, std::span<const std::byte> bytes) {
  if (hit_) return;
  if (path != path_) {
    path_ = path;
    tail_.clear();
  }
  const std::string_view text = asText(bytes);
  const size_t overlap = guard_.search_.longest() - 1;
  // What lies across the border to the piece before, then the piece itself.
  auto found = guard_.find(tail_ + std::string{text.substr(0, overlap)});
  if (!found) found = guard_.find(text);
  if (found) {
    hit_ = SecretHit{"/" + path, *found};
    return;
  }
  tail_ += text.substr(text.size() - std::min(text.size(), overlap));
  if (tail_.size() > overlap) tail_.erase(0, tail_.size() - overlap);
}

SecretMask::SecretMask(const std::vector<Secret>& secrets) {
  for (const Secret& secret : secrets) {
    const std::string_view core = coreOf(secret.content);
    if (core.size() >= kMinMasked) values_.emplace_back(core);
  }
  std::sort(values_.begin(), values_.end(),
            [](const std::string& a, const std::string& b) { return a.size() > b.size(); });
}

size_t SecretMask::heldFrom() const {
  const size_t longest = values_.empty() ? 0 : values_.front().size();
  size_t from = pending_.size() - std::min(pending_.size(), longest);
  for (; from < pending_.size(); ++from) {
    const std::string_view rest = std::string_view{pending_}.substr(from);
    const bool isBegin = std::any_of(values_.begin(), values_.end(), [&](const std::string& value) {
      return value.size() > rest.size() && value.starts_with(rest);
    });
    if (isBegin) return from;
  }
  return from;
}

// Gives out what begins before `end`.
std::string SecretMask::maskUpTo(size_t end) {
  std::string out;
  size_t done = 0;
  while (done < end) {
    size_t at = std::string::npos, length = 0;
    for (const std::string& value : values_) {
      const size_t found = pending_.find(value, done);
      if (found >= at) continue;  // longer values come first and win where both begin
      at = found;
      length = value.size();
    }
    if (at >= end) break;
    out.append(pending_, done, at - done);
    out += "***";
    done = at + length;
  }
  if (done < end) {
    out.append(pending_, done, end - done);
    done = end;
  }
  pending_.erase(0, done);
  return out;
}

std::string SecretMask::add(std::string_view bytes) {
  if (values_.empty()) return std::string{bytes};
  pending_ += bytes;
  return maskUpTo(heldFrom());
}

std::string SecretMask::finish() {
  return maskUpTo(pending_.size());
}

std::string withoutSecrets(const std::string& text, const std::vector<Secret>& secrets) {
  SecretMask mask{secrets};
  const std::string begin = mask.add(text);
  return begin + mask.finish();
}

bool holdsSecret(const SecretGuard& guard, const StepCommand& command) {
  const auto holds = [&](const std::string& text) { return guard.find(text).has_value(); };
  return std::any_of(command.argv.begin(), command.argv.end(), holds) ||
         std::any_of(command.env.begin(), command.env.end(), holds);
}

SecretGuard guardOf(const StepOptions& options) {
  if (options.secretGuard == StepOptions::Guard::off) return SecretGuard{{}};
  return SecretGuard{options.secrets};
}

void guardConfig(const store::ImageConfig& config, const StepOptions& options, Progress& progress) {
  const SecretGuard guard = guardOf(options);
  if (guard.isEmpty()) return;
  const Json json = parseJson(store::toJson(config), "the config of the image");
  if (const auto hit = guard.findInJson(json, "the image's")) reportLeak(*hit, options, progress);
}

Error leakError(const SecretHit& hit) {
  Error error = Error::make(Kind::failed, "the new image would hold the secret {}: found in {}",
                            text::quote(hit.id), text::escape(hit.place, 500));
  error.code("secret-leak");
  error.hint(
      "use the secret where it is mounted and do not copy it; --secret-guard=warn or off builds "
      "anyway");
  return error;
}

void reportLeak(const SecretHit& hit, const StepOptions& options, Progress& progress) {
  const Error error = leakError(hit);
  if (options.secretGuard != StepOptions::Guard::warn) throw error;
  progress.warning(error);
}

bool isSecretName(std::string_view name) {
  static constexpr std::array<std::string_view, 10> kSecret{
      "apikey",   "auth",  "credential", "credentials", "key",
      "password", "pword", "passwd",     "secret",      "token"};
  static constexpr std::array<std::string_view, 3> kHarmless{"public", "file", "version"};
  bool isSecret = false;
  for (const std::string& word : text::split(text::lower(name), '_')) {
    if (std::find(kHarmless.begin(), kHarmless.end(), word) != kHarmless.end()) return false;
    isSecret = isSecret || std::find(kSecret.begin(), kSecret.end(), word) != kSecret.end();
  }
  return isSecret;
}

}  // namespace img::builder
