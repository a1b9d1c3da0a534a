#include "distribution/certificates.h"

#include <fcntl.h>

#include <optional>
#include <vector>

#include "base/environment.h"
#include "base/error.h"
#include "base/fs.h"
#include "base/sys.h"
#include "base/text.h"

namespace img::distribution {
namespace {

constexpr size_t kMaxFile = size_t{1} << 20;

std::vector<std::string> foldersOf(const std::string& host) {
  std::vector<std::string> folders;
  std::string config = variableOrEmpty("XDG_CONFIG_HOME");
  const std::string home = variableOrEmpty("HOME");
  if (config.empty() && !home.empty()) config = home + "/.config";
  if (!config.empty()) folders.push_back(config + "/containers/certs.d/" + host);
  folders.push_back("/etc/containers/certs.d/" + host);
  folders.push_back("/etc/docker/certs.d/" + host);
  return folders;
}

std::string read(const Fd& folder, const std::string& path, const std::string& name) {
  auto text = fs::tryReadFile(folder.get(), name, kMaxFile);
  if (!text) throw Error::make(Kind::usage, "{}/{}: there is no such file", path, name);
  if (!text->ends_with('\n')) *text += '\n';
  return *std::move(text);
}

std::string partner(const std::string& name, std::string_view from, std::string_view to) {
  return name.substr(0, name.size() - from.size()) + std::string{to};
}

bool hasFile(const Fd& folder, const std::string& name) {
  return sys::tryOpenat(folder.get(), name, O_PATH).has_value();
}

Certificates readFolder(const Fd& folder, const std::string& path) {
  Certificates found;
  for (const fs::Entry& entry : fs::listSorted(folder.get())) {
    if (entry.name.ends_with(".crt")) {
      found.authorities += read(folder, path, entry.name);
    } else if (entry.name.ends_with(".cert")) {
      const std::string key = partner(entry.name, ".cert", ".key");
      if (!hasFile(folder, key)) {
        throw Error::make(Kind::usage, "{}/{}: there is no key {} for it", path, entry.name, key)
            .hint("files that end with .crt are authorities, .cert and .key are a client's pair");
      }
      if (!found.certificate.empty()) continue;
      found.certificate = read(folder, path, entry.name);
      found.key = read(folder, path, key);
    } else if (entry.name.ends_with(".key") &&
               !hasFile(folder, partner(entry.name, ".key", ".cert"))) {
      throw Error::make(Kind::usage, "{}/{}: there is no certificate {} for it", path, entry.name,
                        partner(entry.name, ".key", ".cert"));
    }
  }
  return found;
}

}  // namespace

Certificates readCertificates(const std::string& host, const std::string& certDir) {
  if (!certDir.empty()) {
    const auto folder = sys::tryOpenat(AT_FDCWD, certDir, O_RDONLY | O_DIRECTORY);
    if (!folder)
      throw Error::make(Kind::usage, "--cert-dir: there is no folder {}", text::quote(certDir));
    return readFolder(*folder, certDir);
  }
  for (const std::string& path : foldersOf(host)) {
    if (const auto folder = sys::tryOpenat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY))
      return readFolder(*folder, path);
  }
  return {};
}

}  // namespace img::distribution
