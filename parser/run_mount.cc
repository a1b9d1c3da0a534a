// RUN --mount (dockerfile.md 3.6), declared in value_checks.h. All options are read before any of
// them is judged, so that their order does not matter (Q15).
#include <array>
#include <limits>
#include <utility>

#include "base/text.h"
#include "parser/chars.h"
#include "parser/fault.h"
#include "parser/paths.h"
#include "parser/value_checks.h"

namespace img::parser {
namespace {

using Type = RunMount::Type;

constexpr unsigned bit(Type type) {
  return 1u << static_cast<unsigned>(type);
}
constexpr unsigned kBind = bit(Type::bind);
constexpr unsigned kCache = bit(Type::cache);
constexpr unsigned kTmpfs = bit(Type::tmpfs);
constexpr unsigned kSecret = bit(Type::secret);
constexpr unsigned kSsh = bit(Type::ssh);
constexpr unsigned kAllTypes = kBind | kCache | kTmpfs | kSecret | kSsh;

enum class Option {
  type,
  target,
  source,
  from,
  readOnly,
  readWrite,
  id,
  sharing,
  size,
  mode,
  uid,
  gid,
  required,
  env,
};

struct OptionName {
  std::string_view name;
  Option option;
  unsigned types;
};

// A tmpfs may carry source and from; they mean nothing there.
constexpr std::array<OptionName, 19> kOptions{{
    {"type", Option::type, kAllTypes},
    {"target", Option::target, kAllTypes},
    {"dst", Option::target, kAllTypes},
    {"destination", Option::target, kAllTypes},
    {"source", Option::source, kBind | kCache | kTmpfs | kSecret},
    {"src", Option::source, kBind | kCache | kTmpfs | kSecret},
    {"from", Option::from, kBind | kCache | kTmpfs},
    {"readonly", Option::readOnly, kBind | kCache | kTmpfs},
    {"ro", Option::readOnly, kBind | kCache | kTmpfs},
    {"readwrite", Option::readWrite, kBind | kCache | kTmpfs},
    {"rw", Option::readWrite, kBind | kCache | kTmpfs},
    {"id", Option::id, kCache | kSecret | kSsh},
    {"sharing", Option::sharing, kAllTypes},  // has a message of its own
    {"size", Option::size, kTmpfs},
    {"mode", Option::mode, kCache | kSecret | kSsh},
    {"uid", Option::uid, kCache | kSecret | kSsh},
    {"gid", Option::gid, kCache | kSecret | kSsh},
    {"required", Option::required, kSecret | kSsh},
    {"env", Option::env, kSecret},
}};

constexpr std::array<std::string_view, 5> kTypeNames{"bind", "cache", "tmpfs", "secret", "ssh"};
constexpr std::array<std::string_view, 3> kSharingNames{"shared", "private", "locked"};

template <class Names>
Error unknown(std::string_view what, std::string_view word, const Names& names) {
  Error error = badValue(fmt::format("unknown {} {}", what, text::quote(word)));
  const auto near = word.empty() ? std::nullopt : text::suggest(word, {names.begin(), names.end()});
  if (near) error.hint(didYouMean(*near));
  return error;
}

struct Setting {
  const OptionName* option;
  std::optional<std::string> value;
};

// Bytes, or a number with k, m, g, t (powers of 1024) and an optional b or ib.
std::optional<std::uint64_t> parseSize(std::string_view written) {
  std::string lower = text::lower(written);
  std::string_view number = lower;
  if (number.ends_with("ib")) {
    number.remove_suffix(2);
  } else if (number.ends_with("b")) {
    number.remove_suffix(1);
  }
  constexpr std::string_view kUnits = "kmgt";
  unsigned shift = 0;
  if (!number.empty() && kUnits.find(number.back()) != std::string_view::npos) {
    shift = 10 * static_cast<unsigned>(kUnits.find(number.back()) + 1);
    number.remove_suffix(1);
  } else if (lower.ends_with("ib")) {
    return std::nullopt;
  }
  const auto value = text::parseUnsigned(trimSpace(number));
  if (!value || *value > (std::numeric_limits<std::uint64_t>::max() >> 1 >> shift))
    return std::nullopt;
  return *value << shift;
}

// 2.6: a `$` other than as the last character.
bool hasVariable(std::string_view from) {
  return from.substr(0, from.empty() ? 0 : from.size() - 1).find('$') != std::string_view::npos;
}

class MountParser {
 public:
  explicit MountParser(const ExpandValue& expandValue) : expandValue_(expandValue) {}

