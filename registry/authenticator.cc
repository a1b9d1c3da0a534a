#include "registry/authenticator.h"

#include <curl/curl.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/sys.h"
#include "base/text.h"
#include "registry/follow.h"
#include "registry/registry_error.h"
#include "registry/text_receiver.h"

namespace img::registry {
namespace {

constexpr size_t kMaxTokenAnswer = size_t{1} << 20;  // security.md L1
constexpr std::int64_t kDefaultLifeSeconds = 60;
constexpr std::int64_t kMaxLifeSeconds = 86'400;

std::string percentEncoded(const std::string& text) {
  char* const encoded = curl_easy_escape(nullptr, text.data(), static_cast<int>(text.size()));
  if (encoded == nullptr) throw Error{Kind::failed, "out of memory for a request"};
  std::string copy{encoded};
  curl_free(encoded);
  return copy;
}

// A token becomes part of a header.
bool isToken(const std::string& text) {
  return !text.empty() && std::all_of(text.begin(), text.end(),
                                      [](unsigned char c) { return c > 0x20 && c < 0x7f; });
}

Error tokenRefusal(const Endpoint& endpoint, const Outcome& outcome, int tries) {
  const HttpAnswer& answer = outcome.answer;
  const bool isDenied = answer.status == 401 || answer.status == 403 || answer.status == 400;
  const std::string server = answer.url.origin();
  if (outcome.failure) {
    return Error::make(Kind::failed, "{}: no token from {}", endpoint.place(), server)
        .why(fmt::format("no token from {}: {}", server, outcome.failure->why()))
        .code("unreachable");
  }
  const std::string message = registryMessage(answer.body);
  return Error::make(isDenied ? Kind::denied : Kind::failed, "{}: {} gives no token",
                     endpoint.place(), server)
      .why(fmt::format("{} gives no token: {}{}{}{}", server, statusText(answer.status),
                       tries > 1 ? fmt::format(" after {} tries", tries) : "",
                       message.empty() ? "" : ": ", message))
      .code(isDenied ? "unauthorized" : "registry-error");
}

}  // namespace

Url checkRealm(const std::string& realm, bool isSecure) {
  Error error = Error::make(Kind::denied, "the registry wants its tokens fetched from {}",
                            text::quote(realm.substr(0, realm.find('?'))));
  error.code("registry-error");
  try {
    const Url url = Url::parse(realm);
    if (!url.credentials().empty()) {
      error.why("an address with a user in it is not trusted");
    } else if (isSecure && !url.isSecure()) {
      error.why("credentials of a registry that is reached by https are not sent over http");
    } else {
      return url;
    }
  } catch (const Error& wrong) {
    error.why(wrong.cause());
  }
  throw error;
}

std::int64_t tokenLifeMs(std::int64_t expiresInSeconds) {
  const std::int64_t life = std::clamp<std::int64_t>(expiresInSeconds, 0, kMaxLifeSeconds);
  return std::max(life - 10, life / 2) * 1000;
}

Authenticator::Authenticator(const Context& context, const Endpoint& endpoint)
    : context_(context), endpoint_(endpoint), turn_(context.loop, 1) {
  const Credentials& credentials = endpoint.credentials;
  for (const std::string& secret :
       {credentials.password, credentials.identityToken, credentials.registryToken}) {
    context_.redactor.remember(secret);
  }
  if (!credentials.username.empty()) context_.redactor.remember(basic().substr(6));
}

std::string Authenticator::basic() const {
  return "Basic " +
         text::base64(endpoint_.credentials.username + ":" + endpoint_.credentials.password);
}

const Authenticator::Token* Authenticator::findToken(const std::string& scope) const {
  const auto found = tokens_.find(scope);
  const bool isFresh = found != tokens_.end() && sys::monotonicMs() < found->second.expiresMs;
  return isFresh ? &found->second : nullptr;
}

Task<std::string> Authenticator::authorization(std::string scope) {
  if (!endpoint_.credentials.registryToken.empty())
    co_return "Bearer " + endpoint_.credentials.registryToken;
  if (method_ == Method::basic) co_return basic();
  if (method_ == Method::unknown) co_return "";
  const Slots::Slot turn = co_await turn_.enter();
  if (findToken(scope) == nullptr) co_await fetchToken(scope);
  co_return "Bearer " + tokens_.at(scope).text;
}

Task<bool> Authenticator::answerChallenge(std::string header, std::string scope, std::string used) {
  if (!endpoint_.credentials.registryToken.empty()) co_return false;
  const bool isKnown = learn(parseChallenges(header));
  if (!isKnown) co_return false;
  if (method_ == Method::basic) {
    co_return !endpoint_.credentials.username.empty() && used != basic();
  }
  const Slots::Slot turn = co_await turn_.enter();
  const Token* const there = findToken(scope);
  const bool isRenewed = there != nullptr && used != "Bearer " + there->text;
  if (!isRenewed) co_await fetchToken(scope);
  co_return true;
}

// Tokens before passwords, as they may do less. The realm is checked before anything goes there.
bool Authenticator::learn(const std::vector<Challenge>& challenges) {
  for (const Challenge& challenge : challenges) {
    if (challenge.scheme != "bearer") continue;
    realm_ = challenge.value("realm");
    service_ = challenge.value("service");
    checkRealm(realm_, endpoint_.isSecure);
    method_ = Method::bearer;
    return true;
  }
  for (const Challenge& challenge : challenges) {
    if (challenge.scheme != "basic") continue;
    method_ = endpoint_.credentials.username.empty() ? Method::unknown : Method::basic;
    return method_ == Method::basic;
  }
  return false;
}

// distribution's docs/spec/auth/token.md; with a refresh token oauth.md.
HttpRequest Authenticator::tokenRequest(const std::string& scope) const {
  const Credentials& credentials = endpoint_.credentials;
  const Url url = checkRealm(realm_, endpoint_.isSecure);
  const std::vector<std::string> scopes = text::split(scope, ' ');
  if (!credentials.identityToken.empty()) {
    HttpRequest request{url, "POST"};
    request.body =
        BodySource{fmt::format("grant_type=refresh_token&client_id=img&service={}&"
                               "scope={}&refresh_token={}",
                               percentEncoded(service_), percentEncoded(scope),
                               percentEncoded(credentials.identityToken))};
    request.headers = {"Content-Type: application/x-www-form-urlencoded"};
    return request;
  }
  Url address = service_.empty() ? url : url.withQuery("service", service_);
  for (const std::string& one : scopes) {
    if (!one.empty()) address = address.withQuery("scope", one);
  }
  HttpRequest request{address};
  if (!credentials.username.empty()) request.authorization = basic();
  return request;
}

// What the user allowed for a registry holds for its own host. Credentials go nowhere unverified.
Transport Authenticator::tokenTransport(const Url& url) const {
  const Url home = endpoint_.url("");
  const bool isHome = url.origin() == home.origin();
  Transport transport = isHome ? endpoint_.transport : forStrangers(endpoint_.transport);
  if (text::lower(url.host()) != text::lower(home.host())) {
    transport.authorities = context_.trust;
    transport.verifiesTls = true;
  }
  transport.usesProxy = !url.isLoopback();
  return transport;
}

Authenticator::Token Authenticator::parseToken(const std::string& text) const {
  const Json answer = parseJson(text, "the token server's answer");
  Token token;
  std::int64_t seconds = kDefaultLifeSeconds;
  if (answer.is_object()) {
    for (const char* key : {"token", "access_token"}) {
      if (token.text.empty() && answer.contains(key) && answer[key].is_string())
        token.text = answer[key].get<std::string>();
    }
    if (answer.contains("expires_in") && answer["expires_in"].is_number())
      seconds = static_cast<std::int64_t>(std::clamp(answer["expires_in"].get<double>(), 0.0, 1e6));
  }
  if (!isToken(token.text)) {
    throw Error::make(Kind::corrupt, "{}: the token server's answer holds no token",
                      endpoint_.place())
        .code("registry-error");
  }
  token.expiresMs = sys::monotonicMs() + tokenLifeMs(seconds == 0 ? kDefaultLifeSeconds : seconds);
  return token;
}

Task<> Authenticator::fetchToken(std::string scope) {
  tokens_.erase(scope);
  const HttpRequest request = tokenRequest(scope);
  const Transport transport = tokenTransport(request.url);
  // A form with a refresh token goes to nobody but the realm.
  const Route route{transport, context_.patience, request.body ? 0 : 5};
  Backoff backoff{context_.retry};
  for (;;) {
    TextReceiver body{kMaxTokenAnswer};
    const Outcome outcome = co_await follow(context_.loop, request, route, &body);
    if (!outcome.failure && outcome.answer.isSuccess() && !body.isTooLong()) {
      Token token = parseToken(body.text());
      context_.redactor.remember(token.text);
      tokens_[scope] = std::move(token);
      co_return;
    }
    const std::optional<std::int64_t> wait = backoff.next(outcome);
    if (!wait) throw tokenRefusal(endpoint_, outcome, backoff.tries());
    co_await context_.loop.sleep(*wait);
  }
}

}  // namespace img::registry
