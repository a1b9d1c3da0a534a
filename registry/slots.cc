#include "registry/slots.h"

#include <algorithm>

namespace img::registry {

Slots::Entry::~Entry() {
  if (isWaiting_) slots_.waiting_.remove(this);
  if (isGranted_) slots_.leave();  // cancelled between the grant and its use
}

bool Slots::Entry::await_ready() {
  if (slots_.taken_ >= slots_.limit_ || !slots_.waiting_.empty()) return false;
  ++slots_.taken_;
  isGranted_ = true;
  return true;
}

void Slots::Entry::await_suspend(std::coroutine_handle<> task) {
  watch_.start(-1, 0, Loop::kNever, [task] { task.resume(); });
  slots_.waiting_.push_back(this);
  isWaiting_ = true;
}

Slots::Slot Slots::Entry::await_resume() {
  isGranted_ = false;
  return Slot{slots_};
}

void Slots::lowerTo(int limit) {
  limit_ = std::min(limit_, limit);
}

void Slots::leave() {
  --taken_;
  grant();
}

void Slots::grant() {
  while (taken_ < limit_ && !waiting_.empty()) {
    Entry* const next = waiting_.front();
    waiting_.pop_front();
    next->isWaiting_ = false;
    next->isGranted_ = true;
    ++taken_;
    next->watch_.wake();
  }
}

}  // namespace img::registry
