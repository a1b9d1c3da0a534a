// The loop of the relay process: descriptors with handlers on one epoll, and handlers that want to
// go on without an event. Edge-triggered use is the handlers' business.
#pragma once

#include <sys/epoll.h>

#include <cstdint>
#include <vector>

#include "base/fd.h"

namespace img::network {

class EventHandler {
 public:
  EventHandler() = default;
  EventHandler(const EventHandler&) = delete;
  EventHandler& operator=(const EventHandler&) = delete;
  virtual ~EventHandler() = default;
  // A handler is never destroyed while a batch of events is handed out: its owner collects the dead
  // and lets them go in between.
  virtual void onEvents(std::uint32_t events) = 0;
};

class EventLoop {
 public:
  EventLoop();
  void watch(int fd, std::uint32_t events, EventHandler& handler);
  void change(int fd, std::uint32_t events, EventHandler& handler);
  // onEvents(0) in the next batch, which does not wait. The caller sees to it that it asks once.
  void callAgain(EventHandler& handler) { again_.push_back(&handler); }
  void forget(const EventHandler& handler) { std::erase(again_, &handler); }
  // Waits for events and hands out one batch; -1: without a limit.
  void wait(int timeoutMs);

 private:
  Fd epoll_;
  std::vector<epoll_event> ready_;
  std::vector<EventHandler*> again_;
};

}  // namespace img::network
