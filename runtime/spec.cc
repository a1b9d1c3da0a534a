#include "runtime/spec.h"

namespace img::runtime {

bool Limits::any() const {
  return memory || memorySwap || cpuShares || cpuQuota || cpuPeriod || pids || !cpusetCpus.empty();
}

}  // namespace img::runtime
