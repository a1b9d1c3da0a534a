#include "registry/exchange.h"

#include <curl/curl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <exception>
#include <memory>

#include "base/sys.h"
#include "base/text.h"

namespace img::registry {
namespace {

constexpr size_t kMaxHeaderBytes = size_t{64} << 10;  // security.md L1
constexpr size_t kMaxErrorBody = size_t{64} << 10;    // security.md L1
constexpr long kReceiveBuffer = 256L << 10;
constexpr long kSendBuffer = 256L << 10;

struct EasyDeleter {
  void operator()(void* easy) const { curl_easy_cleanup(easy); }
};
struct ListDeleter {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};

class Exchange {
 public:
  Exchange(Loop& loop, const HttpRequest& request, const Transport& transport,
           const Patience& patience, BodyReceiver* receiver);
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;
  ~Exchange() {
    stopListening();
    loop_.remove(easy_.get());
  }

  // co_await: until it is over.
  [[nodiscard]] bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> task);
  Outcome await_resume();

 private:
  enum class Phase { sending, waiting, receiving };

  void configure();
  void configureTrust(const Transport& transport);
  void configureBody();
  void addHeader(const std::string& line);
  void finish(int code);
  void unpause();
  void goOn();
  void stopListening();
  [[nodiscard]] Phase phase() const;
  void openWindow();
  void closeWindow();
  size_t header(std::string_view line);
  size_t body(std::string_view bytes);
  size_t read(std::span<char> into);
  [[nodiscard]] Outcome transportFailure(CURLcode code);

  static size_t onHeader(char* data, size_t size, size_t count, void* self);
  static size_t onBody(char* data, size_t size, size_t count, void* self);
  static size_t onRead(char* into, size_t size, size_t count, void* self);

  Loop& loop_;
  const HttpRequest& request_;
  const Patience& patience_;
  BodyReceiver* receiver_;
  std::unique_ptr<void, EasyDeleter> easy_;
  std::unique_ptr<curl_slist, ListDeleter> headers_;
  std::array<char, CURL_ERROR_SIZE> detail_{};
  std::string address_;
  HttpAnswer answer_;

  std::uint64_t sent_ = 0, received_ = 0;
  size_t headerBytes_ = 0;
  bool hasHead_ = false, hasBegun_ = false, isPaused_ = false;
  bool isUnwanted_ = false, isTimedOut_ = false;
  std::exception_ptr failure_;  // an exception must not pass through C frames

  Loop::Watch over_, room_, window_;
  Phase windowPhase_ = Phase::waiting;
  std::uint64_t windowBytes_ = 0;
  CURLcode code_ = CURLE_OK;
};

Exchange::Exchange(Loop& loop, const HttpRequest& request, const Transport& transport,
                   const Patience& patience, BodyReceiver* receiver)
    : loop_(loop),
      request_(request),
      patience_(patience),
      receiver_(receiver),
      easy_(curl_easy_init()),
      address_(request.url.str()),
      answer_(request.url),
      over_(loop),
      room_(loop),
      window_(loop) {
  if (!easy_) throw Error{Kind::failed, "cannot set up libcurl"};
  configure();
  configureTrust(transport);
  configureBody();
}

void Exchange::configure() {
  CURL* const curl = easy_.get();
  curl_easy_setopt(curl, CURLOPT_URL, address_.c_str());
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
  // Measured on loopback: a blob comes 1.5 times as fast by HTTP/1.1 over TLS as by HTTP/2.
  const long version = request_.isBulk ? CURL_HTTP_VERSION_1_1 : CURL_HTTP_VERSION_2TLS;
  curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, version);
  curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(curl, CURLOPT_NETRC, static_cast<long>(CURL_NETRC_IGNORED));
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_USERAGENT, "img/" IMG_VERSION);
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, patience_.connectSeconds);
  curl_easy_setopt(curl, CURLOPT_BUFFERSIZE, kReceiveBuffer);
  curl_easy_setopt(curl, CURLOPT_UPLOAD_BUFFERSIZE, kSendBuffer);
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, detail_.data());
  curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, onHeader);
  curl_easy_setopt(curl, CURLOPT_HEADERDATA, this);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, onBody);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, this);
  curl_easy_setopt(curl, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
  curl_easy_setopt(curl, CURLOPT_FRESH_CONNECT, request_.isFresh ? 1L : 0L);
  if (request_.method == "HEAD") {
    curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
  } else if (request_.method != "GET") {
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, request_.method.c_str());
  }
  for (const std::string& line : request_.headers) addHeader(line);
  if (!request_.authorization.empty()) addHeader("Authorization: " + request_.authorization);
  addHeader("Expect:");  // a 401 comes before the body matters; waiting costs a second
  curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers_.get());
}

