#include "distribution/registries_conf.h"

#include <fcntl.h>
#include <toml++/toml.h>

#include <algorithm>
#include <optional>

#include "base/environment.h"
#include "base/error.h"
#include "base/fs.h"
#include "base/sys.h"
#include "base/text.h"

namespace img::distribution {
namespace {

constexpr size_t kMaxFile = size_t{4} << 20;
constexpr char kSystemFolder[] = "/etc/containers";
constexpr char kFileName[] = "registries.conf";

[[noreturn]] void fail(const std::string& origin, unsigned line, std::string_view problem) {
  throw Error::make(Kind::usage, "{}:{}: {}", origin, line, problem).code("bad-registries-conf");
}

// Reads one table's keys; those we do not know belong to other programs.
class TableReader {
 public:
  TableReader(const toml::table& table, const std::string& origin)
      : table_(table), origin_(origin) {}

  [[nodiscard]] std::string text(const char* key) const {
    const toml::node* node = table_.get(key);
    if (node == nullptr) return {};
    if (const auto value = node->value_exact<std::string>()) return *value;
    fail(origin_, node->source().begin.line, fmt::format("{} must be a string", key));
  }
  [[nodiscard]] bool flag(const char* key) const {
    const toml::node* node = table_.get(key);
    if (node == nullptr) return false;
    if (const auto value = node->value_exact<bool>()) return *value;
    fail(origin_, node->source().begin.line, fmt::format("{} must be true or false", key));
  }
  // The tables of [[KEY]].
  [[nodiscard]] std::vector<const toml::table*> tables(const char* key) const {
    std::vector<const toml::table*> found;
    const toml::node* node = table_.get(key);
    if (node == nullptr) return found;
    const toml::array* array = node->as_array();
    if (array == nullptr)
      fail(origin_, node->source().begin.line, fmt::format("{} must be [[{}]]", key, key));
    for (const toml::node& entry : *array) {
      if (!entry.is_table())
        fail(origin_, entry.source().begin.line, fmt::format("{} must be [[{}]]", key, key));
      found.push_back(entry.as_table());
    }
    return found;
  }
  [[nodiscard]] unsigned line() const { return table_.source().begin.line; }
  [[noreturn]] void refuse(std::string_view problem) const { fail(origin_, line(), problem); }

