#include "store/failpoint.h"

#include <atomic>
#include <charconv>
#include <csignal>
#include <cstdlib>

namespace img::store {

void failpoint(std::string_view name) {
  const char* value =
      std::getenv("IMG_FAILPOINT");  // NOLINT(concurrency-mt-unsafe): never set by us
  if (value == nullptr) return;
  std::string_view wanted = value;
  const bool stops = wanted.ends_with(":stop");
  if (stops) wanted.remove_suffix(5);
  int count = 1;
  if (const size_t at = wanted.find('@'); at != std::string_view::npos) {
    std::from_chars(wanted.data() + at + 1, wanted.data() + wanted.size(), count);
    wanted = wanted.substr(0, at);
  }
  if (wanted != name) return;
  static std::atomic<int> passed{0};
  if (++passed == count) ::raise(stops ? SIGSTOP : SIGKILL);
}

}  // namespace img::store
