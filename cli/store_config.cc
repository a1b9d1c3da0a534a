#include "cli/store_config.h"

#include <fcntl.h>
#include <toml++/toml.h>

#include "base/environment.h"
#include "base/fs.h"
#include "base/text.h"
#include "cli/values.h"

namespace img::cli {
namespace {

constexpr char kSystemFile[] = "/etc/img/config.toml";
constexpr int kDefaultPercent = 10;
constexpr std::uint64_t kDefaultAtMost = std::uint64_t{10} << 30;

void setReserve(store::SpaceLimits& limits, const std::string& text, const std::string& what) {
  limits.reservePercent = 0;
  limits.reserveBytes.reset();
  if (!text.ends_with('%')) {
    limits.reserveBytes = static_cast<std::uint64_t>(parseSize(text, what));
    return;
  }
  const auto percent = text::parseUnsigned(text.substr(0, text.size() - 1));
  if (!percent || *percent > 99)
    throw Error::make(Kind::usage, "{}: {} is no share of a disk", what, text::quote(text));
  limits.reservePercent = static_cast<int>(*percent);
}

void setMaxSize(store::SpaceLimits& limits, const std::string& text, const std::string& what) {
  limits.maxSize = static_cast<std::uint64_t>(parseSize(text, what));
}

void readTable(const toml::table& table, const std::string& file, StoreConfig& config) {
  for (const auto& [key, value] : table) {
    const std::string name{key.str()};
    const std::string place = fmt::format("{}:{}", file, value.source().begin.line);
    const std::string what = fmt::format("{}: {}", place, name);
    // Numbers may stand without quotes.
    std::string text = value.value<std::string>().value_or("");
    if (const auto* number = value.as_integer()) text = std::to_string(number->get());
    if (name == "max-size") {
      setMaxSize(config.limits, text, what);
    } else if (name == "reserve") {
      setReserve(config.limits, text, what);
    } else {
      config.warnings.push_back(
          Error::make(Kind::usage, "{}: unknown key {} in [store]", place, text::quote(name))
              .hint("the keys are max-size and reserve"));
    }
  }
}

void readFile(const std::string& file, StoreConfig& config) {
  const auto text = fs::tryReadFile(AT_FDCWD, file, size_t{1} << 20);
  if (!text) return;
  try {
    const toml::table document = toml::parse(*text, std::string_view{file});
    if (const toml::table* table = document["store"].as_table()) readTable(*table, file, config);
  } catch (const toml::parse_error& error) {
    throw Error::make(Kind::usage, "{}:{}: {}", file, error.source().begin.line,
                      error.description());
  }
}

}  // namespace

StoreConfig readStoreConfig(const std::vector<std::string>& files) {
  StoreConfig config;
  config.limits.reservePercent = kDefaultPercent;
  config.limits.reserveBytes = kDefaultAtMost;
  for (const std::string& file : files) readFile(file, config);
  if (const std::string text = variableOrEmpty("IMG_STORE_MAX_SIZE"); !text.empty())
    setMaxSize(config.limits, text, "IMG_STORE_MAX_SIZE");
  if (const std::string text = variableOrEmpty("IMG_STORE_RESERVE"); !text.empty())
    setReserve(config.limits, text, "IMG_STORE_RESERVE");
  return config;
}

store::SpaceLimits storeLimits(Context& context) {
  std::vector<std::string> files;
  if (const std::string only = variableOrEmpty("IMG_CONFIG"); !only.empty()) {
    files = {only};
  } else {
    files = {kSystemFile};
    const std::string folder = variableOrEmpty("XDG_CONFIG_HOME");
    const std::string home = variableOrEmpty("HOME");
    if (folder.starts_with('/')) {
      files.push_back(folder + "/img/config.toml");
    } else if (!home.empty()) {
      files.push_back(home + "/.config/img/config.toml");
    }
  }
  const StoreConfig config = readStoreConfig(files);
  for (const Error& warning : config.warnings) context.warn(warning);
  return config.limits;
}

}  // namespace img::cli
