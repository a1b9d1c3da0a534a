#include "store/failpoint.h"

#include <csignal>
#include <cstdlib>

namespace img::store {

void failpoint(std::string_view name) {
  const char* wanted =
      std::getenv("IMG_FAILPOINT");  // NOLINT(concurrency-mt-unsafe): never set by us
  if (wanted != nullptr && wanted == name) ::raise(SIGKILL);
}

}  // namespace img::store
