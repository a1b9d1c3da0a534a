#include "registry/http.h"

#include <curl/curl.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <exception>
#include <memory>
#include <optional>

#include "base/environment.h"
#include "base/error.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/text.h"

namespace img::registry {
namespace {

constexpr size_t kMaxHeaderBytes = size_t{64} << 10;  // security.md L1
constexpr int kMaxRetryDelayMs = 60'000;              // reliability.md 7

struct ListDeleter {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};
using List = std::unique_ptr<curl_slist, ListDeleter>;

List makeList(const std::vector<std::string>& lines) {
  List list;
  for (const std::string& line : lines) {
    curl_slist* longer = curl_slist_append(list.get(), line.c_str());
    if (longer == nullptr) throw Error{Kind::failed, "out of memory for a request"};
    std::ignore = list.release();
    list.reset(longer);
  }
  return list;
}

bool isRedirect(long status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

bool isPassing(long status) {
  return status == 408 || status == 429 || status == 500 || status == 502 || status == 503 ||
         status == 504;
}

bool isPassing(CURLcode code) {
  static constexpr std::array kCodes{CURLE_COULDNT_RESOLVE_HOST, CURLE_COULDNT_CONNECT,
                                     CURLE_OPERATION_TIMEDOUT,   CURLE_GOT_NOTHING,
                                     CURLE_SEND_ERROR,           CURLE_RECV_ERROR,
                                     CURLE_PARTIAL_FILE,         CURLE_HTTP2,
                                     CURLE_HTTP2_STREAM,         CURLE_SSL_CONNECT_ERROR};
  return std::find(kCodes.begin(), kCodes.end(), code) != kCodes.end();
}

// A failure that another try may not meet. Ends the client's loop as the Error inside.
struct PassingFailure {
  Error error;
};

int retryAfterMs(const HttpAnswer& answer) {
  const auto seconds = text::parseUnsigned(answer.header("retry-after"));
  if (!seconds) return 0;
  return static_cast<int>(std::min<unsigned long long>(*seconds * 1000, kMaxRetryDelayMs));
}

Error transportError(const Url& url, CURLcode code, const char* detail) {
  Error error = Error::make(Kind::failed, "cannot fetch {}", text::escape(url.str(), 500));
  const std::string reason = *detail != '\0' ? detail : curl_easy_strerror(code);
  error.why(text::escape(reason, 500));
  switch (code) {
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
      error.code("tls");
      error.hint("trust the server's certificate authority: SSL_CERT_FILE names a PEM file");
      break;
    case CURLE_SSL_CONNECT_ERROR:
      error.code("plain-http");
      error.hint("if the server speaks plain HTTP, write http://");
      break;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
    case CURLE_COULDNT_RESOLVE_PROXY: error.code("unreachable"); break;
    default: break;
  }
  return error;
}

}  // namespace

// What the callbacks of one exchange share.
struct HttpClient::Transfer {
  CURL* curl;
  BodyReceiver& body;
  std::uint64_t limit;
  HttpAnswer answer;
  std::uint64_t received = 0;
  size_t headerBytes = 0;
  bool isTooLong = false;
  std::exception_ptr failure{};  // an exception must not pass through C frames

  static size_t onHeader(char* data, size_t size, size_t count, void* self) {
    auto& me = *static_cast<Transfer*>(self);
    const std::string_view line{data, size * count};
    me.headerBytes += line.size();
    if (me.headerBytes > kMaxHeaderBytes) return 0;
    if (line.starts_with("HTTP/")) me.answer.headers.clear();  // after a 100 or a proxy's answer
    const size_t colon = line.find(':');
    if (colon != std::string_view::npos) {
      me.answer.headers[text::lower(line.substr(0, colon))] =
          std::string{text::trim(line.substr(colon + 1))};
    }
    return line.size();
  }

