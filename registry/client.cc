#include "registry/client.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/sys.h"
#include "base/text.h"
#include "registry/follow.h"
#include "registry/registry_error.h"

namespace img::registry {
namespace {

HttpRequest httpRequest(const Endpoint& endpoint, const ApiRequest& request) {
  // A session without a repository can log in, and nothing else.
  if (!request.url) checkRepository(endpoint.repository);
  HttpRequest http{
      request.url ? *request.url : endpoint.url(endpoint.repository + "/" + request.path),
      request.method};
  http.headers = request.headers;
  http.body = request.body;
  http.isFresh = request.isFresh;
  http.isBulk = request.isBulk;
  return http;
}

Outcome failed(const Url& url, const Error& error) {
  return Outcome{HttpAnswer{url}, error};
}

}  // namespace

Client::Client(Loop& mainLoop, const Json& configuration, const std::string& trust,
               std::function<void(std::string)> notice)
    : loop(mainLoop),
      documentLimit(configuration.value("document_limit", size_t{4} << 20)),
      transfers(mainLoop, std::max(1, configuration.value("parallel", 6))),
      trust_(trust),
      isPush_(configuration.value("action", "pull") == "push"),
      notice_(std::move(notice)) {
  patience_.connectSeconds = configuration.value("connect_seconds", patience_.connectSeconds);
  patience_.firstByteSeconds =
      configuration.value("first_byte_seconds", patience_.firstByteSeconds);
  patience_.stallSeconds = configuration.value("stall_seconds", patience_.stallSeconds);
  retry_ = {configuration.value("tries", 0), configuration.value("retry_delay_ms", 0),
            configuration.value("connect_tries", 0)};
  const Authenticator::Context context{loop, patience_, retry_, redactor, trust_};
  if (!configuration.contains("endpoints") || !configuration["endpoints"].is_array() ||
      configuration["endpoints"].empty()) {
    throw Error{Kind::usage, "the session has no endpoints"};
  }
  for (const Json& json : configuration["endpoints"])
    addresses_.emplace_back(context, parseEndpoint(json, trust_));
}

std::vector<Address*> Client::addressesFor(bool isDigest, const Address* behind) {
  std::vector<Address*> chosen;
  for (Address& address : addresses_) {
    const Endpoint& endpoint = address.endpoint;
    const bool isServed = isDigest ? endpoint.servesDigests : endpoint.servesTags;
    const bool isLast = &address == &addresses_.back();
    const bool isUsable = isServed && !endpoint.isLost && !isPush_;
    if (isLast || isUsable) chosen.push_back(&address);
  }
  const auto found = std::find(chosen.begin(), chosen.end(), behind);
  if (found != chosen.end()) std::rotate(chosen.begin(), found + 1, chosen.end());
  return chosen;
}

std::string Client::scopeFor(const Endpoint& endpoint, const ApiRequest& request) const {
  if (request.needsNoScope) return "";
  std::string scope =
      fmt::format("repository:{}:{}", endpoint.repository, isPush_ ? "pull,push" : "pull");
  if (!request.extraScope.empty()) scope += " " + request.extraScope;
  return scope;
}

Task<Outcome> Client::send(Address& address, const ApiRequest& request, BodyReceiver* receiver) {
  co_await waitForPause();
  const std::string scope = scopeFor(address.endpoint, request);
  const HttpRequest http = httpRequest(address.endpoint, request);
  const bool wasSecure = address.endpoint.isSecure;
  Outcome outcome = co_await sendAuthorized(address, http, scope, receiver);
  if (!outcome.failure) hasAnswered_ = true;
  if (!outcome.isPlainHttp || !address.endpoint.fallsBack || !wasSecure) co_return outcome;
  // The handshake was the first thing that happened on this connection: nothing secret was sent.
  address.endpoint.isSecure = false;
  address.endpoint.transport.verifiesTls = true;
  ApiRequest plain = request;
  if (plain.url) plain.url = address.endpoint.url("");
  const HttpRequest again = httpRequest(address.endpoint, plain);
  Outcome second = co_await sendAuthorized(address, again, scope, receiver);
  co_return second;
}

// security.md C4: a 401 is answered when the registry itself sent it, once.
Task<Outcome> Client::sendAuthorized(Address& address, const HttpRequest& request,
                                     const std::string& scope, BodyReceiver* receiver) {
  const std::string origin = address.endpoint.origin();
  const bool isHome = request.url.origin() == origin;
  const Transport transport =
      isHome ? address.endpoint.transport : forStrangers(address.endpoint.transport);
  const Route route{transport, patience_};
  HttpRequest http = request;
  std::optional<Error> refused;
  try {
    if (isHome) http.authorization = co_await address.authenticator.authorization(scope);
  } catch (const Error& error) {
    refused = error;
  }
  if (refused) co_return failed(http.url, *refused);

  Outcome outcome = co_await follow(loop, http, route, receiver);
  const HttpAnswer& answer = outcome.answer;
  const bool isAsked = !outcome.failure && answer.status == 401 && isHome &&
                       answer.url.origin() == origin && !answer.header("www-authenticate").empty();
  if (!isAsked) co_return outcome;
  bool hasAnswer = false;
  try {
    hasAnswer = co_await address.authenticator.answerChallenge(answer.header("www-authenticate"),
                                                               scope, http.authorization);
    if (hasAnswer) http.authorization = co_await address.authenticator.authorization(scope);
  } catch (const Error& error) {
    refused = error;
  }
  if (refused) co_return failed(http.url, *refused);
  if (!hasAnswer) co_return outcome;
  Outcome second = co_await follow(loop, http, route, receiver);
  co_return second;
}

RetryRules Client::rulesFor(const Address& address) const {
  if (address.endpoint.isMirror) return {1, retry_.delayMs};
  RetryRules rules = retry_;
  if (hasAnswered_) rules.connectTries = 0;  // it is there, and may come back
  return rules;
}

Task<> Client::waitForPause() {
  while (sys::monotonicMs() < pausedUntilMs_) {
    co_await loop.sleep(pausedUntilMs_ - sys::monotonicMs());
  }
}

Task<> Client::waitOut(std::int64_t milliseconds, const Outcome& because, const Address& address) {
  if (!because.failure && because.answer.status == 429) {
    transfers.lowerTo(1);
    pausedUntilMs_ = std::max(pausedUntilMs_, sys::monotonicMs() + milliseconds);
    if (!hasNoticed_) {
      notice_(fmt::format("{}: too many requests; going on in {} s, one transfer at a time",
                          address.endpoint.place(), (milliseconds + 999) / 1000));
    }
    hasNoticed_ = true;
  }
  co_await loop.sleep(milliseconds);
}

Task<Served> Client::ask(Address& address, const ApiRequest& request, BodyReceiver* receiver) {
  Backoff backoff{rulesFor(address)};
  for (;;) {
    Outcome outcome = co_await send(address, request, receiver);
    const std::optional<std::int64_t> wait = backoff.next(outcome);
    if (!wait) co_return Served{&address, std::move(outcome), backoff.tries()};
    co_await waitOut(*wait, outcome, address);
  }
}

Task<Served> Client::askAll(bool isDigest, const ApiRequest& request, BodyReceiver* receiver) {
  std::vector<std::string> mirrors;
  for (Address* address : addressesFor(isDigest)) {
    Served served = co_await ask(*address, request, receiver);
    const bool isGood = !served.outcome.failure && served.outcome.answer.isSuccess();
    if (isGood || address == &registry()) {
      served.mirrors = std::move(mirrors);
      co_return served;
    }
    address->endpoint.isLost = served.outcome.failure && served.outcome.mayPass;
    mirrors.push_back(errorOf(served, request.action).cause());
  }
  throw Error{Kind::internal, "a session without a registry"};
}

Error Client::errorOf(const Served& served, std::string_view action) {
  const Endpoint& endpoint = served.address->endpoint;
  const Outcome& outcome = served.outcome;
  Error error = outcome.failure ? unreachable(endpoint, action, *outcome.failure, served.tries)
                                : refusal(endpoint, action, outcome.answer, served.tries);
  for (const std::string& mirror : served.mirrors) error.during("asking the mirror {}", mirror);
  return error;
}

}  // namespace img::registry
