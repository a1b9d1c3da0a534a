#include "network/event_loop.h"

#include "base/sys.h"

namespace img::network {
namespace {

constexpr size_t kBatch = 256;

}  // namespace

EventLoop::EventLoop()
    : epoll_(sys::check([] { return ::epoll_create1(EPOLL_CLOEXEC); }, "epoll_create1")),
      ready_(kBatch) {}

void EventLoop::watch(int fd, std::uint32_t events, EventHandler& handler) {
  epoll_event event{};
  event.events = events;
  event.data.ptr = &handler;
  sys::check([&] { return ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event); }, "epoll_ctl");
}

void EventLoop::change(int fd, std::uint32_t events, EventHandler& handler) {
  epoll_event event{};
  event.events = events;
  event.data.ptr = &handler;
  sys::check([&] { return ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event); }, "epoll_ctl");
}

void EventLoop::wait(int timeoutMs) {
  const int limit = again_.empty() ? timeoutMs : 0;
  const int count = sys::check(
      [&] {
        return ::epoll_wait(epoll_.get(), ready_.data(), static_cast<int>(ready_.size()), limit);
      },
      "epoll_wait");
  std::vector<EventHandler*> again;
  again.swap(again_);
  for (int i = 0; i < count; ++i) {
    const epoll_event& event = ready_[static_cast<size_t>(i)];
    static_cast<EventHandler*>(event.data.ptr)->onEvents(event.events);
  }
  for (EventHandler* handler : again) handler->onEvents(0);
}

}  // namespace img::network
