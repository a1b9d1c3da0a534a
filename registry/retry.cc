#include "registry/retry.h"

#include <curl/curl.h>

#include <algorithm>
#include <random>
#include <string>

#include "base/text.h"

namespace img::registry {
namespace {

constexpr std::int64_t kMaxRetryAfterMs = 60'000;
constexpr std::int64_t kMaxDelayMs = 8'000;

// Many clients that failed together must not come back together.
std::int64_t withJitter(std::int64_t milliseconds) {
  static std::minstd_rand random{std::random_device{}()};
  return milliseconds * std::uniform_int_distribution<std::int64_t>{75, 125}(random) / 100;
}

}  // namespace

bool isPassing(long status) {
  return status == 408 || status == 429 || status == 500 || status == 502 || status == 503 ||
         status == 504;
}

std::optional<std::int64_t> retryAfterMs(std::string_view value, std::time_t now) {
  constexpr std::int64_t kYearSeconds = 366LL * 86400;
  const std::string trimmed{text::trim(value)};
  if (const auto seconds = text::parseUnsigned(trimmed)) {
    return static_cast<std::int64_t>(std::min<unsigned long long>(*seconds, kYearSeconds)) * 1000;
  }
  const std::time_t when = curl_getdate(trimmed.c_str(), nullptr);
  if (trimmed.empty() || when < 0) return std::nullopt;
  return std::clamp<std::int64_t>(when - now, 0, kYearSeconds) * 1000;
}

std::optional<std::int64_t> Backoff::next(const Outcome& outcome) {
  const bool isFailure = outcome.failure.has_value();
  if (isFailure ? !outcome.mayPass : !isPassing(outcome.answer.status)) return std::nullopt;
  const bool isTooMany = !isFailure && outcome.answer.status == 429;
  const int defaultTries = isFailure && !outcome.hasBodyFailed ? 3 : 5;
  int allowed = rules_.tries > 0 ? rules_.tries : defaultTries;
  const bool isAway = isFailure && outcome.failure->code() == "unreachable";
  if (isAway && rules_.connectTries > 0) allowed = std::min(allowed, rules_.connectTries);
  ++failures_;
  if (failures_ >= allowed && !(isTooMany && allowed > 1)) return std::nullopt;

  const std::int64_t first = rules_.delayMs > 0 ? rules_.delayMs : isFailure ? 1000 : 500;
  const int doublings = std::min(failures_ - 1, 10);
  std::int64_t wait = withJitter(std::min(first << doublings, std::max(first, kMaxDelayMs)));
  const std::int64_t asked =
      retryAfterMs(outcome.answer.header("retry-after"), std::time(nullptr)).value_or(0);
  if (isTooMany) {
    wait = std::max(wait, asked);
    if (wait > patienceMs_) return std::nullopt;
    patienceMs_ -= wait;
  } else if (!isFailure) {
    wait = std::max(wait, std::min(asked, kMaxRetryAfterMs));
  }
  ++tries_;
  return wait;
}

void Backoff::reset() {
  failures_ = 0;
}

}  // namespace img::registry
