#include "registry/http.h"

#include <fcntl.h>

#include <cstdlib>

#include "base/environment.h"
#include "base/fs.h"
#include "base/text.h"

namespace img::registry {

std::string HttpAnswer::header(const std::string& name) const {
  const auto found = headers.find(name);
  return found == headers.end() ? "" : found->second;
}

std::string readTrust() {
  const std::string file = variableOrEmpty("SSL_CERT_FILE");
  if (file.empty()) return {};
  return fs::readFile(AT_FDCWD, file);
}

void normaliseProxyVariables() {
  for (const char* upper : {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"}) {
    const auto value = findVariable(upper);
    // NOLINTNEXTLINE(concurrency-mt-unsafe): one thread
    if (value) ::setenv(text::lower(upper).c_str(), value->c_str(), 0);
  }
}

}  // namespace img::registry
