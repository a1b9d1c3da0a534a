// What a child that wrote a layer's blob tells its parent, and the secret guard that looks on
// while it does.
#pragma once

#include <optional>
#include <string>

#include "builder/secret_guard.h"
#include "builder/snapshot.h"
#include "store/seal.h"

namespace img::builder {

struct SealOutcome {
  store::SealedLayer tar;
  std::optional<SecretHit> leak;
  bool isMoved = false;  // the whole folder of the step has become the layer's

  [[nodiscard]] std::string encode() const;
  static SealOutcome decode(const std::string& text);
  void describe(Layer& layer) const;
};

// Sees all that goes into a layer, as it goes there.
class LeakWatch {
 public:
  explicit LeakWatch(const StepOptions& options);
  LeakWatch(const LeakWatch&) = delete;
  LeakWatch& operator=(const LeakWatch&) = delete;

  // The watch outlives what `options` are used for.
  void join(store::SealOptions& options);
  [[nodiscard]] const std::optional<SecretHit>& hit() const { return hit_; }

 private:
  void note(std::optional<SecretHit> hit);

  SecretGuard guard_;
  SecretStream files_;
  bool isRefused_;
  std::optional<SecretHit> hit_;
};

}  // namespace img::builder
