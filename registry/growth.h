// A blob that is made while it is sent: its maker tells through a socket of its own how many bytes
// its file has, and at last the session's caller says what it has become.
#pragma once

#include <coroutine>
#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "base/fd.h"
#include "base/json.h"
#include "registry/channel.h"
#include "registry/http.h"

namespace img::registry {

class Growth;
// Of a session, by the id of the upload.
using Growths = std::map<std::int64_t, Growth*>;

class Growth final : public GrowingFile {
 public:
  // `socket` gets {"size": N}, the first with the file; that it ends means nothing.
  Growth(Loop& loop, Growths& all, std::int64_t id, Fd socket);
  Growth(const Growth&) = delete;
  Growth& operator=(const Growth&) = delete;
  ~Growth() override { all_.erase(id_); }

  // Fields: digest, size.
  void finish(const Json& request);

  [[nodiscard]] bool isWhole() const override { return file_ && !digest_.empty(); }
  // What the file has so far.
  [[nodiscard]] std::uint64_t size() const override { return file_ ? size_ : 0; }
  // Not while a task waits for news().
  void onNews(std::function<void()> tell) override;
  [[nodiscard]] int file() const { return file_.get(); }
  [[nodiscard]] const std::string& digest() const { return digest_; }

  // co_await: until something is new. One task at a time.
  struct News {
    Growth& growth;
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> task) const;
    void await_resume() const noexcept {}
  };
  News news() { return News{*this}; }

 private:
  void take(const Json& message, Fd fd);

  Growths& all_;
  std::int64_t id_;
  Fd socket_, file_;
  std::uint64_t size_ = 0;
  std::string digest_;
  Loop::Watch changed_;
  Channel channel_;
};

}  // namespace img::registry
