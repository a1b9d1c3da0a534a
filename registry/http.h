// What one HTTP exchange is made of: the request, where bodies come from and go to, how patient we
// are, whom we trust, and the answer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "registry/url.h"

namespace img::registry {

// How far the file of a request body is that somebody still writes.
class GrowingFile {
 public:
  GrowingFile() = default;
  GrowingFile(const GrowingFile&) = delete;
  GrowingFile& operator=(const GrowingFile&) = delete;
  virtual ~GrowingFile() = default;
  [[nodiscard]] virtual std::uint64_t size() const = 0;
  [[nodiscard]] virtual bool isWhole() const = 0;
  // `tell` is called once, when either has changed. Empty: nobody listens any more.
  virtual void onNews(std::function<void()> tell) = 0;
};

// A request body: bytes of a regular file, read by offset, so that it can be sent again; or a text.
struct BodySource {
  std::string text;
  int file = -1;
  std::uint64_t offset = 0;
  std::uint64_t size = 0;  // of the file's part
  // Instead of `size`: to the end of the file, whenever that is known (HTTP/1.1, "chunked").
  GrowingFile* growing = nullptr;

  // As far as is known.
  [[nodiscard]] std::uint64_t length() const {
    if (growing != nullptr) return growing->size() - offset;
    return file >= 0 ? size : text.size();
  }
  [[nodiscard]] bool isLengthKnown() const { return growing == nullptr || growing->isWhole(); }
};

struct HttpRequest {
  explicit HttpRequest(Url address, std::string verb = "GET")
      : url(std::move(address)), method(std::move(verb)) {}
  Url url;
  std::string method;
  std::vector<std::string> headers;  // "Name: value", for every host
  std::string authorization;         // value of the header, for the origin of `url` only
  std::optional<BodySource> body;
  bool isFresh = false;  // on a connection of its own
  bool isBulk = false;   // by HTTP/1.1, whose connections stall and break one by one
};

struct HttpAnswer {
  long status = 0;
  std::map<std::string, std::string> headers;  // names in lower case; the last one wins, but for
                                               // www-authenticate and link, which are joined
  std::string body;                            // of an answer that is no 2xx, at most 64 KiB
  Url url;                                     // where the answer came from

  explicit HttpAnswer(Url from) : url(std::move(from)) {}
  [[nodiscard]] std::string header(const std::string& name) const;
  [[nodiscard]] bool isSuccess() const { return status >= 200 && status <= 299; }
};

// How an exchange ended: with an answer, or with a failure. Only what is wrong on our own side is
// thrown.
struct Outcome {
  HttpAnswer answer;
  std::optional<Error> failure{};
  bool mayPass = false;        // another try may succeed (reliability.md 7)
  bool isPlainHttp = false;    // a TLS handshake met something else
  bool hasBodyFailed = false;  // the answer is there, but its body ended early
};

// Gets the body of a 2xx answer.
class BodyReceiver {
 public:
  BodyReceiver() = default;
  BodyReceiver(const BodyReceiver&) = delete;
  BodyReceiver& operator=(const BodyReceiver&) = delete;
  virtual ~BodyReceiver() = default;
  // A body begins, maybe again. False: it is not wanted, the exchange ends.
  virtual bool begin(const HttpAnswer& answer) = 0;
  // False: enough, the exchange ends.
  virtual bool write(std::span<const std::byte> bytes) = 0;
  // A descriptor that has to be writable before more is written; -1: none.
  [[nodiscard]] virtual int blockedOn() const { return -1; }
  // It is writable now.
  virtual void flush() {}
};

struct Patience {
  long connectSeconds = 10;  // security.md C3
  long firstByteSeconds = 60;
  long stallSeconds = 30;
  std::uint64_t stallBytesPerSecond = 1024;
};

// Whom a host must show to be, and what we show.
struct Transport {
  std::string authorities;  // PEM; empty: the system's
  std::string clientCertificate, clientKey;
  bool verifiesTls = true;
  bool usesProxy = true;
};

// Certificates the user trusts instead of the system's (SSL_CERT_FILE); empty: the system's.
std::string readTrust();
// HTTP_PROXY and the like in both cases; libcurl itself knows some of them in lower case only.
void normaliseProxyVariables();

}  // namespace img::registry
