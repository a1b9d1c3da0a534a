// What of the build cache goes when room is needed: step records, the least recently used first,
// with the layers that only they keep. A record's time is that of its last use (StepCache touches
// it). What an image, a container or a living process needs, and what was of use in the last ten
// minutes, is never a candidate.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "store/layout.h"
#include "store/usage.h"

namespace img::store {

struct CachedStep {
  std::string key, instruction, created;
  std::int64_t lastUse = 0;  // seconds since the epoch
  Usage size;                // what goes with it when all before it in the list go, too
  bool keepsOnly = false;    // it keeps something that nothing else does
};

// Least recently used first. `isCandidate`: which records may go; all others keep what they keep.
std::vector<CachedStep> listCachedSteps(const Layout& layout,
                                        const std::function<bool(const CachedStep&)>& isCandidate);
// Removes the records; the layers go with the next collection.
void removeCachedSteps(const Layout& layout, const std::vector<CachedStep>& steps);

// [store] of the configuration file.
struct SpaceLimits {
  std::uint64_t maxSize = 0;  // bytes of the whole store; 0: none
  // To be kept free on its file system, of bytes and of inodes: a share, and a number of bytes at
  // most.
  int reservePercent = 0;
  std::optional<std::uint64_t> reserveBytes;
};

// Frees what is missing, as far as the cache can give it. Nothing when another process is at it.
// Returns the bytes freed.
std::uint64_t makeRoom(const Layout& layout, const SpaceLimits& limits);
// Whether the file system has less free than the reserve: one statfs(2).
bool isShortOfRoom(const Layout& layout, const SpaceLimits& limits);

}  // namespace img::store
