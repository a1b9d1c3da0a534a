// So many at once, the others wait in order. With a limit of one: a mutex for tasks.
#pragma once

#include <coroutine>
#include <list>
#include <utility>

#include "registry/loop.h"

namespace img::registry {

class Slots {
 public:
  // Held while one is at work.
  class [[nodiscard]] Slot {
   public:
    explicit Slot(Slots& slots) : slots_(&slots) {}
    Slot(Slot&& other) noexcept : slots_(std::exchange(other.slots_, nullptr)) {}
    Slot& operator=(Slot&&) = delete;
    Slot(const Slot&) = delete;
    Slot& operator=(const Slot&) = delete;
    ~Slot() {
      if (slots_ != nullptr) slots_->leave();
    }

   private:
    Slots* slots_;
  };

  class Entry {
   public:
    explicit Entry(Slots& slots) : slots_(slots), watch_(slots.loop_) {}
    Entry(const Entry&) = delete;
    Entry& operator=(const Entry&) = delete;
    ~Entry();
    [[nodiscard]] bool await_ready();
    void await_suspend(std::coroutine_handle<> task);
    Slot await_resume();

   private:
    friend class Slots;
    Slots& slots_;
    Loop::Watch watch_;
    bool isGranted_ = false, isWaiting_ = false;
  };

  Slots(Loop& loop, int limit) : loop_(loop), limit_(limit) {}
  Entry enter() { return Entry{*this}; }
  void lowerTo(int limit);  // who is inside stays

 private:
  void leave();
  void grant();

  Loop& loop_;
  int limit_;
  int taken_ = 0;
  std::list<Entry*> waiting_;
};

}  // namespace img::registry
