#include "registry/follow.h"

namespace img::registry {
namespace {

// 301, 302 and 303 may turn a request with a body into a GET (RFC 9110 15.4), which nobody wants.
bool isRedirect(long status, bool hasBody) {
  if (status == 307 || status == 308) return true;
  return !hasBody && (status == 301 || status == 302 || status == 303);
}

// The next URL, or the failure in `outcome`.
std::optional<Url> nextUrl(Outcome& outcome, const std::string& location) try {
  return outcome.answer.url.resolve(location);
} catch (const Error& error) {
  outcome.failure = error;
  return std::nullopt;
}

}  // namespace

Transport forStrangers(const Transport& transport) {
  Transport other = transport;
  other.clientCertificate.clear();
  other.clientKey.clear();
  other.usesProxy = true;
  return other;
}

Task<Outcome> follow(Loop& loop, const HttpRequest& request, const Route& route,
                     BodyReceiver* receiver) {
  const std::string home = request.url.origin();
  const Transport abroad = forStrangers(route.transport);
  HttpRequest next = request;
  for (int redirects = 0;; ++redirects) {
    const bool isHome = next.url.origin() == home;
    const Transport& transport = isHome ? route.transport : abroad;
    next.authorization = isHome ? request.authorization : "";
    Outcome outcome = co_await exchange(loop, next, transport, route.patience, receiver);
    const std::string location = outcome.answer.header("location");
    const bool hasEnded = outcome.failure || location.empty() ||
                          !isRedirect(outcome.answer.status, request.body.has_value());
    if (hasEnded) co_return outcome;
    if (redirects >= route.redirects) {
      outcome.failure = Error::make(Kind::failed, "{} redirects more than {} times",
                                    request.url.shown(), route.redirects);
      co_return outcome;
    }
    const std::optional<Url> target = nextUrl(outcome, location);
    if (!target) co_return outcome;
    next.url = *target;
  }
}

}  // namespace img::registry
