#include "distribution/remote_program.h"

#include <fcntl.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "base/environment.h"
#include "base/error.h"
#include "base/process.h"
#include "base/sys.h"
#include "base/text.h"

namespace img::distribution {
namespace {

// Beside our own binary, as it was when we were started.
std::string programPath() {
  if (std::string given = variableOrEmpty("IMG_REMOTE"); !given.empty()) return given;
  const std::string self = sys::readlinkat(AT_FDCWD, "/proc/self/exe");
  return self.substr(0, self.rfind('/') + 1) + "img-remote";
}

}  // namespace

std::string remoteProgramPath() {
  std::string path = programPath();
  if (::access(path.c_str(), X_OK) == 0) return path;
  throw Error{Kind::unsupported, "remote sources are not available in this build"}
      .code("no-remote")
      .why(fmt::format("there is no program {}", text::quote(path)))
      .hint("install img-remote beside img, or name it with IMG_REMOTE");
}

std::vector<std::string> networkEnvironment() {
  std::vector<std::string> environment;
  for (const char* name :
       {"http_proxy", "https_proxy", "all_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY",
        "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR", "RES_OPTIONS", "LOCALDOMAIN"}) {
    if (const auto value = findVariable(name))
      environment.push_back(fmt::format("{}={}", name, *value));
  }
  return environment;
}

Json callRemote(const std::string& command, const Json& request, int body) {
  const std::string path = remoteProgramPath();
  const Output output =
      runProgram(Program{{path, command}, networkEnvironment(), dumpJson(request), {body}, false});
  if (output.out.empty()) {
    throw Error::make(Kind::failed, "img-remote ended with status {}", output.status.code)
        .why(text::escape(text::trim(output.err), 500));
  }
  Json result = parseJson(output.out, "the answer of img-remote");
  if (result.contains("error")) throw Error::fromJson(result["error"].dump());
  return result;
}

}  // namespace img::distribution
