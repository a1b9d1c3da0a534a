#include "distribution/layer_pool.h"

#include <poll.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/interruption.h"
#include "base/sys.h"

namespace img::distribution {
namespace {

constexpr size_t kMaxWorkers = 4;
constexpr std::int64_t kSilentWaitMs = 1000;

}  // namespace

void LayerPool::run(const std::vector<LayerTask>& tasks) try {
  size_t next = 0;
  while (next < tasks.size() || !workers_.empty()) {
    while (next < tasks.size() && workers_.size() < kMaxWorkers) start(tasks[next++]);
    wait();
    reap();
  }
} catch (...) {
  workers_.clear();   // killed
  layout_.recover();  // their folders
  throw;
}

void LayerPool::start(const LayerTask& task) {
  auto [ours, theirs] = sys::socketPair();
  Worker worker;
  worker.task = task;
  worker.child = Child::fork([&] {
    ours.reset();
    return fetchLayer(layout_, task, theirs.get());
  });
  worker.socket = std::move(ours);
  workers_.push_back(std::move(worker));
  progress_.layerStarted(task.blob);
}

void LayerPool::wait() {
  std::vector<pollfd> polls{{interruptionFd(), POLLIN, 0}, {session_.fd(), POLLIN, 0}};
  for (const Worker& worker : workers_) polls.push_back({worker.socket.get(), POLLIN, 0});
  sys::check([&] { return ::poll(polls.data(), polls.size(), patience()); }, "wait for layers");
  tellWaiting();
  if (polls[0].revents != 0) throwIfInterrupted();
  if (polls[1].revents != 0) answerTransfers();
  for (size_t i = 0; i < workers_.size(); ++i) {
    if (polls[i + 2].revents == 0) continue;
    Worker& worker = workers_[i];
    hear(worker, receiveMessage(worker.socket.get(), Receive::ifThere, "a worker"));
  }
}

void LayerPool::hear(Worker& worker, Message message) {
  if (message.state == Message::State::none) return;
  if (message.state == Message::State::ended) {
    worker.socket.reset();
    return;
  }
  const Json json = parseJson(message.text, "a worker's message");
  if (const auto waiting = json.find("waiting"); waiting != json.end()) {
    worker.waitingSince.reset();
    if (waiting->get<bool>()) worker.waitingSince = sys::monotonicMs();
  } else if (message.fd) {
    worker.transfer = session_.startBlob(worker.task.blob, json.at("want").get<std::uint64_t>(),
                                         std::move(message.fd), json.at("again").get<bool>());
  } else {
    progress_.layerBytes(worker.task.blob, json.at("bytes").get<std::uint64_t>());
  }
}

// Until somebody has waited long enough to be told why.
int LayerPool::patience() const {
  std::int64_t patience = -1;
  for (const Worker& worker : workers_) {
    if (!worker.waitingSince || hasToldWaiting_) continue;
    const std::int64_t left = *worker.waitingSince + kSilentWaitMs - sys::monotonicMs();
    patience = std::max<std::int64_t>(0, patience < 0 ? left : std::min(patience, left));
  }
  return static_cast<int>(patience);
}

// Once: who waits for one layer will wait for more.
void LayerPool::tellWaiting() {
  for (const Worker& worker : workers_) {
    const bool isLong =
        worker.waitingSince && sys::monotonicMs() - *worker.waitingSince >= kSilentWaitMs;
    if (!isLong || hasToldWaiting_) continue;
    hasToldWaiting_ = true;
    progress_.notice(fmt::format("waiting for another process, which downloads layer {}",
                                 worker.task.blob.digest.str().substr(7, 12)));
  }
}

void LayerPool::answerTransfers() {
  for (const int id : session_.answered()) {
    const auto worker =
        std::find_if(workers_.begin(), workers_.end(),
                     [&](const Worker& candidate) { return candidate.transfer == id; });
    Json answer = Json::object();
    try {
      (void)session_.wait(id);
    } catch (const Error& error) {
      answer["error"] = parseJson(error.toJson(), "an error");
    }
    if (worker == workers_.end()) continue;
    worker->transfer.reset();
    // One that is gone is reaped with its own reason.
    (void)sendMessage(worker->socket.get(), answer);
  }
}

void LayerPool::reap() {
  for (size_t i = workers_.size(); i-- > 0;) {
    if (workers_[i].socket) continue;
    Worker done = std::move(workers_[i]);
    workers_.erase(workers_.begin() + static_cast<std::ptrdiff_t>(i));
    const bool wasThere = done.child.finish() == "there";
    progress_.layerDone(done.task.blob, wasThere);
  }
}

}  // namespace img::distribution
