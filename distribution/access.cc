#include "distribution/access.h"

#include <algorithm>

#include "base/error.h"
#include "base/text.h"
#include "distribution/certificates.h"
#include "distribution/credentials.h"
#include "distribution/registries_conf.h"

namespace img::distribution {
namespace {

constexpr char kHub[] = "docker.io";
constexpr char kHubAddress[] = "registry-1.docker.io";

// HOST of HOST[:PORT].
std::string_view withoutPort(std::string_view host) {
  if (host.starts_with('[')) return host.substr(0, host.find(']') + 1);
  return host.substr(0, host.rfind(':'));
}

bool isIpv4Loopback(std::string_view host) {
  const auto parts = text::split(host, '.');
  return parts.size() == 4 && parts[0] == "127" &&
         std::all_of(parts.begin(), parts.end(), [](const std::string& part) {
           const auto number = text::parseUnsigned(part);
           return number && *number <= 255;
         });
}

// security.md C1, cli.md 5.
bool isLoopback(std::string_view address) {
  const std::string host = text::lower(withoutPort(address));
  return host == "localhost" || host.ends_with(".localhost") || host == "[::1]" ||
         isIpv4Loopback(host);
}

// What registries.conf says reaches URLs, so it is checked like what the user types.
void checkPlace(const Place& place, const std::string& origin) try {
  if (place.host.empty()) throw Error{Kind::usage, "the location has no host"};
  // A dot or port makes a host of the first component; "mirror" alone is one here as well.
  const bool looksLikeHost = place.host.find_first_of(".:") != std::string::npos;
  const std::string host =
      looksLikeHost || place.host == "localhost" ? place.host : place.host + ":443";
  store::Reference::parse(host + "/" + (place.path.empty() ? "name" : place.path));
} catch (Error& error) {
  error.during("reading {}", origin);
  throw;
}

struct Trust {
  bool isInsecure = false;
  bool isMirror = false;
};

Endpoint makeEndpoint(const Place& place, const Trust& trust, const AccessOptions& options) {
  Endpoint endpoint;
  const std::string canonical = canonicalHost(place.host);
  endpoint.host = canonical == kHub ? kHubAddress : place.host;
  endpoint.repository = place.path;
  endpoint.isMirror = trust.isMirror;
  const bool isVerified = options.verifyTls.value_or(!trust.isInsecure && !isLoopback(place.host));
  endpoint.verifiesTls = isVerified;
  endpoint.scheme = isVerified ? Endpoint::Scheme::https : Endpoint::Scheme::httpsThenHttp;
  Certificates certificates = readCertificates(place.host, options.certDir);
  endpoint.authorities = std::move(certificates.authorities);
  endpoint.clientCertificate = std::move(certificates.certificate);
  endpoint.clientKey = std::move(certificates.key);
  // What the command line gives is for the registry that it names, never for its mirrors.
  endpoint.credentials = trust.isMirror ? findStoredCredentials(place.host, place.path, options)
                                        : findCredentials(place.host, place.path, options);
  return endpoint;
}

}  // namespace

std::vector<Endpoint> endpointsOf(const store::Reference& reference, Action action,
                                  const AccessOptions& options) {
  const std::vector<RegistryRule> rules = readRegistriesConf();
  const RegistryRule* rule = findRule(rules, reference);
  if (rule == nullptr)
    return {makeEndpoint({reference.host, reference.path}, {false, false}, options)};
  if (rule->isBlocked) {
    throw Error::make(Kind::denied, "registry {} is blocked", rule->prefix)
        .code("registry-blocked")
        .why(rule->origin + " says blocked = true");
  }
  std::vector<Endpoint> endpoints;
  for (const MirrorRule& mirror : rule->mirrors) {
    if (action == Action::push) break;  // a mirror is read from
    const Place place = placeAt(*rule, mirror.location, reference);
    checkPlace(place, rule->origin);
    Endpoint endpoint = makeEndpoint(place, {mirror.isInsecure, true}, options);
    endpoint.servesTags = mirror.servesTags;
    endpoint.servesDigests = mirror.servesDigests;
    endpoints.push_back(std::move(endpoint));
  }
  const Place place = placeAt(*rule, rule->location, reference);
  checkPlace(place, rule->origin);
  endpoints.push_back(makeEndpoint(place, {rule->isInsecure, false}, options));
  return endpoints;
}

}  // namespace img::distribution