void Exchange::configureTrust(const Transport& transport) {
  CURL* const curl = easy_.get();
  const auto setBlob = [&](CURLoption option, const std::string& pem) {
    if (pem.empty()) return;
    curl_blob blob{const_cast<char*>(pem.data()), pem.size(), CURL_BLOB_NOCOPY};
    curl_easy_setopt(curl, option, &blob);
  };
  curl_easy_setopt(curl, CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
  curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, transport.verifiesTls ? 1L : 0L);
  curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, transport.verifiesTls ? 2L : 0L);
  setBlob(CURLOPT_CAINFO_BLOB, transport.authorities);
  setBlob(CURLOPT_SSLCERT_BLOB, transport.clientCertificate);
  setBlob(CURLOPT_SSLKEY_BLOB, transport.clientKey);
  if (!transport.usesProxy) curl_easy_setopt(curl, CURLOPT_PROXY, "");
}

void Exchange::configureBody() {
  if (!request_.body) return;
  CURL* const curl = easy_.get();
  // -1: libcurl sends it in chunks (RFC 9112, 7.1), as docker and containerd send all blobs.
  const curl_off_t length = request_.body->isLengthKnown()
                                ? static_cast<curl_off_t>(request_.body->length())
                                : curl_off_t{-1};
  if (request_.method == "PUT" || request_.method == "PATCH") {
    curl_easy_setopt(curl, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(curl, CURLOPT_INFILESIZE_LARGE, length);
  } else {
    curl_easy_setopt(curl, CURLOPT_POST, 1L);
    curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, length);
  }
  curl_easy_setopt(curl, CURLOPT_READFUNCTION, onRead);
  curl_easy_setopt(curl, CURLOPT_READDATA, this);
  // No CURLOPT_SEEKFUNCTION: libcurl must not send a body twice by itself when the connection that
  // it kept dies under it (CURLE_SEND_FAIL_REWIND). Whether that is right depends on the request.
}

void Exchange::addHeader(const std::string& line) {
  curl_slist* longer = curl_slist_append(headers_.get(), line.c_str());
  if (longer == nullptr) throw Error{Kind::failed, "out of memory for a request"};
  std::ignore = headers_.release();
  headers_.reset(longer);
}

void Exchange::await_suspend(std::coroutine_handle<> task) {
  over_.start(-1, 0, Loop::kNever, [task] { task.resume(); });
  openWindow();
  loop_.add(easy_.get(), [this](int code) { finish(code); });
}

void Exchange::finish(int code) {
  code_ = static_cast<CURLcode>(code);
  stopListening();
  window_.stop();
  room_.stop();
  over_.wake();
}

// --- Time. What libcurl offers (CURLOPT_LOW_SPEED_TIME) does not tell a server that thinks from a
// body that stalls, so the exchange is looked at in windows: 60 s until the first byte of the
// answer, 30 s with at least 30 KiB while a body moves (security.md C3).

Exchange::Phase Exchange::phase() const {
  if (hasHead_) return Phase::receiving;
  const bool hasMore =
      request_.body && (sent_ < request_.body->length() || !request_.body->isLengthKnown());
  return hasMore ? Phase::sending : Phase::waiting;
}

void Exchange::openWindow() {
  windowPhase_ = phase();
  windowBytes_ = sent_ + received_;
  long seconds = patience_.stallSeconds;
  if (windowPhase_ == Phase::waiting) {
    // A registry may read what it got once more before it answers: a second for every 16 MiB.
    const std::uint64_t length = request_.body ? request_.body->length() : 0;
    seconds = patience_.firstByteSeconds + static_cast<long>(length >> 24);
  }
  window_.start(-1, 0, sys::monotonicMs() + seconds * 1000, [this] { closeWindow(); });
}

