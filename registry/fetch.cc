#include "registry/fetch.h"

#include <curl/curl.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "base/digest.h"
#include "base/error.h"
#include "base/sys.h"
#include "base/text.h"
#include "registry/http.h"

namespace img::registry {
namespace {

class FileReceiver final : public BodyReceiver {
 public:
  explicit FileReceiver(int fd) : fd_(fd) {}
  void restart() override {
    sys::ftruncate(fd_, 0);
    sys::check([&] { return ::lseek(fd_, 0, SEEK_SET); }, "rewind the body");
    hasher_ = Hasher{};
    size_ = 0;
  }
  void write(std::span<const std::byte> bytes) override {
    writeAll(fd_, bytes, "the body");
    hasher_.update(bytes);
    size_ += bytes.size();
  }
  [[nodiscard]] std::uint64_t size() const { return size_; }
  Digest digest() { return hasher_.finish(); }

 private:
  int fd_;
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

HttpLimits limitsOf(const Json& request) {
  HttpLimits limits;
  limits.bodyBytes = request.value("limit", limits.bodyBytes);
  limits.redirects = request.value("redirects", limits.redirects);
  limits.tries = request.value("tries", limits.tries);
  limits.retryDelayMs = request.value("retry_delay_ms", limits.retryDelayMs);
  limits.connectSeconds = request.value("connect_seconds", limits.connectSeconds);
  limits.stallSeconds = request.value("stall_seconds", limits.stallSeconds);
  return limits;
}

}  // namespace

Json fetchUrl(const Json& request, int body, const std::string& trust) {
  HttpRequest http{Url::parse(request.value("url", "")), {}, headerValue(request, "authorization")};
  if (http.authorization.empty() && !http.url.credentials().empty())
    http.authorization = "Basic " + text::base64(http.url.credentials());
  const std::string etag = headerValue(request, "etag");
  const std::string modified = headerValue(request, "last_modified");
  if (!etag.empty()) http.headers.push_back("If-None-Match: " + etag);
  if (!modified.empty()) http.headers.push_back("If-Modified-Since: " + modified);

  FileReceiver file{body};
  HttpClient client{limitsOf(request), trust};
  const HttpAnswer answer = client.get(http, file);

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
