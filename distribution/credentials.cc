#include "distribution/credentials.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>

#include "base/environment.h"
#include "base/error.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/sys.h"
#include "base/text.h"
#include "distribution/auth_document.h"
#include "distribution/credential_helper.h"

namespace img::distribution {
namespace {

constexpr size_t kMaxFile = size_t{4} << 20;

std::string below(const std::string& folder, const std::string& name) {
  return folder.empty() ? std::string{} : folder + "/" + name;
}

std::string configFolder() {
  if (std::string given = variableOrEmpty("XDG_CONFIG_HOME"); !given.empty()) return given;
  return below(variableOrEmpty("HOME"), ".config");
}

std::string dockerFile() {
  if (const std::string given = variableOrEmpty("DOCKER_CONFIG"); !given.empty())
    return given + "/config.json";
  return below(variableOrEmpty("HOME"), ".docker/config.json");
}

// In the order they are asked in; "" where a variable is not set.
std::vector<std::string> usualFiles() {
  return {variableOrEmpty("REGISTRY_AUTH_FILE"),
          below(variableOrEmpty("XDG_RUNTIME_DIR"), "containers/auth.json"),
          below(configFolder(), "containers/auth.json"), dockerFile()};
}

void warnIfOthersCanRead(const Fd& file, const std::string& path) {
  static std::set<std::string> told;  // once per file; endpoints are looked up by one thread
  const mode_t mode = sys::fstat(file.get()).st_mode;
  if ((mode & (S_IRGRP | S_IROTH)) == 0 || !told.insert(path).second) return;
  log::warn("{} holds credentials and others can read it (mode {:04o}): chmod 600 {}", path,
            mode & 07777, path);
}

bool holdsSecrets(const Json& document) {
  const auto auths = document.find("auths");
  if (auths == document.end() || !auths->is_object()) return false;
  for (const auto& entry : *auths) {
    if (entry.is_object() && !entry.empty()) return true;
  }
  return false;
}

std::optional<Credentials> findInDocument(const Json& document, const std::string& origin,
                                          const std::string& host, const std::string& path) try {
  const HelperChoice helper = findHelper(document, host);
  if (!helper.name.empty()) {
    auto found = getFromHelper(helper.name, serverKey(host));
    // Who names a helper for one host means no other place in this file.
    if (found || helper.isForHost) return found;
  }
  auto found = findPlainEntry(document, host, path);
  if (found) found->source = origin;
  return found;
} catch (Error& error) {
  error.during("looking for the credentials of {} in {}", host, origin);
  throw;
}

// nullopt: there is no such file, or nothing in it for the host.
std::optional<Credentials> findInFile(const std::string& file, const std::string& host,
                                      const std::string& path) {
  if (file.empty()) return std::nullopt;
  const auto opened = sys::tryOpenat(AT_FDCWD, file, O_RDONLY);
  if (!opened) return std::nullopt;
  const std::string text = readAll(opened->get(), file, kMaxFile);
  const Json document = parseAuthDocument(text, file);
  if (holdsSecrets(document)) warnIfOthersCanRead(*opened, file);
  return findInDocument(document, file, host, path);
}

Json readDocument(const std::string& file) {
  const auto text = fs::tryReadFile(AT_FDCWD, file, kMaxFile);
  return parseAuthDocument(text.value_or(""), file);
}

// People keep their settings elsewhere and link them into place: the link stays.
std::string targetOf(const std::string& file) {
  const std::unique_ptr<char, decltype(&std::free)> real{::realpath(file.c_str(), nullptr),
                                                         &std::free};
  return real ? std::string{real.get()} : file;
}

void writeDocument(const std::string& file, const Json& document) {
  const size_t slash = file.rfind('/');
  if (slash != std::string::npos && slash > 0) {
    const std::string folder = file.substr(0, slash);
    if (!sys::tryOpenat(AT_FDCWD, folder, O_PATH | O_DIRECTORY))
      static_cast<void>(fs::makeDirs(AT_FDCWD, folder, 0700));
  }
  fs::replaceFile(AT_FDCWD, targetOf(file),
                  document.dump(8, ' ', false, Json::error_handler_t::replace), 0600,
                  fs::Sync::data);
}

std::string encode(const Credentials& credentials) {
  return text::base64(credentials.username + ":" + credentials.password);
}

}  // namespace

std::optional<Credentials> findInAuthFile(std::string_view text, const std::string& origin,
                                          const std::string& host, const std::string& path) {
  return findInDocument(parseAuthDocument(text, origin), origin, canonicalHost(host), path);
}

Credentials findStoredCredentials(const std::string& host, const std::string& path,
                                  const AccessOptions& options) {
  const std::string canonical = canonicalHost(host);
  if (!options.authFile.empty()) {
    if (!sys::tryOpenat(AT_FDCWD, options.authFile, O_PATH)) {
      throw Error::make(Kind::usage, "--authfile: there is no file {}",
                        text::quote(options.authFile));
    }
    return findInFile(options.authFile, canonical, path).value_or(Credentials{});
  }
  for (const std::string& file : usualFiles()) {
    if (auto found = findInFile(file, canonical, path)) return *found;
  }
  const std::string inVariable = variableOrEmpty("DOCKER_AUTH_CONFIG");
  return findInAuthFile(inVariable, "DOCKER_AUTH_CONFIG", canonical, path).value_or(Credentials{});
}

Credentials findCredentials(const std::string& host, const std::string& path,
                            const AccessOptions& options) {
  if (options.credentials.empty()) return findStoredCredentials(host, path, options);
  const size_t colon = options.credentials.find(':');
  if (colon == std::string::npos || colon == 0) {
    throw Error{Kind::usage, "--creds wants USER:PASSWORD"}.hint(
        "img login keeps a password out of the list of processes");
  }
  Credentials credentials;
  credentials.username = options.credentials.substr(0, colon);
  credentials.password = options.credentials.substr(colon + 1);
  credentials.source = "--creds";
  return credentials;
}

std::string loginFile(const AccessOptions& options) {
  if (!options.authFile.empty()) return options.authFile;
  if (std::string given = variableOrEmpty("REGISTRY_AUTH_FILE"); !given.empty()) return given;
  if (std::string file = dockerFile(); !file.empty()) return file;
  throw Error{Kind::usage, "there is no place for credentials: HOME is not set"}.hint(
      "--authfile FILE");
}

void storeCredentials(const std::string& file, const std::string& host,
                      const Credentials& credentials) {
  const std::string canonical = canonicalHost(host);
  Json document = readDocument(file);
  const HelperChoice helper = findHelper(document, canonical);
  Json entry = Json::object();
  if (!helper.name.empty()) {
    storeWithHelper(helper.name, serverKey(canonical), credentials);
  } else if (!credentials.identityToken.empty()) {
    entry["identitytoken"] = credentials.identityToken;
  } else {
    entry["auth"] = encode(credentials);
  }
  const std::string key = serverKey(canonical);
  Json& auths = document["auths"];
  if (!auths.is_object()) auths = Json::object();
  // Older spellings of the same host would still be found beside the new entry.
  for (const std::string& old : keysOf(document, canonical)) auths.erase(old);
  auths[key] = std::move(entry);
  writeDocument(file, document);
}

bool eraseCredentials(const std::string& file, const std::string& host) {
  const std::string canonical = canonicalHost(host);
  Json document = readDocument(file);
  const HelperChoice helper = findHelper(document, canonical);
  const auto keys = keysOf(document, canonical);
  const bool wasWithHelper =
      !helper.name.empty() && getFromHelper(helper.name, serverKey(canonical)).has_value();
  if (wasWithHelper) eraseWithHelper(helper.name, serverKey(canonical));
  for (const std::string& key : keys) document["auths"].erase(key);
  if (!keys.empty()) writeDocument(file, document);
  return wasWithHelper || !keys.empty();
}

void eraseAllCredentials(const std::string& file) {
  Json document = readDocument(file);
  const auto auths = document.find("auths");
  if (auths == document.end()) return;
  for (const auto& [key, entry] : auths->items()) {
    const size_t scheme = key.find("://");
    const std::string rest = scheme == std::string::npos ? key : key.substr(scheme + 3);
    const std::string host = canonicalHost(rest.substr(0, rest.find('/')));
    const HelperChoice helper = findHelper(document, host);
    if (!helper.name.empty()) eraseWithHelper(helper.name, serverKey(host));
  }
  *auths = Json::object();
  writeDocument(file, document);
}

}  // namespace img::distribution
