// The build cache: step key -> the layer it made (dockerfile.md 6). One file per key under
// cache/steps, written by rename; a record that does not verify or whose blob is gone is a miss,
// never an error. Safe for concurrent builds.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/digest.h"
#include "builder/snapshot.h"
#include "store/layout.h"

namespace img::builder {

// The other names of a result: every key it can be found under, and the step without what lies
// below it, which content keys start with. Empty in records of older versions.
struct StepKeys {
  std::vector<Digest> keys;
  std::optional<Digest> own;
};

class StepCache {
 public:
  explicit StepCache(const store::Layout& layout);

  // What an earlier execution of the same step made, and the key of the state after it.
  struct Hit {
    LayerRef layer;
    Digest state;
    StepKeys known = {};
    std::string instruction = {};
  };
  std::optional<Hit> find(const Digest& key) const;

  // Records made at `time` (seconds since the epoch) or before are not found: --cache-ttl.
  void ignoreUntil(long long time) { oldest_ = time; }
  // Why find() gave nothing: no record, its layer is gone, the record or the layer is damaged, or
  // it is too old.
  enum class Absence { unknown, gone, damaged, expired };
  [[nodiscard]] Absence whyAbsent(const Digest& key) const;

  // `layer` is sealed and its blob is in the store. Losing a record is harmless: nothing is synced.
  void remember(const Digest& key, const Layer& layer, const Digest& state,
                const std::string& instruction, const StepKeys& known = {}) const;

 private:
  [[nodiscard]] std::optional<std::uint64_t> storedSize(const Hit& hit) const;
  [[nodiscard]] bool isExpired(const Hit& hit) const;
  void touch(const Digest& key, int file) const;

  const store::Layout& layout_;
  mutable Fd folder_;
  std::optional<long long> oldest_;
};

// Starts a key: the kind of the step, the format version and the parent's key are in it.
Hasher startKey(std::string_view kind, const Digest& parent);
// The key of a state that is a stored image.
Digest baseKey(const std::vector<Digest>& diffIds);

}  // namespace img::builder