  RunMount run(std::string_view text) {
    const auto fields = splitCsv(text);
    if (!fields) throw badValue("bad quoting in mount " + text::quote(text));
    for (const std::string& field : *fields) readField(field);
    for (const Setting& setting : settings_) {
      if (setting.option->option == Option::type) setType(*setting.value);
    }
    mount_.readOnly = mount_.type != Type::cache && mount_.type != Type::tmpfs;
    for (const Setting& setting : settings_) apply(setting);
    finish();
    return std::move(mount_);
  }

 private:
  void readField(const std::string& field) {
    const size_t equals = field.find('=');
    const std::string key = text::lower(std::string_view{field}.substr(0, equals));
    const OptionName* found = nullptr;
    for (const OptionName& option : kOptions) {
      if (option.name == key) found = &option;
    }
    if (equals == std::string::npos) {
      const bool mayBeBare = found != nullptr && (found->option == Option::readOnly ||
                                                  found->option == Option::readWrite ||
                                                  found->option == Option::required);
      if (!mayBeBare)
        throw badValue(fmt::format("mount option {} needs a value", text::quote(field)));
      settings_.push_back({found, std::nullopt});
      return;
    }
    if (found == nullptr) {
      std::vector<std::string_view> names;
      names.reserve(kOptions.size());
      for (const OptionName& option : kOptions) names.push_back(option.name);
      throw unknown("mount option", key, names);
    }
    std::string value = field.substr(equals + 1);
    if (found->option == Option::from) {
      checkFrom(value);
    } else if (expandValue_) {
      value = expandValue_(value);
    }
    settings_.push_back({found, std::move(value)});
  }

  static void checkFrom(std::string_view value) {
    if (hasVariable(value))
      throw badValue("mount option from does not take variables; use a stage alias");
  }

  void setType(std::string_view value) {
    const std::string name = text::lower(value);
    for (size_t i = 0; i < kTypeNames.size(); ++i) {
      if (kTypeNames[i] != name) continue;
      mount_.type = static_cast<Type>(i);
      return;
    }
    throw unknown("mount type", value, kTypeNames);
  }

  void apply(const Setting& setting) {
    const std::string_view name = setting.option->name;
    if ((setting.option->types & bit(mount_.type)) == 0) {
      throw badValue(fmt::format("mount option {} is not valid for type {}", text::quote(name),
                                 text::quote(mountTypeName(mount_.type))));
    }
    const std::string value = setting.value.value_or("true");
    const auto orBad = [&](auto parsed) {
      if (!parsed) {
        throw badValue(
            fmt::format("mount option {}: bad value {}", text::quote(name), text::quote(value)));
      }
      return *parsed;
    };
    switch (setting.option->option) {
      case Option::type: break;
      case Option::target: mount_.target = value; break;
      case Option::source: mount_.source = value; break;
      case Option::from: mount_.from = value; break;
      case Option::readOnly: mount_.readOnly = orBad(parseBool(value)); break;
      case Option::readWrite: mount_.readOnly = !orBad(parseBool(value)); break;
      case Option::id: mount_.id = value; break;
      case Option::sharing: setSharing(value); break;
      case Option::size: mount_.size = orBad(parseSize(value)); break;
      case Option::mode: mount_.mode = orBad(parseNumber(value, 8, 07777)); break;
      case Option::uid: mount_.uid = orBad(parseNumber(value, 10, kMaxId)); break;
      case Option::gid: mount_.gid = orBad(parseNumber(value, 10, kMaxId)); break;
      case Option::required: mount_.required = orBad(parseBool(value)); break;
      case Option::env: mount_.env = value; break;
    }
  }

