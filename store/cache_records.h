// What the builder remembers of its steps beside their records (cache/inputs, cache/last,
// cache/evicted), as far as it outlives its use: an input record explains for a while why its step
// has to run again, then it goes after the step record.
#pragma once

#include <set>

#include "base/digest.h"
#include "store/layout.h"

namespace img::store {

// Removes records of inputs and notes of evictions whose step record has been gone since `before`
// (seconds since the epoch), and pointers to nothing. Losing one to a build that runs at the same
// time costs an explanation.
void sweepCacheRecords(const Layout& layout, long long before);

// Removes the step records that lead to one of these blobs, which are no more.
void dropRecordsOf(const Layout& layout, const std::set<Digest>& blobs);

}  // namespace img::store
