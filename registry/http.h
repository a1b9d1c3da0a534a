// GET over libcurl. Redirects are followed here and not by libcurl, because what may be sent to the
// next host is our decision (security.md C4): credentials go to the scheme, host and port of the
// first URL only. Failures that may pass (reliability.md 7) are tried again.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "registry/url.h"

namespace img::registry {

struct HttpRequest {
  Url url;
  std::vector<std::string> headers;  // "Name: value", sent to every host
  std::string authorization;         // value of the header, for the first origin only
};

struct HttpAnswer {
  long status = 0;
  std::map<std::string, std::string> headers;  // names in lower case, the last one wins
  Url url;                                     // where the answer came from
  [[nodiscard]] std::string header(const std::string& name) const;
};

struct HttpLimits {
  std::uint64_t bodyBytes = 0;  // 0: none
  int redirects = 5;
  int tries = 4;
  int retryDelayMs = 500;  // doubles with every try
  long connectSeconds = 30;
  long stallSeconds = 60;  // without a byte
};

// Gets the body of a 2xx answer.
class BodyReceiver {
 public:
  BodyReceiver() = default;
  BodyReceiver(const BodyReceiver&) = delete;
  BodyReceiver& operator=(const BodyReceiver&) = delete;
  virtual ~BodyReceiver() = default;
  virtual void restart() = 0;  // a body begins, maybe again
  virtual void write(std::span<const std::byte> bytes) = 0;
};

class HttpClient {
 public:
  // `trust`: PEM certificates instead of the system's; empty: the system's.
  HttpClient(HttpLimits limits, std::string trust);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  // Any status but those of a redirect is an answer. Throws when there is none.
  HttpAnswer get(const HttpRequest& request, BodyReceiver& body);

 private:
  struct Transfer;
  HttpAnswer follow(const HttpRequest& request, BodyReceiver& body);
  HttpAnswer exchange(const Url& url, const std::vector<std::string>& headers, BodyReceiver& body);
  void configure(const Transfer& transfer) const;

  HttpLimits limits_;
  std::string trust_;
  void* curl_;  // CURL*; one handle, so that a connection serves several exchanges
};

// Certificates the user trusts instead of the system's (SSL_CERT_FILE); empty: the system's.
std::string readTrust();
// HTTP_PROXY and the like in both cases; libcurl itself knows some of them in lower case only.
void normaliseProxyVariables();

}  // namespace img::registry