void Exchange::closeWindow() {
  const bool isSame = windowPhase_ == phase() && !isPaused_;
  const std::uint64_t moved = sent_ + received_ - windowBytes_;
  const std::uint64_t wanted = patience_.stallBytesPerSecond *
                               static_cast<std::uint64_t>(std::max(1L, patience_.stallSeconds));
  if (!isSame || (windowPhase_ != Phase::waiting && moved >= wanted)) return openWindow();
  isTimedOut_ = true;
  loop_.remove(easy_.get());
  finish(CURLE_OPERATION_TIMEDOUT);
}

// --- What libcurl calls.

size_t Exchange::header(std::string_view line) {
  headerBytes_ += line.size();
  if (headerBytes_ > kMaxHeaderBytes) return 0;
  if (line.starts_with("HTTP/")) answer_.headers.clear();  // after a 100 or a proxy's answer
  if (!std::exchange(hasHead_, true)) openWindow();
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos) return line.size();
  const std::string name = text::lower(line.substr(0, colon));
  std::string& value = answer_.headers[name];
  const bool isList = name == "www-authenticate" || name == "link";
  if (isList && !value.empty()) {
    value += ", ";  // RFC 9110 5.3
  } else {
    value.clear();
  }
  value += text::trim(line.substr(colon + 1));
  return line.size();
}

size_t Exchange::body(std::string_view bytes) {
  curl_easy_getinfo(easy_.get(), CURLINFO_RESPONSE_CODE, &answer_.status);
  if (!answer_.isSuccess()) {
    received_ += bytes.size();
    const size_t room = kMaxErrorBody - answer_.body.size();
    answer_.body += bytes.substr(0, room);
    // The rest of a short page keeps the connection usable; a long one is not read.
    return bytes.size() <= room ? bytes.size() : 0;
  }
  if (receiver_ == nullptr) return bytes.size();
  if (receiver_->blockedOn() >= 0) {
    isPaused_ = true;
    room_.start(receiver_->blockedOn(), POLLOUT, Loop::kNever, [this] { unpause(); });
    return CURL_WRITEFUNC_PAUSE;
  }
  if (!hasBegun_) isUnwanted_ = !receiver_->begin(answer_);
  hasBegun_ = true;
  if (!isUnwanted_) {
    received_ += bytes.size();
    isUnwanted_ = !receiver_->write(asBytes(bytes));
  }
  return isUnwanted_ ? 0 : bytes.size();
}

void Exchange::unpause() {
  try {
    receiver_->flush();
  } catch (...) {
    failure_ = std::current_exception();
    loop_.remove(easy_.get());
    return finish(CURLE_WRITE_ERROR);
  }
  if (receiver_->blockedOn() >= 0) {
    room_.start(receiver_->blockedOn(), POLLOUT, Loop::kNever, [this] { unpause(); });
    return;
  }
  goOn();
}

void Exchange::stopListening() {
  if (request_.body && request_.body->growing != nullptr) request_.body->growing->onNews({});
}

void Exchange::goOn() {
  isPaused_ = false;
  openWindow();
  // What was held back is delivered inside this call, whose failure nobody else is told.
  const CURLcode code = curl_easy_pause(easy_.get(), CURLPAUSE_CONT);
  if (code == CURLE_OK) return;
  loop_.remove(easy_.get());
  finish(code);
}

size_t Exchange::read(std::span<char> into) {
  const BodySource& source = *request_.body;
  const std::uint64_t left = source.length() - sent_;
  const size_t count = std::min<std::uint64_t>(left, into.size());
  if (left == 0 && !source.isLengthKnown()) {
    isPaused_ = true;
    source.growing->onNews([this] { goOn(); });
    return CURL_READFUNC_PAUSE;
  }
  if (source.file < 0) {
    std::copy_n(source.text.data() + sent_, count, into.data());
  } else {
    const auto got = preadFull(source.file, std::as_writable_bytes(into.first(count)),
                               static_cast<off_t>(source.offset + sent_), "the upload");
    if (got != count) throw Error{Kind::failed, "the file became shorter while it was uploaded"};
  }
  sent_ += count;
  return count;
}

