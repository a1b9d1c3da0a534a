#include "registry/loop.h"

#include <curl/curl.h>
#include <poll.h>

#include <algorithm>

#include "base/error.h"
#include "base/sys.h"

namespace img::registry {

void Loop::Watch::start(int fd, short events, std::int64_t deadlineMs, std::function<void()> fire) {
  stop();
  fd_ = fd;
  events_ = events;
  deadlineMs_ = deadlineMs;
  fire_ = std::move(fire);
  isReady_ = false;
  isOn_ = true;
  place_ = loop_.watches_.insert(loop_.watches_.end(), this);
}

void Loop::Watch::stop() {
  if (!isOn_) return;
  loop_.watches_.erase(place_);
  isOn_ = false;
}

void Loop::Watch::wake() {
  isReady_ = true;
}

Loop::Loop() : multi_(curl_multi_init()) {
  if (multi_ == nullptr) throw Error{Kind::failed, "cannot set up libcurl"};
  curl_multi_setopt(multi_, CURLMOPT_SOCKETFUNCTION, onSocket);
  curl_multi_setopt(multi_, CURLMOPT_SOCKETDATA, this);
  curl_multi_setopt(multi_, CURLMOPT_TIMERFUNCTION, onTimer);
  curl_multi_setopt(multi_, CURLMOPT_TIMERDATA, this);
}

Loop::~Loop() {
  curl_multi_cleanup(multi_);
}

Loop::Wait Loop::sleep(std::int64_t milliseconds) {
  return Wait{*this, -1, 0, sys::monotonicMs() + milliseconds};
}

Loop::Wait Loop::writable(int fd) {
  return Wait{*this, fd, POLLOUT, kNever};
}

void Loop::add(void* easy, std::function<void(int)> done) {
  transfers_[easy] = std::move(done);
  if (const CURLMcode code = curl_multi_add_handle(multi_, easy); code != CURLM_OK) {
    transfers_.erase(easy);
    throw Error::make(Kind::failed, "cannot start a transfer: {}", curl_multi_strerror(code));
  }
}

void Loop::remove(void* easy) {
  if (transfers_.erase(easy) != 0) curl_multi_remove_handle(multi_, easy);
}

void Loop::run(const std::function<bool()>& isOver) {
  while (!isOver()) turn();
}

int Loop::onSocket(void* /*easy*/, int socket, int what, void* self, void* /*unused*/) {
  auto& sockets = static_cast<Loop*>(self)->sockets_;
  if (what == CURL_POLL_REMOVE) {
    sockets.erase(socket);
  } else {
    const int read = (what & CURL_POLL_IN) != 0 ? POLLIN : 0;
    const int write = (what & CURL_POLL_OUT) != 0 ? POLLOUT : 0;
    sockets[socket] = static_cast<short>(read | write);
  }
  return 0;
}

int Loop::onTimer(void* /*multi*/, long milliseconds, void* self) {
  static_cast<Loop*>(self)->transferDeadlineMs_ =
      milliseconds < 0 ? kNever : sys::monotonicMs() + milliseconds;
  return 0;
}

int Loop::timeout() const {
  std::int64_t deadline = transferDeadlineMs_;
  for (const Watch* watch : watches_) {
    if (watch->isReady_) return 0;
    deadline = std::min(deadline, watch->deadlineMs_);
  }
  if (deadline == kNever) return -1;
  return static_cast<int>(std::clamp<std::int64_t>(deadline - sys::monotonicMs(), 0, 3'600'000));
}

void Loop::turn() {
  std::vector<pollfd> polled;
  for (const auto& [socket, events] : sockets_) polled.push_back({socket, events, 0});
  const size_t sockets = polled.size();
  std::vector<Watch*> watched;
  for (Watch* watch : watches_) {
    if (watch->fd_ < 0) continue;
    polled.push_back({watch->fd_, watch->events_, 0});
    watched.push_back(watch);
  }
  const int wait = timeout();
  sys::check([&] { return ::poll(polled.data(), polled.size(), wait); }, "poll");

  // Marked before anything runs: what runs may end watches.
  const std::int64_t now = sys::monotonicMs();
  for (size_t i = 0; i < watched.size(); ++i) {
    // An error or hang-up counts as ready: the next write or read says what it is.
    if (polled[sockets + i].revents != 0) watched[i]->isReady_ = true;
  }
  for (Watch* watch : watches_) {
    if (watch->deadlineMs_ <= now) watch->isReady_ = true;
  }
  driveTransfers(polled, sockets);
  takeFinished();
  while (fireOne()) {
  }
}

void Loop::driveTransfers(const std::vector<pollfd>& polled, size_t sockets) {
  int running = 0;
  for (size_t i = 0; i < sockets; ++i) {
    const int seen = polled[i].revents;
    if (seen == 0) continue;
    const int mask = ((seen & POLLIN) != 0 ? CURL_CSELECT_IN : 0) |
                     ((seen & POLLOUT) != 0 ? CURL_CSELECT_OUT : 0) |
                     ((seen & (POLLERR | POLLHUP | POLLNVAL)) != 0 ? CURL_CSELECT_ERR : 0);
    // A socket that an earlier call of this loop closed is unknown by now, which does no harm.
    curl_multi_socket_action(multi_, polled[i].fd, mask, &running);
  }
  if (transferDeadlineMs_ <= sys::monotonicMs()) {
    transferDeadlineMs_ = kNever;
    curl_multi_socket_action(multi_, CURL_SOCKET_TIMEOUT, 0, &running);
  }
}

void Loop::takeFinished() {
  int left = 0;
  while (const CURLMsg* message = curl_multi_info_read(multi_, &left)) {
    if (message->msg != CURLMSG_DONE) continue;
    void* const easy = message->easy_handle;
    const int code = message->data.result;
    const auto found = transfers_.find(easy);
    if (found == transfers_.end()) continue;
    const auto done = found->second;
    remove(easy);
    done(code);
  }
}

// One at a time, searched anew: what is fired may end other watches or start some.
bool Loop::fireOne() {
  const auto ready =
      std::find_if(watches_.begin(), watches_.end(), [](const Watch* w) { return w->isReady_; });
  if (ready == watches_.end()) return false;
  Watch& watch = **ready;
  const std::function<void()> fire = std::move(watch.fire_);
  watch.stop();
  fire();
  return true;
}

}  // namespace img::registry