  static size_t onBody(char* data, size_t size, size_t count, void* self) {
    auto& me = *static_cast<Transfer*>(self);
    const size_t bytes = size * count;
    long status = 0;
    curl_easy_getinfo(me.curl, CURLINFO_RESPONSE_CODE, &status);
    if (status < 200 || status > 299) return bytes;  // an error page is of no use to anybody
    try {
      if (me.received == 0) me.body.restart();
      me.received += bytes;
      me.isTooLong = me.limit != 0 && me.received > me.limit;
      if (me.isTooLong) return 0;
      me.body.write(std::as_bytes(std::span{data, bytes}));
    } catch (...) {
      me.failure = std::current_exception();
      return 0;
    }
    return bytes;
  }
};

std::string HttpAnswer::header(const std::string& name) const {
  const auto found = headers.find(name);
  return found == headers.end() ? "" : found->second;
}

HttpClient::HttpClient(HttpLimits limits, std::string trust)
    : limits_(limits), trust_(std::move(trust)), curl_(curl_easy_init()) {
  if (curl_ == nullptr) throw Error{Kind::failed, "cannot set up libcurl"};
}

HttpClient::~HttpClient() {
  curl_easy_cleanup(curl_);
}

HttpAnswer HttpClient::get(const HttpRequest& request, BodyReceiver& body) {
  int delayMs = limits_.retryDelayMs;
  for (int attempt = 1;; ++attempt) {
    const bool isLast = attempt >= limits_.tries;
    int waitMs = delayMs;
    try {
      HttpAnswer answer = follow(request, body);
      if (!isPassing(answer.status) || isLast) return answer;
      waitMs = std::max(waitMs, retryAfterMs(answer));
      log::info("{} answered {}; trying again", answer.url.str(), answer.status);
    } catch (const PassingFailure& failure) {
      if (isLast) throw failure.error;
      log::info("{}: {}; trying again", failure.error.cause(), failure.error.why());
    }
    ::usleep(static_cast<useconds_t>(waitMs) * 1000);
    delayMs = std::min(delayMs * 2, kMaxRetryDelayMs);
  }
}

HttpAnswer HttpClient::follow(const HttpRequest& request, BodyReceiver& body) {
  const std::string home = request.url.origin();
  Url url = request.url;
  for (int redirects = 0;; ++redirects) {
    std::vector<std::string> headers = request.headers;
    if (!request.authorization.empty() && url.origin() == home)
      headers.push_back("Authorization: " + request.authorization);
    HttpAnswer answer = exchange(url, headers, body);
    const std::string location = answer.header("location");
    if (!isRedirect(answer.status) || location.empty()) return answer;
    if (redirects >= limits_.redirects) {
      throw Error::make(Kind::failed, "{} redirects more than {} times", request.url.str(),
                        limits_.redirects);
    }
    url = url.resolve(location);
  }
}

void HttpClient::configure(const Transfer& transfer) const {
  CURL* const curl = transfer.curl;
  curl_easy_reset(curl);
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(curl, CURLOPT_NETRC, static_cast<long>(CURL_NETRC_IGNORED));
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_USERAGENT, "img/" IMG_VERSION);
  curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 1L);
  curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 2L);
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, limits_.connectSeconds);
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, limits_.stallSeconds);
  curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, Transfer::onHeader);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, Transfer::onBody);
  if (trust_.empty()) return;
  curl_blob blob{const_cast<char*>(trust_.data()), trust_.size(), CURL_BLOB_NOCOPY};
  curl_easy_setopt(curl, CURLOPT_CAINFO_BLOB, &blob);
}

HttpAnswer HttpClient::exchange(const Url& url, const std::vector<std::string>& headers,
                                BodyReceiver& body) {
  Transfer transfer{static_cast<CURL*>(curl_), body, limits_.bodyBytes, {0, {}, url}};
  configure(transfer);
  const std::string address = url.str();
  const List list = makeList(headers);
  std::array<char, CURL_ERROR_SIZE> detail{};
  curl_easy_setopt(transfer.curl, CURLOPT_URL, address.c_str());
  curl_easy_setopt(transfer.curl, CURLOPT_HTTPHEADER, list.get());
  curl_easy_setopt(transfer.curl, CURLOPT_ERRORBUFFER, detail.data());
  curl_easy_setopt(transfer.curl, CURLOPT_HEADERDATA, &transfer);
  curl_easy_setopt(transfer.curl, CURLOPT_WRITEDATA, &transfer);
  const CURLcode code = curl_easy_perform(transfer.curl);
  curl_easy_setopt(transfer.curl, CURLOPT_ERRORBUFFER, nullptr);
  if (transfer.failure) std::rethrow_exception(transfer.failure);
  if (transfer.isTooLong) {
    throw Error::make(Kind::failed, "{} has more than {} bytes", address, limits_.bodyBytes);
  }
  if (transfer.headerBytes > kMaxHeaderBytes) {
    throw Error::make(Kind::corrupt, "{} answered with more than {} bytes of headers", address,
                      kMaxHeaderBytes);
  }
  if (code != CURLE_OK) {
    Error error = transportError(url, code, detail.data());
    if (isPassing(code)) throw PassingFailure{std::move(error)};
    throw error;
  }
  curl_easy_getinfo(transfer.curl, CURLINFO_RESPONSE_CODE, &transfer.answer.status);
  const bool isBodyless = transfer.received == 0;
  if (isBodyless && transfer.answer.status >= 200 && transfer.answer.status <= 299) body.restart();
  return std::move(transfer.answer);
}

std::string readTrust() {
  const std::string file = variableOrEmpty("SSL_CERT_FILE");
  if (file.empty()) return {};
  return fs::readFile(AT_FDCWD, file);
}

void normaliseProxyVariables() {
  for (const char* upper : {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"}) {
    const auto value = findVariable(upper);
    // NOLINTNEXTLINE(concurrency-mt-unsafe): one thread
    if (value) ::setenv(text::lower(upper).c_str(), value->c_str(), 0);
  }
}

}  // namespace img::registry