  // (uid_t)-1 means "no change" to chown(2), so it is no id.
  static constexpr std::uint32_t kMaxId = std::numeric_limits<std::uint32_t>::max() - 1;

  static std::optional<std::uint32_t> parseNumber(std::string_view digits, unsigned base,
                                                  std::uint32_t max) {
    if (digits.empty() || digits.size() > 12) return std::nullopt;
    std::uint64_t value = 0;
    for (const char c : digits) {
      if (!isDigit(c) || static_cast<unsigned>(c - '0') >= base) return std::nullopt;
      value = value * base + static_cast<unsigned>(c - '0');
    }
    if (value > max) return std::nullopt;
    return static_cast<std::uint32_t>(value);
  }

  void setSharing(std::string_view value) {
    if (mount_.type != Type::cache) throw badValue("sharing is only valid for cache mounts");
    const std::string name = text::lower(value);
    for (size_t i = 0; i < kSharingNames.size(); ++i) {
      if (kSharingNames[i] != name) continue;
      mount_.sharing = static_cast<RunMount::Sharing>(i);
      return;
    }
    throw unknown("sharing mode", value, kSharingNames);
  }

  // Defaults, and what must be there.
  void finish() {
    const bool needsTarget = mount_.type != Type::secret && mount_.type != Type::ssh;
    if (needsTarget && mount_.target.empty()) {
      throw badValue(
          fmt::format("mount of type {} needs a target", text::quote(mountTypeName(mount_.type))));
    }
    if (!mount_.target.empty() && cleanPath(mount_.target) == "/")
      throw badValue("cannot mount over /");
    if (mount_.type == Type::cache && mount_.id.empty()) mount_.id = cleanPath(mount_.target);
    if (mount_.type == Type::ssh && mount_.id.empty()) mount_.id = "default";
    if (mount_.type == Type::secret) finishSecret();
  }

  void finishSecret() {
    if (!mount_.id.empty() && !mount_.source.empty()) {
      throw badValue("mount options \"id\" and \"source\" both name the secret; use one");
    }
    if (mount_.id.empty()) mount_.id = std::exchange(mount_.source, {});
    if (mount_.id.empty() && mount_.target.empty())
      throw badValue("secret mount needs id or target");
    if (mount_.id.empty()) {
      const std::string path = cleanPath(mount_.target);
      mount_.id = path.substr(path.rfind('/') + 1);
    }
  }

  const ExpandValue& expandValue_;
  std::vector<Setting> settings_;
  RunMount mount_;
};

}  // namespace

std::string_view mountTypeName(RunMount::Type type) {
  return kTypeNames[static_cast<size_t>(type)];
}

RunMount parseRunMount(std::string_view text, const ExpandValue& expandValue) {
  return MountParser{expandValue}.run(text);
}

std::string runMountFrom(std::string_view text) {
  std::string from;
  for (const std::string& field : splitCsv(text).value_or(std::vector<std::string>{})) {
    const size_t equals = field.find('=');
    if (equals != std::string::npos && text::lower(field.substr(0, equals)) == "from")
      from = field.substr(equals + 1);
  }
  return hasVariable(from) ? std::string{} : from;
}

std::optional<std::vector<std::string>> splitCsv(std::string_view text) {
  std::vector<std::string> fields;
  if (text.empty()) return fields;
  for (size_t pos = 0;;) {
    std::string field;
    if (pos < text.size() && text[pos] == '"') {
      for (++pos;; ++pos) {
        if (pos >= text.size()) return std::nullopt;
        if (text[pos] == '"' && text.substr(pos + 1, 1) != "\"") break;
        if (text[pos] == '"') ++pos;
        field.push_back(text[pos]);
      }
      if (++pos < text.size() && text[pos] != ',') return std::nullopt;
    } else {
      const size_t end = std::min(text.find(',', pos), text.size());
      field = std::string{text.substr(pos, end - pos)};
      if (field.find('"') != std::string::npos) return std::nullopt;
      pos = end;
    }
    fields.push_back(std::move(field));
    if (pos >= text.size()) return fields;
    ++pos;  // the comma
  }
}

}  // namespace img::parser