 private:
  const toml::table& table_;
  const std::string& origin_;
};

std::string withoutSlashes(std::string location) {
  while (location.ends_with('/')) location.pop_back();
  return location;
}

MirrorRule readMirror(const TableReader& table, bool isByDigestOnly) {
  MirrorRule mirror;
  mirror.location = withoutSlashes(table.text("location"));
  if (mirror.location.empty()) table.refuse("a mirror needs a location");
  mirror.isInsecure = table.flag("insecure");
  const std::string when = table.text("pull-from-mirror");
  if (!when.empty() && when != "all" && when != "digest-only" && when != "tag-only")
    table.refuse("pull-from-mirror must be all, digest-only or tag-only");
  mirror.servesTags = when != "digest-only" && !(when.empty() && isByDigestOnly);
  mirror.servesDigests = when != "tag-only";
  return mirror;
}

RegistryRule readRule(const TableReader& table, const std::string& origin) {
  RegistryRule rule;
  rule.location = withoutSlashes(table.text("location"));
  rule.prefix = withoutSlashes(table.text("prefix"));
  if (rule.prefix.empty()) rule.prefix = rule.location;
  if (rule.prefix.empty()) table.refuse("a registry needs a location or a prefix");
  const bool isWildcard = rule.prefix.starts_with("*.");
  if (rule.prefix.find('*', isWildcard ? 1 : 0) != std::string::npos)
    table.refuse("a prefix may begin with \"*.\" and have no other asterisk");
  // containers-registries.conf.5: only a wildcard prefix may leave the location out.
  if (rule.location.empty() && !isWildcard) rule.location = rule.prefix;
  rule.isInsecure = table.flag("insecure");
  rule.isBlocked = table.flag("blocked");
  rule.origin = fmt::format("{}:{}", origin, table.line());
  const bool isByDigestOnly = table.flag("mirror-by-digest-only");
  for (const toml::table* mirror : table.tables("mirror"))
    rule.mirrors.push_back(readMirror(TableReader{*mirror, origin}, isByDigestOnly));
  return rule;
}

void merge(std::vector<RegistryRule>& into, std::vector<RegistryRule> rules) {
  for (RegistryRule& rule : rules) {
    const auto old = std::find_if(into.begin(), into.end(), [&](const RegistryRule& other) {
      return other.prefix == rule.prefix;
    });
    if (old == into.end()) {
      into.push_back(std::move(rule));
    } else {
      *old = std::move(rule);
    }
  }
}

bool mergeFile(std::vector<RegistryRule>& into, const std::string& path) {
  const auto text = fs::tryReadFile(AT_FDCWD, path, kMaxFile);
  if (text) merge(into, parseRegistriesConf(*text, path));
  return text.has_value();
}

void mergeFolder(std::vector<RegistryRule>& into, const std::string& path) {
  const auto folder = sys::tryOpenat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY);
  if (!folder) return;
  for (const fs::Entry& entry : fs::listSorted(folder->get())) {
    if (entry.name.ends_with(".conf")) mergeFile(into, path + "/" + entry.name);
  }
}

std::string userFolder() {
  const std::string given = variableOrEmpty("XDG_CONFIG_HOME");
  if (!given.empty()) return given + "/containers";
  const std::string home = variableOrEmpty("HOME");
  return home.empty() ? std::string{} : home + "/.config/containers";
}

// The length of what the prefix matches at the beginning of "HOST/PATH"; 0: it does not.
size_t matchedLength(const std::string& prefix, const store::Reference& reference) {
  const std::string name = reference.repository();
  size_t length = prefix.size();
  if (prefix.starts_with("*.")) {
    const size_t slash = std::min(prefix.find('/'), prefix.size());
    const std::string domain = prefix.substr(1, slash - 1);  // ".example.com"
    if (!reference.host.ends_with(domain) || reference.host.size() == domain.size()) return 0;
    const std::string path = prefix.substr(slash);
    if (name.compare(reference.host.size(), path.size(), path) != 0) return 0;
    length = reference.host.size() + path.size();
  } else if (!name.starts_with(prefix)) {
    return 0;
  }
  return length == name.size() || name[length] == '/' ? length : 0;
}

}  // namespace

std::vector<RegistryRule> parseRegistriesConf(std::string_view text, const std::string& origin) {
  std::vector<RegistryRule> rules;
  try {
    const toml::table document = toml::parse(text, std::string_view{origin});
    for (const toml::table* table : TableReader{document, origin}.tables("registry"))
      merge(rules, {readRule(TableReader{*table, origin}, origin)});
  } catch (const toml::parse_error& error) {
    fail(origin, error.source().begin.line, text::escape(error.description()));
  }
  return rules;
}

std::vector<RegistryRule> readRegistriesConf() {
  std::vector<RegistryRule> rules;
  if (const std::string given = variableOrEmpty("CONTAINERS_REGISTRIES_CONF"); !given.empty()) {
    if (!mergeFile(rules, given)) {
      throw Error::make(Kind::usage, "CONTAINERS_REGISTRIES_CONF: there is no file {}",
                        text::quote(given));
    }
    return rules;
  }
  const std::string user = userFolder();
  const std::string system = kSystemFolder;
  if (user.empty() || !mergeFile(rules, user + "/" + kFileName))
    mergeFile(rules, system + "/" + kFileName);
  mergeFolder(rules, system + "/" + kFileName + ".d");
  if (!user.empty()) mergeFolder(rules, user + "/" + kFileName + ".d");
  return rules;
}

const RegistryRule* findRule(const std::vector<RegistryRule>& rules,
                             const store::Reference& reference) {
  const RegistryRule* best = nullptr;
  for (const RegistryRule& rule : rules) {
    if (matchedLength(rule.prefix, reference) == 0) continue;
    if (best == nullptr || rule.prefix.size() > best->prefix.size()) best = &rule;
  }
  return best;
}

Place placeAt(const RegistryRule& rule, const std::string& location,
              const store::Reference& reference) {
  if (location.empty()) return {reference.host, reference.path};
  const std::string name =
      location + reference.repository().substr(matchedLength(rule.prefix, reference));
  const size_t slash = name.find('/');
  if (slash == std::string::npos) return {name, {}};
  return {name.substr(0, slash), name.substr(slash + 1)};
}

}  // namespace img::distribution
