#include "builder/problems.h"

#include <algorithm>
#include <utility>

namespace img::builder {
namespace {

// What has no place comes first: it concerns the whole build.
int lineOf(const Error& error) {
  return error.position() ? error.position()->line : 0;
}

}  // namespace

void Problems::add(Error error) {
  if (isFull()) return;
  for (const Error& known : errors_) {
    if (known.cause() == error.cause() && lineOf(known) == lineOf(error)) return;
  }
  errors_.push_back(std::move(error));
}

void Problems::throwIfAny() {
  if (errors_.empty()) return;
  std::stable_sort(errors_.begin(), errors_.end(),
                   [](const Error& a, const Error& b) { return lineOf(a) < lineOf(b); });
  Error first = std::move(errors_.front());
  for (size_t i = 1; i < errors_.size(); ++i) first.also(std::move(errors_[i]));
  errors_.clear();
  throw first;
}

}  // namespace img::builder