size_t Exchange::onHeader(char* data, size_t size, size_t count, void* self) {
  return static_cast<Exchange*>(self)->header({data, size * count});
}

size_t Exchange::onBody(char* data, size_t size, size_t count, void* self) {
  auto& me = *static_cast<Exchange*>(self);
  try {
    return me.body({data, size * count});
  } catch (...) {
    me.failure_ = std::current_exception();
    return 0;
  }
}

size_t Exchange::onRead(char* into, size_t size, size_t count, void* self) {
  auto& me = *static_cast<Exchange*>(self);
  try {
    return me.read({into, size * count});
  } catch (...) {
    me.failure_ = std::current_exception();
    return CURL_READFUNC_ABORT;
  }
}

// --- The end.

bool mayPass(CURLcode code) {
  static constexpr std::array kCodes{
      CURLE_COULDNT_RESOLVE_HOST, CURLE_COULDNT_CONNECT, CURLE_OPERATION_TIMEDOUT,
      CURLE_GOT_NOTHING,          CURLE_SEND_ERROR,      CURLE_RECV_ERROR,
      CURLE_PARTIAL_FILE,         CURLE_HTTP2,           CURLE_HTTP2_STREAM,
      CURLE_SSL_CONNECT_ERROR,    CURLE_SEND_FAIL_REWIND};
  return std::find(kCodes.begin(), kCodes.end(), code) != kCodes.end();
}

void nameCode(Error& error, CURLcode code) {
  switch (code) {
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CERTPROBLEM: error.code("tls"); break;
    case CURLE_SSL_CONNECT_ERROR: error.code("plain-http"); break;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_OPERATION_TIMEDOUT: error.code("unreachable"); break;
    default: break;
  }
}

Outcome Exchange::transportFailure(CURLcode code) {
  Error error =
      Error::make(Kind::failed, "cannot fetch {}", text::escape(answer_.url.shown(), 500));
  std::string reason = detail_[0] != '\0' ? detail_.data() : curl_easy_strerror(code);
  if (isTimedOut_) {
    const bool isSlow = windowPhase_ != Phase::waiting;
    reason = isSlow ? fmt::format("less than {} bytes per second for {} seconds",
                                  patience_.stallBytesPerSecond, patience_.stallSeconds)
                    : fmt::format("no answer for {} seconds", patience_.firstByteSeconds);
  }
  error.why(text::escape(reason, 500));
  nameCode(error, code);
  Outcome outcome{std::move(answer_), std::move(error)};
  outcome.mayPass = mayPass(code);
  outcome.isPlainHttp = code == CURLE_SSL_CONNECT_ERROR;
  outcome.hasBodyFailed = hasHead_ && outcome.answer.isSuccess();
  return outcome;
}

Outcome Exchange::await_resume() {
  if (failure_) std::rethrow_exception(failure_);
  curl_easy_getinfo(easy_.get(), CURLINFO_RESPONSE_CODE, &answer_.status);
  if (headerBytes_ > kMaxHeaderBytes) {
    Error error = Error::make(Kind::corrupt, "{} answered with more than {} bytes of headers",
                              text::escape(answer_.url.shown(), 500), kMaxHeaderBytes);
    return Outcome{std::move(answer_), std::move(error.code("registry-error"))};
  }
  const bool isErrorPage = code_ == CURLE_WRITE_ERROR && !answer_.isSuccess();
  if (code_ != CURLE_OK && !isUnwanted_ && !isErrorPage) return transportFailure(code_);
  if (receiver_ != nullptr && !hasBegun_ && answer_.isSuccess()) receiver_->begin(answer_);
  return Outcome{std::move(answer_)};
}

}  // namespace

Task<Outcome> exchange(Loop& loop, const HttpRequest& request, const Transport& transport,
                       const Patience& patience, BodyReceiver* receiver) {
  Exchange running{loop, request, transport, patience, receiver};
  Outcome outcome = co_await running;
  co_return outcome;
}

}  // namespace img::registry
