// The layers of a pull: some workers at a time (layer_worker.h), and the session that has the bytes
// they ask for. One thread: what a worker wants is passed on to img-remote as a descriptor, and the
// bytes go past this process.
#pragma once

#include <optional>
#include <vector>

#include "base/fd.h"
#include "base/process.h"
#include "distribution/layer_worker.h"
#include "distribution/messages.h"
#include "distribution/pull.h"
#include "distribution/session.h"

namespace img::distribution {

class LayerPool {
 public:
  LayerPool(const store::Layout& layout, Session& session, PullProgress& progress)
      : layout_(layout), session_(session), progress_(progress) {}

  // Afterwards all are in the store. The first error ends all and is rethrown; what has been
  // downloaded stays for the next pull.
  void run(const std::vector<LayerTask>& tasks);

 private:
  struct Worker {
    LayerTask task;
    Fd socket;
    Child child;
    std::optional<int> transfer;               // the request it waits for
    std::optional<std::int64_t> waitingSince;  // for another process, ms
  };
  void start(const LayerTask& task);
  void wait();
  void hear(Worker& worker, Message message);
  void answerTransfers();
  void tellWaiting();
  [[nodiscard]] int patience() const;
  void reap();

  const store::Layout& layout_;
  Session& session_;
  PullProgress& progress_;
  std::vector<Worker> workers_;
  bool hasToldWaiting_ = false;
};

}  // namespace img::distribution
