#include "registry/fetch.h"

#include <curl/curl.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "base/digest.h"
#include "base/error.h"
#include "base/log.h"
#include "base/sys.h"
#include "base/text.h"
#include "registry/follow.h"
#include "registry/retry.h"

namespace img::registry {
namespace {

class FileReceiver final : public BodyReceiver {
 public:
  // limit 0: none.
  FileReceiver(int fd, std::uint64_t limit) : fd_(fd), limit_(limit) {}
  bool begin(const HttpAnswer& /*answer*/) override {
    sys::ftruncate(fd_, 0);
    sys::check([&] { return ::lseek(fd_, 0, SEEK_SET); }, "rewind the body");
    hasher_ = Hasher{};
    size_ = 0;
    return true;
  }
  bool write(std::span<const std::byte> bytes) override {
    if (limit_ != 0 && size_ + bytes.size() > limit_) {
      throw Error::make(Kind::failed, "the body has more than {} bytes", limit_);
    }
    writeAll(fd_, bytes, "the body");
    hasher_.update(bytes);
    size_ += bytes.size();
    return true;
  }
  [[nodiscard]] std::uint64_t size() const { return size_; }
  Digest digest() { return hasher_.finish(); }

 private:
  int fd_;
  std::uint64_t limit_;
  Hasher hasher_;
  std::uint64_t size_ = 0;
};

// A line break in a value would start a header of its own.
std::string headerValue(const Json& request, const char* key) {
  std::string value = request.value(key, "");
  if (value.find_first_of(std::string_view{"\r\n\0", 3}) != std::string::npos) {
    throw Error::make(Kind::usage, "{} has a line break or a NUL in it", key);
  }
  return value;
}

Error explained(Error error) {
  if (error.code() == "tls")
    error.hint("trust the server's certificate authority: SSL_CERT_FILE names a PEM file");
  if (error.code() == "plain-http") error.hint("if the server speaks plain HTTP, write http://");
  return error;
}

struct Limits {
  RetryRules retry;
  Patience patience;
  int redirects;
};

Limits limitsOf(const Json& request) {
  Limits limits;
  limits.redirects = request.value("redirects", 5);
  limits.retry = {request.value("tries", 4), request.value("retry_delay_ms", 500)};
  Patience& patience = limits.patience;
  patience.connectSeconds = request.value("connect_seconds", 30L);
  patience.stallSeconds = request.value("stall_seconds", 60L);
  patience.firstByteSeconds = patience.stallSeconds;
  patience.stallBytesPerSecond = 1;
  return limits;
}

Task<Outcome> get(Loop& loop, const HttpRequest& request, const Transport& transport,
                  const Limits& limits, FileReceiver& file) {
  const Route route{transport, limits.patience, limits.redirects};
  Backoff backoff{limits.retry};
  for (;;) {
    Outcome outcome = co_await follow(loop, request, route, &file);
    const std::optional<std::int64_t> wait = backoff.next(outcome);
    if (!wait) co_return outcome;
    log::info("{}: {}; trying again", request.url.shown(),
              outcome.failure ? outcome.failure->why() : std::to_string(outcome.answer.status));
    co_await loop.sleep(*wait);
  }
}

HttpRequest httpRequest(const Json& request) {
  HttpRequest http{Url::parse(request.value("url", ""))};
  http.authorization = headerValue(request, "authorization");
  if (http.authorization.empty() && !http.url.credentials().empty())
    http.authorization = "Basic " + text::base64(http.url.credentials());
  const std::string etag = headerValue(request, "etag");
  const std::string modified = headerValue(request, "last_modified");
  if (!etag.empty()) http.headers.push_back("If-None-Match: " + etag);
  if (!modified.empty()) http.headers.push_back("If-Modified-Since: " + modified);
  return http;
}

}  // namespace

Json fetchUrl(const Json& request, int body, const std::string& trust) {
  const HttpRequest http = httpRequest(request);
  const Limits limits = limitsOf(request);
  Transport transport;
  transport.authorities = trust;
  FileReceiver file{body, request.value("limit", std::uint64_t{0})};
  Loop loop;
  const Task<Outcome> task = get(loop, http, transport, limits, file);
  task.start();
  loop.run([&] { return task.isDone(); });
  const Outcome outcome = task.take();
  if (outcome.failure) throw explained(*outcome.failure);
  const HttpAnswer& answer = outcome.answer;

  Json result{{"status", answer.status}, {"url", answer.url.str()}};
  result["etag"] = answer.header("etag");
  result["last_modified"] = answer.header("last-modified");
  const time_t seconds = curl_getdate(answer.header("last-modified").c_str(), nullptr);
  result["modified"] = seconds >= 0 ? Json(static_cast<std::int64_t>(seconds)) : Json(nullptr);
  if (answer.status >= 200 && answer.status <= 299) {
    result["size"] = file.size();
    result["sha256"] = file.digest().hex();
  }
  return result;
}

}  // namespace img::registry
