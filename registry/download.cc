#include "registry/download.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/text.h"
#include "registry/blob_receiver.h"
#include "registry/registry_error.h"

namespace img::registry {
namespace {

constexpr int kMaxResumes = 200;    // with progress; a server that gives a byte each time ends too
constexpr int kMaxIdleResumes = 5;  // without progress (reliability.md 7)
constexpr std::uint64_t kMaxBlob = (std::uint64_t{1} << 53) - 1;  // security.md M2

class Download {
 public:
  Download(Client& client, Servers& servers, const Json& request, Fd pipe)
      : client_(client),
        servers_(servers),
        digest_(request.value("digest", "")),
        size_(request.value("size", std::uint64_t{0})),
        isAgain_(request.value("again", false)),
        receiver_(std::move(pipe), request.value("offset", std::uint64_t{0}), size_) {
    checkDigest(digest_);
    if (size_ > kMaxBlob || receiver_.position() > size_) {
      throw Error::make(Kind::usage, "{}: a blob of {} bytes from byte {} on", digest_, size_,
                        receiver_.position());
    }
  }

  Task<Json> run();

 private:
  Task<bool> from(Address& address, bool isLast);
  Task<> drain();
  [[nodiscard]] ApiRequest request();
  enum class Verdict { done, again, other };
  Verdict judge(const Outcome& outcome, const Address& address);
  Verdict judgeAnswer(const Outcome& outcome, const Address& address);
  [[nodiscard]] Error lengthError(const Address& address, const Outcome& outcome) const;

  Client& client_;
  Servers& servers_;
  std::string digest_;
  std::uint64_t size_;
  bool isAgain_;
  BlobReceiver receiver_;

