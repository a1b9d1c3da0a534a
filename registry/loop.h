// The one place where img-remote waits: poll(2) over the sockets of libcurl's multi interface
// (curl_multi_socket_action(3)), the descriptors of requests, and deadlines. One thread; tasks
// (base/task.h) say what they wait for with co_await.
#pragma once

#include <coroutine>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <vector>

struct pollfd;

namespace img::registry {

class Loop {
 public:
  // Something to happen once: a descriptor ready, a time reached, or wake(). It is forgotten when
  // it is destroyed, so whoever is cancelled while waiting leaves nothing behind.
  class Watch {
   public:
    explicit Watch(Loop& loop) : loop_(loop) {}
    Watch(const Watch&) = delete;
    Watch& operator=(const Watch&) = delete;
    ~Watch() { stop(); }
    // -1: no descriptor. deadlineMs: of sys::monotonicMs(), kNever: none.
    void start(int fd, short events, std::int64_t deadlineMs, std::function<void()> fire);
    void stop();
    void wake();

   private:
    friend class Loop;
    Loop& loop_;
    int fd_ = -1;
    short events_ = 0;
    std::int64_t deadlineMs_ = 0;
    std::function<void()> fire_;
    bool isReady_ = false;
    bool isOn_ = false;
    std::list<Watch*>::iterator place_{};
  };
  static constexpr std::int64_t kNever = INT64_MAX;

  // What co_await takes; lives in the frame of the task that waits.
  class Wait {
   public:
    Wait(Loop& loop, int fd, short events, std::int64_t deadlineMs)
        : watch_(loop), fd_(fd), events_(events), deadlineMs_(deadlineMs) {}
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> task) {
      watch_.start(fd_, events_, deadlineMs_, [task] { task.resume(); });
    }
    void await_resume() const noexcept {}

   private:
    Watch watch_;
    int fd_;
    short events_;
    std::int64_t deadlineMs_;
  };

  Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;
  ~Loop();

  Wait sleep(std::int64_t milliseconds);
  Wait writable(int fd);

  // One transfer of libcurl (CURL*), until it is over. `done` gets its CURLcode.
  void add(void* easy, std::function<void(int code)> done);
  void remove(void* easy);

  // Drives everything until `isOver`.
  void run(const std::function<bool()>& isOver);

 private:
  static int onSocket(void* easy, int socket, int what, void* self, void* unused);
  static int onTimer(void* multi, long milliseconds, void* self);
  void turn();
  [[nodiscard]] int timeout() const;
  void driveTransfers(const std::vector<pollfd>& polled, size_t sockets);
  void takeFinished();
  bool fireOne();

  void* multi_;  // CURLM*
  std::map<int, short> sockets_;
  std::int64_t transferDeadlineMs_ = kNever;
  std::list<Watch*> watches_;
  std::map<void*, std::function<void(int)>> transfers_;
};

}  // namespace img::registry
