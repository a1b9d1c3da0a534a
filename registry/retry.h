// When an exchange is tried again, and after how long (reliability.md 7).
#pragma once

#include <cstdint>
#include <ctime>
#include <functional>
#include <optional>
#include <string_view>

#include "base/task.h"
#include "registry/http.h"
#include "registry/loop.h"

namespace img::registry {

// A status that another try may not meet: 408, 429, 500, 502, 503, 504.
bool isPassing(long status);

// Retry-After: seconds or a date (RFC 9110 10.2.3), as milliseconds from `now`; nullopt: none, or
// none that can be understood.
std::optional<std::int64_t> retryAfterMs(std::string_view value, std::time_t now);

struct RetryRules {
  int tries = 0;    // 0: three when there is no connection, five when the answer may change
  int delayMs = 0;  // before the second try, doubling up to 8 s; 0: 1 s and 0.5 s
  // Less patience with a host that cannot be reached; 0: as much as with others.
  int connectTries = 0;
};

// The tries of one request. A 429 is waited for as long as it says, up to five minutes in all.
class Backoff {
 public:
  explicit Backoff(RetryRules rules) : rules_(rules) {}

  // Milliseconds to wait before the next try; nullopt: this outcome stays.
  std::optional<std::int64_t> next(const Outcome& outcome);
  // Progress was made: what comes is counted from the beginning.
  void reset();
  [[nodiscard]] int tries() const { return tries_; }

 private:
  RetryRules rules_;
  int tries_ = 1;
  int failures_ = 0;                   // in a row
  std::int64_t patienceMs_ = 300'000;  // for 429
};

}  // namespace img::registry
