#include "distribution/remote_inflate.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <exception>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/fd.h"
#include "base/gunzip.h"
#include "base/sys.h"
#include "distribution/remote_program.h"

namespace img::distribution {
namespace {

// Starting the program takes about as long as inflating this much.
constexpr size_t kShort = size_t{2} << 20;
constexpr int kPipeBytes = 1 << 20;
constexpr size_t kBuffer = size_t{256} << 10;

struct Ends {
  Fd read, write;
};

Ends makePipe() {
  int fds[2] = {-1, -1};
  sys::check([&] { return ::pipe2(fds, O_CLOEXEC); }, "make a pipe");
  Ends ends{Fd{fds[0]}, Fd{fds[1]}};
  ::fcntl(ends.write.get(), F_SETPIPE_SZ, kPipeBytes);  // a wish: an ordinary user has a limit
  return ends;
}

class RemoteInflate final : public Source {
 public:
  RemoteInflate(std::unique_ptr<Source> inner, std::string name)
      : inner_(std::move(inner)), name_(std::move(name)) {}
  RemoteInflate(const RemoteInflate&) = delete;
  RemoteInflate& operator=(const RemoteInflate&) = delete;
  ~RemoteInflate() override {
    output_.reset();  // ends the program, which ends the feeder
    if (feeder_.joinable()) feeder_.join();
    if (pid_ > 0) ::waitpid(pid_, nullptr, 0);
  }

  size_t read(std::span<std::byte> into) override {
    if (!isStarted_) start();
    if (here_) return here_->read(into);
    if (hasEnded_) return 0;
    const auto count = static_cast<size_t>(sys::check(
        [&] { return ::read(output_.get(), into.data(), into.size()); }, "read from img-remote"));
    if (count == 0) finish();
    return count;
  }

 private:
  void start() {
    isStarted_ = true;
    auto peeked = std::make_unique<PeekedSource>(*inner_, kShort);
    std::string path;
    if (peeked->head().size() == kShort) path = findProgram();
    if (path.empty()) {
      here_ = gunzipHere(std::move(peeked), name_);
      return;
    }
    peeked_ = std::move(peeked);
    Ends input = makePipe(), output = makePipe();
    launch(path, input.read.get(), output.write.get());
    output_ = std::move(output.read);
    feeder_ = std::jthread{[this, to = std::move(input.write)]() mutable { feed(std::move(to)); }};
  }

  static std::string findProgram() {
    try {
      return remoteProgramPath();
    } catch (const Error&) {
      return {};  // zlib does the same, more slowly
    }
  }

  // posix_spawn: other threads may run, and none of their state is touched.
  void launch(const std::string& path, int input, int output) {
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, input, 0);
    ::posix_spawn_file_actions_adddup2(&actions, output, 1);
    ::posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
    std::string program = path, word = "inflate";
    char* const argv[] = {program.data(), word.data(), nullptr};
    char* const environment[] = {nullptr};
    const int errnum = ::posix_spawn(&pid_, path.c_str(), &actions, nullptr, argv, environment);
    ::posix_spawn_file_actions_destroy(&actions);
    if (errnum != 0) throw Error::fromErrno(errnum, "start img-remote");
  }

  void feed(Fd to) {
    try {
      std::vector<std::byte> buffer(kBuffer);
      while (const size_t count = peeked_->read(buffer)) {
        writeAll(to.get(), std::span{buffer}.first(count), "img-remote");
      }
    } catch (const Error& error) {
      // It reads no further than the last member, and not at all after an error of its own.
      if (error.errnum() != EPIPE) failure_ = std::current_exception();
    } catch (...) {
      failure_ = std::current_exception();
    }
  }

  void finish() {
    hasEnded_ = true;
    int status = 0;
    sys::check([&] { return ::waitpid(pid_, &status, 0); }, "wait for img-remote");
    pid_ = -1;
    feeder_.join();
    if (failure_) std::rethrow_exception(failure_);
    if (status == 0) return;
    // registry/inflate.h
    const int code = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
    if (code < 3 || code > 5) {
      throw Error::make(Kind::failed, "{}: img-remote, which inflates, has ended early", name_);
    }
    throw Error::make(Kind::corrupt, "{}: damaged compressed data: {}", name_,
                      code == 4   ? "it ends too early"
                      : code == 5 ? "its CRC-32 or its length is another one"
                                  : "no valid DEFLATE stream");
  }

  std::unique_ptr<Source> inner_;
  std::string name_;
  std::unique_ptr<PeekedSource> peeked_;
  std::unique_ptr<Source> here_;
  bool isStarted_ = false, hasEnded_ = false;
  Fd output_;
  pid_t pid_ = -1;
  std::exception_ptr failure_;  // of the feeder, read after its end
  std::jthread feeder_;
};

}  // namespace

std::unique_ptr<Source> inflateRemotely(std::unique_ptr<Source> inner, std::string name) {
  return std::make_unique<RemoteInflate>(std::move(inner), std::move(name));
}

void installRemoteInflate() {
  installGunzip(inflateRemotely);
}

}  // namespace img::distribution
