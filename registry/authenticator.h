// Shows one endpoint who we are (security.md C6): nothing until it asks, then a token of the server
// it names, for the scopes we need and never wider, or the password itself. Tokens are kept per
// scope until shortly before they expire, by the monotonic clock.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "base/json.h"
#include "base/task.h"
#include "registry/challenge.h"
#include "registry/endpoint.h"
#include "registry/loop.h"
#include "registry/redact.h"
#include "registry/retry.h"
#include "registry/slots.h"

namespace img::registry {

class Authenticator {
 public:
  struct Context {
    Loop& loop;
    const Patience& patience;
    RetryRules retry;
    Redactor& redactor;
    const std::string& trust;  // certificates for hosts other than the endpoint's
  };
  Authenticator(const Context& context, const Endpoint& endpoint);

  // The value of Authorization for a request; empty while nobody has asked. Throws when a token
  // cannot be had.
  Task<std::string> authorization(std::string scope);
  // After a 401 to a request with the authorization `used`. False: nothing else can be offered.
  Task<bool> answerChallenge(std::string header, std::string scope, std::string used);

 private:
  enum class Method { unknown, basic, bearer };
  struct Token {
    std::string text;
    std::int64_t expiresMs = 0;
  };

  bool learn(const std::vector<Challenge>& challenges);
  [[nodiscard]] const Token* findToken(const std::string& scope) const;
  Task<> fetchToken(std::string scope);
  [[nodiscard]] HttpRequest tokenRequest(const std::string& scope) const;
  [[nodiscard]] Transport tokenTransport(const Url& url) const;
  [[nodiscard]] std::string basic() const;
  Token parseToken(const std::string& text) const;

  Context context_;
  const Endpoint& endpoint_;
  Method method_ = Method::unknown;
  std::string realm_, service_;
  std::map<std::string, Token> tokens_;  // by scope
  Slots turn_;                           // one token request at a time: the next finds its token
};

// Throws Kind::denied for a realm that must not get credentials of a registry reached by
// `isSecure`.
Url checkRealm(const std::string& realm, bool isSecure);
// Milliseconds for which a token with this `expires_in` is used: 10 s less, for clocks and ways.
std::int64_t tokenLifeMs(std::int64_t expiresInSeconds);

}  // namespace img::registry