  std::string etag_;
  bool refusesParts_ = false;  // answered a Range with another part
  bool hasAskedAnew_ = false;  // after a 403 from where a redirect led
  int wrongLengths_ = 0;
  int requests_ = 0;
  std::optional<Error> error_;  // why the last try failed
};

ApiRequest Download::request() {
  ApiRequest request;
  request.action = "get blob " + digest_;
  request.path = "blobs/" + digest_;
  request.isBulk = true;
  request.isFresh = isAgain_ || wrongLengths_ > 0;
  const bool isPart = receiver_.position() > 0 && !refusesParts_;
  receiver_.expect(isPart);
  if (isPart) {
    request.headers.push_back(fmt::format("Range: bytes={}-", receiver_.position()));
    if (!etag_.empty()) request.headers.push_back("If-Range: " + etag_);
  }
  return request;
}

Error Download::lengthError(const Address& address, const Outcome& outcome) const {
  const std::string length = outcome.answer.header("content-length");
  return Error::make(Kind::corrupt, "{}: blob {} is not the {} bytes that its manifest says",
                     address.endpoint.place(), digest_, size_)
      .why(length.empty() ? std::string{"more bytes came"}
                          : fmt::format("the registry says it has {}", text::escape(length, 40)))
      .code("digest-mismatch");
}

// What an exchange means for the blob: done, ask this address again, or turn to another one.
Download::Verdict Download::judge(const Outcome& outcome, const Address& address) {
  using Trouble = BlobReceiver::Trouble;
  const std::string& etag = outcome.answer.header("etag");
  const bool isStrong = etag.starts_with('"') && etag.find_first_of("\r\n") == std::string::npos;
  if (outcome.answer.isSuccess()) etag_ = isStrong ? etag : "";
  switch (receiver_.trouble()) {
    case Trouble::none: break;
    case Trouble::wrongLength:
      error_ = lengthError(address, outcome);
      return ++wrongLengths_ == 1 && !receiver_.isComplete() ? Verdict::again : Verdict::other;
    case Trouble::wrongRange:
      error_ = Error::make(Kind::corrupt, "{}: cannot get blob {}: another part than asked for",
                           address.endpoint.place(), digest_)
                   .why("Content-Range: " + text::escape(outcome.answer.header("content-range")))
                   .code("registry-error");
      return std::exchange(refusesParts_, true) ? Verdict::other : Verdict::again;
    case Trouble::unasked:
      error_ = Error::make(Kind::corrupt, "{}: cannot get blob {}: {} was not asked for",
                           address.endpoint.place(), digest_, statusText(outcome.answer.status))
                   .code("registry-error");
      return Verdict::other;
  }
  return judgeAnswer(outcome, address);
}

Download::Verdict Download::judgeAnswer(const Outcome& outcome, const Address& address) {
  const HttpAnswer& answer = outcome.answer;
  if (!outcome.failure && answer.isSuccess()) {
    if (receiver_.isComplete()) return Verdict::done;
    error_ = Error::make(Kind::corrupt, "{}: blob {} ends after {} of {} bytes",
                         address.endpoint.place(), digest_, receiver_.position(), size_)
                 .code("digest-mismatch");
    return Verdict::again;  // asked for the rest; a shorter blob answers 416
  }
  const Served served{const_cast<Address*>(&address), outcome, requests_};
  error_ = Client::errorOf(served, "get blob " + digest_);
  const bool isAbroad = answer.url.origin() != address.endpoint.origin();
  if (!outcome.failure && answer.status == 403 && isAbroad && !hasAskedAnew_) {
    hasAskedAnew_ = true;  // a signed address that has expired: the registry makes a new one
    return Verdict::again;
  }
  if (!outcome.failure && answer.status == 416) {
    error_->code("digest-mismatch");
    return std::exchange(refusesParts_, true) ? Verdict::other : Verdict::again;
  }
  return Verdict::other;
}

// True: done. Otherwise error_ says why this address will not do.
Task<bool> Download::from(Address& address, bool isLast) {
  Backoff backoff{isLast ? client_.rulesFor(address) : RetryRules{1, 0}};
  int resumes = 0, idle = 0;
  for (;;) {
    const std::uint64_t before = receiver_.position();
    ++requests_;
    const ApiRequest wanted = request();
    Outcome outcome = co_await client_.send(address, wanted, &receiver_);
    const Verdict verdict = judge(outcome, address);
    if (verdict == Verdict::done) co_return true;
    const bool hasProgress = receiver_.position() > before;
    if (hasProgress) backoff.reset();
    idle = hasProgress ? 0 : idle + 1;
    if (++resumes > kMaxResumes || idle > kMaxIdleResumes) co_return false;
    if (verdict == Verdict::again) continue;
    // A body that broke off after it had made progress is continued at once, the others wait.
    const bool isBroken = outcome.hasBodyFailed && outcome.mayPass;
    if (isBroken && hasProgress) continue;
    const std::optional<std::int64_t> wait = backoff.next(outcome);
    if (!wait) co_return false;
    co_await client_.waitOut(*wait, outcome, address);
  }
}

Task<> Download::drain() {
  while (receiver_.blockedOn() >= 0) {
    co_await client_.loop.writable(receiver_.blockedOn());
    receiver_.flush();
  }
}

Task<Json> Download::run() {
  if (receiver_.isComplete()) co_return Json{{"requests", 0}, {"received", 0}};
  const Slots::Slot slot = co_await client_.transfers.enter();
  const auto served = servers_.find(digest_);
  const Address* const behind = isAgain_ && served != servers_.end() ? served->second : nullptr;
  std::vector<std::string> others;
  const std::vector<Address*> addresses = client_.addressesFor(true, behind);
  for (Address* address : addresses) {
    servers_[digest_] = address;
    const bool isLast = address == addresses.back();
    const bool isDone = co_await from(*address, isLast);
    if (isDone) {
      co_await drain();
      receiver_.close();
      co_return Json{{"requests", requests_}, {"received", receiver_.received()}};
    }
    if (!isLast) others.push_back(error_->cause());
    etag_.clear();  // of that one
    refusesParts_ = hasAskedAnew_ = false;
  }
  for (const std::string& other : others) error_->during("asking the mirror {}", other);
  throw *error_;
}

}  // namespace

Task<Json> downloadBlob(Client& client, Servers& servers, const Json& request, Fd pipe) {
  if (!pipe) throw Error{Kind::usage, "a blob needs a descriptor to go to"};
  Download download{client, servers, request, std::move(pipe)};
  Json answer = co_await download.run();
  co_return answer;
}

}  // namespace img::registry
