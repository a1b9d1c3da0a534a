#include "registry/upload.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/sys.h"
#include "base/text.h"
#include "registry/content_range.h"

namespace img::registry {
namespace {

constexpr std::uint64_t kFallbackChunk = std::uint64_t{16} << 20;
// Of a growing blob. What is sent at once need not be cut: more is sent where more is there.
constexpr std::uint64_t kLeastGrowth = std::uint64_t{8} << 20;
constexpr int kMaxRestarts = 3;  // of sessions that the registry has lost or does not like

const char* const kOctets = "Content-Type: application/octet-stream";

class Upload {
 public:
  Upload(Client& client, const Json& request, Fd file)
      : client_(client),
        address_(client.registry()),
        digest_(request.value("digest", "")),
        size_(request.value("size", std::uint64_t{0})),
        chunkBytes_(request.value("chunk_bytes", std::uint64_t{0})),
        file_(std::move(file)),
        action_("upload blob " + digest_) {
    checkDigest(digest_);
    if (static_cast<std::uint64_t>(sys::fstat(file_.get()).st_size) < size_) {
      throw Error::make(Kind::usage, "the file of blob {} has less than {} bytes", digest_, size_);
    }
  }

  Upload(Client& client, Growth& growth)
      : client_(client),
        address_(client.registry()),
        chunkBytes_(kLeastGrowth),
        growth_(&growth),
        action_("upload a blob") {}

  Task<Json> run();

 private:
  enum class Verdict { done, restart, wait, refused };

  Task<Outcome> attempt();
  Task<Outcome> open();
  Task<Outcome> sendPieces();
  Task<Outcome> sendStream();
  Task<> grow();
  void takeGrown();
  Task<Outcome> put(const BodySource& body);
  Task<bool> isThere();
  Task<> findOffset();
  [[nodiscard]] Verdict judge(const Outcome& outcome);
  [[nodiscard]] ApiRequest at(const std::string& method, const Url& url) const;
  [[nodiscard]] BodySource part(std::uint64_t offset, std::uint64_t size) const;
  bool takeLocation(Outcome& outcome);

  Client& client_;
  Address& address_;
  std::string digest_;  // empty as long as the blob grows
  std::uint64_t size_ = 0;
  std::uint64_t chunkBytes_;  // 0: in one piece
  Fd file_;
  Growth* growth_ = nullptr;  // then the file is there
  bool wasStreamed_ = false;  // tried once: who does not like that gets pieces
  std::string action_;

