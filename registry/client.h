// Requests to one repository of a registry, or to the mirrors in front of it: who is asked first,
// with which authorization, how often. What a 2xx means is the caller's business.
#pragma once

#include <functional>
#include <list>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/task.h"
#include "registry/authenticator.h"
#include "registry/endpoint.h"
#include "registry/redact.h"
#include "registry/retry.h"
#include "registry/slots.h"

namespace img::registry {

struct ApiRequest {
  std::string action;  // for messages: "get manifest latest"
  std::string method = "GET";
  std::string path;        // below /v2/REPOSITORY/; ignored with `url`
  std::optional<Url> url;  // an upload's location, or /v2/ itself
  std::vector<std::string> headers;
  std::optional<BodySource> body;
  std::string extraScope;     // besides the repository's own
  bool needsNoScope = false;  // the credentials alone are in question
  bool isFresh = false, isBulk = false;
};

// An endpoint with what it takes to talk to it.
struct Address {
  Address(const Authenticator::Context& context, Endpoint&& where)
      : endpoint(std::move(where)), authenticator(context, endpoint) {}
  Endpoint endpoint;
  Authenticator authenticator;
};

// Who answered, and what. Without an answer `outcome` has the failure.
struct Served {
  Address* address;
  Outcome outcome;
  int tries = 1;
  std::vector<std::string> mirrors{};  // what those said that were asked before
};

class Client {
 public:
  // Throws Kind::usage for a configuration that is none (README.md has the fields).
  Client(Loop& loop, const Json& configuration, const std::string& trust,
         std::function<void(std::string)> notice);

  // Whom to ask, in order, the registry itself last; `first`: begin behind this one (it gave bytes
  // that were wrong).
  std::vector<Address*> addressesFor(bool isDigest, const Address* behind = nullptr);
  Address& registry() { return addresses_.back(); }

  // One exchange, with authorization, redirects, and plain HTTP where that is allowed.
  Task<Outcome> send(Address& address, const ApiRequest& request, BodyReceiver* receiver);
  // As long as it may help. `rules` of the configuration when none are given.
  Task<Served> ask(Address& address, const ApiRequest& request, BodyReceiver* receiver);
  // The first address that answers with 2xx; else what the last one said.
  Task<Served> askAll(bool isDigest, const ApiRequest& request, BodyReceiver* receiver);

  // Bookkeeping of who retries by itself: waits while the registry wants a pause.
  Task<> waitOut(std::int64_t milliseconds, const Outcome& because, const Address& address);
  Task<> waitForPause();
  [[nodiscard]] RetryRules rulesFor(const Address& address) const;
  [[nodiscard]] static Error errorOf(const Served& served, std::string_view action);

  Loop& loop;
  Redactor redactor;
  size_t documentLimit;
  Slots transfers;  // blobs at once

 private:
  [[nodiscard]] std::string scopeFor(const Endpoint& endpoint, const ApiRequest& request) const;
  Task<Outcome> sendAuthorized(Address& address, const HttpRequest& request,
                               const std::string& scope, BodyReceiver* receiver);

  Patience patience_;
  RetryRules retry_;
  std::string trust_;
  bool isPush_;
  std::function<void(std::string)> notice_;
  bool hasNoticed_ = false;
  bool hasAnswered_ = false;  // anybody, anything
  std::int64_t pausedUntilMs_ = 0;
  std::list<Address> addresses_;
};

}  // namespace img::registry
