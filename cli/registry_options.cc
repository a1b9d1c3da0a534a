#include "cli/registry_options.h"

#include "base/error.h"
#include "base/text.h"
#include "cli/values.h"

namespace img::cli {
namespace {

constexpr unsigned long long kMaxRetries = 100;

int parseRetries(const std::string& text) {
  const auto count = text::parseUnsigned(text);
  if (count && *count <= kMaxRetries) return static_cast<int>(*count);
  throw Error::make(Kind::usage, "invalid value {} for --retry", text::quote(text))
      .hint("a number up to 100");
}

}  // namespace

void addRegistryOptions(Options& options, distribution::AccessOptions& access) {
  options.group("Registry")
      .text("--creds", access.credentials, "USER[:PASSWORD]", "Credentials for the registry")
      .text("--authfile", access.authFile, "FILE", "Read credentials from FILE")
      .text("--cert-dir", access.certDir, "DIR", "Certificates and keys of the registry")
      .optionalValue("--tls-verify", "true", "BOOL", "Verify the registry's certificate (true)",
                     [&access](const std::string& value) {
                       access.verifyTls = parseBool(value, "--tls-verify");
                     })
      .value("--retry", "N", "Tries after the first one (3)",
             [&access](const std::string& value) { access.retries = parseRetries(value); })
      .value("--retry-delay", "DURATION", "Wait before the first new try, doubled each time (1s)",
             [&access](const std::string& value) {
               const long long nanoseconds = parseDuration(value, "--retry-delay");
               access.retryDelayMs = static_cast<int>(nanoseconds / 1'000'000);
             });
}

}  // namespace img::cli
