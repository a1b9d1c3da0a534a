#include "runtime/spec.h"

namespace img::runtime {

bool Limits::any() const {
  const bool hasPids = pids && *pids >= 0;  // unlimited needs no controller
  return memory || memorySwap || memoryReservation || cpuShares || cpuQuota || cpuPeriod ||
         hasPids || ioWeight || !cpusetCpus.empty() || !cpusetMems.empty();
}

}  // namespace img::runtime
