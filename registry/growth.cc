#include "registry/growth.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/error.h"
#include "registry/endpoint.h"

namespace img::registry {

Growth::Growth(Loop& loop, Growths& all, std::int64_t id, Fd socket)
    : all_(all),
      id_(id),
      socket_(std::move(socket)),
      changed_(loop),
      channel_(loop, socket_.get(),
               [this](const Json& message, Fd fd) { take(message, std::move(fd)); }) {
  all_[id_] = this;
}

void Growth::take(const Json& message, Fd fd) {
  if (!file_) file_ = std::move(fd);  // one for all: an exchange may be reading it
  if (!file_ || !message.is_object()) throw Error{Kind::usage, "a growing blob without a file"};
  // The caller may have been faster, on its own socket.
  if (digest_.empty()) size_ = std::max(size_, message.value("size", std::uint64_t{0}));
  changed_.wake();
}

void Growth::finish(const Json& request) {
  const std::string digest = request.value("digest", "");
  checkDigest(digest);
  digest_ = digest;
  size_ = request.value("size", std::uint64_t{0});
  changed_.wake();
}

void Growth::onNews(std::function<void()> tell) {
  if (!tell) return changed_.stop();
  changed_.start(-1, 0, Loop::kNever, std::move(tell));
}

void Growth::News::await_suspend(std::coroutine_handle<> task) const {
  growth.changed_.start(-1, 0, Loop::kNever, [task] { task.resume(); });
}

}  // namespace img::registry