  std::optional<Url> location_;  // of the session at the registry
  std::uint64_t offset_ = 0;     // what it has
  int restarts_ = 0;
  bool isDone_ = false;
};

ApiRequest Upload::at(const std::string& method, const Url& url) const {
  ApiRequest request;
  request.action = action_;
  request.method = method;
  request.url = url;
  request.isBulk = true;
  return request;
}

BodySource Upload::part(std::uint64_t offset, std::uint64_t size) const {
  BodySource body;
  body.file = growth_ != nullptr ? growth_->file() : file_.get();
  body.offset = offset;
  body.size = size;
  return body;
}

// The address of the next step, absolute or relative. It may be anywhere; the credentials stay.
bool Upload::takeLocation(Outcome& outcome) {
  const std::string location = outcome.answer.header("location");
  if (location.empty()) return false;
  try {
    location_ = outcome.answer.url.resolve(location);
    return true;
  } catch (const Error& error) {
    outcome.failure = error;
    return false;
  }
}

Task<Outcome> Upload::open() {
  ApiRequest request;
  request.action = action_;
  request.method = "POST";
  request.path = "blobs/uploads/";
  request.body = BodySource{};
  Outcome outcome = co_await client_.send(address_, request, nullptr);
  if (outcome.failure || !outcome.answer.isSuccess()) co_return outcome;
  offset_ = 0;
  if (!takeLocation(outcome) && !outcome.failure) {
    outcome.failure = Error{Kind::corrupt, "no Location"}.why(
        "the registry opens an upload without saying where (no header Location)");
  }
  const auto least = text::parseUnsigned(outcome.answer.header("oci-chunk-min-length"));
  if (least && chunkBytes_ > 0) {
    constexpr std::uint64_t kMaxChunk = std::uint64_t{1} << 30;
    chunkBytes_ = std::clamp<std::uint64_t>(*least, chunkBytes_, std::max(chunkBytes_, kMaxChunk));
  }
  co_return outcome;
}

Task<Outcome> Upload::put(const BodySource& body) {
  ApiRequest request = at("PUT", location_->withQuery("digest", digest_));
  request.headers = {kOctets};
  request.body = body;
  Outcome outcome = co_await client_.send(address_, request, nullptr);
  isDone_ = !outcome.failure && outcome.answer.isSuccess();
  co_return outcome;
}

// Until there is enough to send, or no more will come.
Task<> Upload::grow() {
  while (!growth_->isWhole() && growth_->size() < offset_ + chunkBytes_) co_await growth_->news();
  takeGrown();
}

void Upload::takeGrown() {
  size_ = growth_->size();
  if (!growth_->isWhole() || !digest_.empty()) return;
  digest_ = growth_->digest();
  action_ = "upload blob " + digest_;
}

// All in one PATCH, whose end is known when the blob is: a registry may sync its file after each,
// and answers only then.
Task<Outcome> Upload::sendStream() {
  wasStreamed_ = true;
  ApiRequest request = at("PATCH", *location_);
  request.headers = {kOctets};
  request.body = part(0, 0);
  request.body->growing = growth_;
  Outcome outcome = co_await client_.send(address_, request, nullptr);
  takeGrown();
  if (outcome.failure || !outcome.answer.isSuccess()) co_return outcome;
  const auto has = parseUploadRange(outcome.answer.header("range"));
  offset_ = has && *has > 0 && *has < size_ ? *has : size_;
  takeLocation(outcome);
  co_return outcome;
}

// PATCH by PATCH from offset_ on.
Task<Outcome> Upload::sendPieces() {
  for (;;) {
    if (growth_ != nullptr) co_await grow();
    if (offset_ >= size_) break;
    const std::uint64_t left = size_ - offset_;
    const bool isAll = chunkBytes_ == 0 || growth_ != nullptr;
    const std::uint64_t count = isAll ? left : std::min(left, chunkBytes_);
    ApiRequest request = at("PATCH", *location_);
    request.headers = {kOctets, fmt::format("Content-Range: {}-{}", offset_, offset_ + count - 1)};
    request.body = part(offset_, count);
    Outcome outcome = co_await client_.send(address_, request, nullptr);
    if (outcome.failure || !outcome.answer.isSuccess()) co_return outcome;
    const auto has = parseUploadRange(outcome.answer.header("range"));
    const bool isShort = has && *has > offset_ && *has < offset_ + count;
    offset_ = isShort ? *has : offset_ + count;
    takeLocation(outcome);
    if (outcome.failure) co_return outcome;
  }
  const BodySource nothing;
  Outcome outcome = co_await put(nothing);
  co_return outcome;
}

Task<Outcome> Upload::attempt() {
  if (!location_) {
    Outcome opened = co_await open();
    if (opened.failure || !opened.answer.isSuccess()) co_return opened;
  }
  if (chunkBytes_ == 0 && offset_ == 0) {
    const BodySource all = part(0, size_);
    Outcome outcome = co_await put(all);
    co_return outcome;
  }
  const bool mayStream = growth_ != nullptr && offset_ == 0 && !wasStreamed_;
  while (mayStream && growth_->size() == 0 && !growth_->isWhole()) co_await growth_->news();
  if (mayStream && !growth_->isWhole()) {
    Outcome streamed = co_await sendStream();
    if (streamed.failure || !streamed.answer.isSuccess()) co_return streamed;
  }
  Outcome outcome = co_await sendPieces();
  co_return outcome;
}

Upload::Verdict Upload::judge(const Outcome& outcome) {
  if (isDone_) return Verdict::done;
  if (outcome.failure) return outcome.mayPass ? Verdict::wait : Verdict::refused;
  const long status = outcome.answer.status;
  if (isPassing(status)) return Verdict::wait;
  const bool wantsChunks = status == 405 || status == 411 || status == 413 || status == 501;
  const bool isFirstRefusal = wasStreamed_ && restarts_ == 0;
  if (wantsChunks && (chunkBytes_ == 0 || isFirstRefusal)) {
    if (chunkBytes_ == 0) chunkBytes_ = kFallbackChunk;
    ++restarts_;
    return Verdict::restart;
  }
  // The session is gone, or not where we think it is.
  const bool isLost = location_ && (status == 400 || status == 404 || status == 416);
  return isLost && ++restarts_ <= kMaxRestarts ? Verdict::restart : Verdict::refused;
}

Task<bool> Upload::isThere() {
  if (digest_.empty()) co_return false;
  ApiRequest request;
  request.method = "HEAD";
  request.action = action_;
  request.path = "blobs/" + digest_;
  const Outcome outcome = co_await client_.send(address_, request, nullptr);
  co_return !outcome.failure && outcome.answer.status == 200;
}

// Where to go on; without an answer from the beginning, in a new session.
Task<> Upload::findOffset() {
  if (!location_) co_return;
  const ApiRequest request = at("GET", *location_);
  Outcome outcome = co_await client_.send(address_, request, nullptr);
  const bool isKnown = !outcome.failure && outcome.answer.status == 204;
  const auto has = isKnown ? parseUploadRange(outcome.answer.header("range")) : std::nullopt;
  if (has && *has <= size_) {
    offset_ = *has;
    takeLocation(outcome);
  } else {
    location_.reset();
    offset_ = 0;
  }
}

Task<Json> Upload::run() {
  const Slots::Slot slot = co_await client_.transfers.enter();
  Backoff backoff{client_.rulesFor(address_)};
  for (;;) {
    const Outcome outcome = co_await attempt();
    const Verdict verdict = judge(outcome);
    if (verdict == Verdict::done) co_return Json::object();
    const std::optional<std::int64_t> wait =
        verdict == Verdict::wait ? backoff.next(outcome) : std::optional<std::int64_t>{0};
    if (verdict == Verdict::refused || !wait) {
      const Served served{&address_, outcome, backoff.tries()};
      throw Client::errorOf(served, action_);
    }
    if (*wait > 0) co_await client_.waitOut(*wait, outcome, address_);
    // The answer may have been lost, and not the blob.
    const bool isPresent = co_await isThere();
    if (isPresent) co_return Json::object();
    const std::uint64_t before = offset_;
    if (verdict == Verdict::restart) location_.reset();
    co_await findOffset();
    if (offset_ > before) backoff.reset();
  }
}

}  // namespace

Task<Json> uploadBlob(Client& client, const Json& request, Fd file) {
  if (!file) throw Error{Kind::usage, "an upload needs a descriptor of its file"};
  Upload upload{client, request, std::move(file)};
  Json answer = co_await upload.run();
  co_return answer;
}

Task<Json> uploadGrowing(Client& client, Growths& growths, const Json& request, Fd socket) {
  if (!socket) throw Error{Kind::usage, "a growing upload needs the socket of its maker"};
  Growth growth{client.loop, growths, request.value("id", std::int64_t{-1}), std::move(socket)};
  Upload upload{client, growth};
  Json answer = co_await upload.run();
  co_return answer;
}

Task<Json> mountBlob(Client& client, const Json& request) {
  const std::string digest = request.value("digest", "");
  const std::string from = request.value("from", "");
  checkDigest(digest);
  checkRepository(from);
  ApiRequest wanted;
  wanted.method = "POST";
  wanted.action = "mount blob " + digest;
  wanted.path = fmt::format("blobs/uploads/?mount={}&from={}", digest, from);
  wanted.body = BodySource{};
  wanted.extraScope = fmt::format("repository:{}:pull", from);
  const Served served = co_await client.ask(client.registry(), wanted, nullptr);
  // 202: an upload was opened instead. Refusals: the upload to come says the same, or succeeds.
  co_return Json{{"mounted", !served.outcome.failure && served.outcome.answer.status == 201}};
}

}  // namespace img::registry
