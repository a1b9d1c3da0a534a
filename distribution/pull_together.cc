#include "distribution/pull_together.h"

#include <poll.h>

#include <algorithm>
#include <csignal>
#include <nlohmann/json.hpp>

#include "base/interruption.h"
#include "base/process.h"
#include "base/sys.h"
#include "distribution/messages.h"

namespace img::distribution {
namespace {

// Each has up to four workers (layer_pool.h) and an img-remote.
constexpr size_t kMaxPulls = 3;
constexpr const char* kPeer = "a pull";
constexpr std::int64_t kEndMs = 3000;

// In the child: what it tells goes to the parent. A parent that is gone takes the child with it.
class ToldProgress final : public PullProgress {
 public:
  explicit ToldProgress(int socket) : socket_(socket) {}
  void layerStarted(const store::Descriptor& layer) override { tell("started", layer, 0); }
  void layerBytes(const store::Descriptor& layer, std::uint64_t done) override {
    tell("bytes", layer, done);
  }
  void layerDone(const store::Descriptor& layer, bool wasThere) override {
    tell("done", layer, wasThere ? 1 : 0);
  }
  void notice(const std::string& text) override {
    std::ignore = sendMessage(socket_, {{"is", "notice"}, {"text", text}});
  }

 private:
  void tell(const char* what, const store::Descriptor& layer, std::uint64_t number) const {
    std::ignore = sendMessage(
        socket_,
        {{"is", what}, {"digest", layer.digest.str()}, {"size", layer.size}, {"number", number}});
  }
  const int socket_;
};

void passOn(const std::string& message, PullProgress& progress) {
  const Json json = parseJson(message, kPeer);
  const auto what = json.at("is").get<std::string>();
  if (what == "notice") return progress.notice(json.at("text").get<std::string>());
  store::Descriptor layer;
  layer.digest = Digest::parse(json.at("digest").get<std::string>());
  layer.size = json.at("size").get<std::uint64_t>();
  const auto number = json.at("number").get<std::uint64_t>();
  if (what == "started") return progress.layerStarted(layer);
  if (what == "bytes") return progress.layerBytes(layer, number);
  progress.layerDone(layer, number != 0);
}

class Pulls {
 public:
  Pulls(const store::Layout& layout, const std::vector<PullRequest>& requests,
        PullProgress& progress)
      : layout_(layout), requests_(requests), progress_(progress), results_(requests.size()) {}

  std::vector<std::optional<Error>> run() try {
    for (size_t next = 0; next < requests_.size() || !running_.empty();) {
      while (next < requests_.size() && running_.size() < kMaxPulls) start(next++);
      wait();
      reap();
    }
    return std::move(results_);
  } catch (...) {
    end();
    throw;
  }

 private:
  struct Running {
    size_t number;
    Fd socket;
    Child child;
  };

  void start(size_t number) {
    auto [ours, theirs] = sys::socketPair();
    Child child = Child::fork([&] {
      ours.reset();
      ToldProgress progress{theirs.get()};
      std::ignore = pullImage(layout_, requests_[number], progress);
      return std::string{};
    });
    running_.push_back({number, std::move(ours), std::move(child)});
  }

  void wait() {
    std::vector<pollfd> polls{{interruptionFd(), POLLIN, 0}};
    for (const Running& pull : running_) polls.push_back({pull.socket.get(), POLLIN, 0});
    sys::check([&] { return ::poll(polls.data(), polls.size(), -1); }, "wait for pulls");
    if (polls[0].revents != 0) throwIfInterrupted();
    for (size_t i = 0; i < running_.size(); ++i) {
      if (polls[i + 1].revents != 0) hear(running_[i]);
    }
  }

  void hear(Running& pull) {
    const Message message = receiveMessage(pull.socket.get(), Receive::ifThere, kPeer);
    if (message.state == Message::State::arrived) passOn(message.text, progress_);
    if (message.state == Message::State::ended) pull.socket.reset();
  }

  void reap() {
    for (size_t i = running_.size(); i-- > 0;) {
      if (running_[i].socket) continue;
      Running done = std::move(running_[i]);
      running_.erase(running_.begin() + static_cast<std::ptrdiff_t>(i));
      try {
        done.child.finish();
      } catch (const Error& error) {
        if (error.code() == "interrupted") throw;
        results_[done.number] = error;
      }
    }
  }

  // Not killed at once: its workers would outlive it by a moment, in which what they write is no
  // litter yet. It ends them and cleans up after them.
  void end() {
    for (Running& pull : running_) {
      pull.socket.reset();  // it must not wait for us
      pull.child.kill(SIGTERM);
    }
    const std::int64_t deadline = sys::monotonicMs() + kEndMs;
    for (const Running& pull : running_) {
      pollfd ended{pull.child.pidfd(), POLLIN, 0};
      const std::int64_t left = std::max<std::int64_t>(0, deadline - sys::monotonicMs());
      ::poll(&ended, 1, static_cast<int>(left));
    }
    running_.clear();  // whoever is left is killed
  }

  const store::Layout& layout_;
  const std::vector<PullRequest>& requests_;
  PullProgress& progress_;
  const InterruptionScope interruption_;
  std::vector<std::optional<Error>> results_;
  std::vector<Running> running_;
};

}  // namespace

std::vector<std::optional<Error>> pullTogether(const store::Layout& layout,
                                               const std::vector<PullRequest>& requests,
                                               PullProgress& progress) {
  try {
    return Pulls{layout, requests, progress}.run();
  } catch (...) {
    layout.recover();  // what children that were killed have left
    throw;
  }
}

}  // namespace img::distribution
