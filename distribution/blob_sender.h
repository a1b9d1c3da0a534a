// The blobs of a push: each is asked for, mounted from another repository, or sent; those that are
// to be compressed first are compressed in forked children meanwhile, the next one while the last
// one is sent; a large one is sent while it grows. One thread; img-remote moves the bytes.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/process.h"
#include "distribution/push.h"
#include "distribution/push_documents.h"
#include "distribution/session.h"

namespace img::distribution {

struct PushTarget {
  const store::Layout& layout;
  Session& session;
  const store::Reference& destination;
};

class BlobSender {
 public:
  BlobSender(const PushTarget& target, PushProgress& progress);

  void add(const PushedBlob& blob);  // the same digest twice counts once
  // Afterwards the registry has them all. The first error ends all and is rethrown.
  void run();
  // What those that changed have become, by their former digest.
  [[nodiscard]] Replacements replacements() const;
  [[nodiscard]] bool hasSentAnything() const { return hasSent_; }

 private:
  enum class State { waiting, compressing, asking, mounting, sending, done };
  struct Job {
    PushedBlob blob;
    store::Descriptor final;
    State state = State::waiting;
    Child child;
    unsigned weight = 0;  // threads, while compressing
    int request = 0;
    int growing = 0;                  // the request that sends it while it is compressed
    std::vector<std::string> places;  // repositories to try a mount from, best last
  };

  void startCompressions();
  void compress(Job& job, unsigned threads);
  void finishCompression(Job& job);
  void ask(Job& job);
  void goOn(Job& job, const Json& answer);
  void mountOrSend(Job& job);
  void send(Job& job);
  void sendRest(Job& job);
  bool takeGrowing(int id);
  void finish(Job& job, std::string_view how);
  void wait();
  bool takeAnswers();

  const PushTarget target_;
  PushProgress& progress_;
  std::deque<Job> jobs_;
  std::map<Digest, size_t> known_;
  size_t unfinished_ = 0;
  unsigned busyThreads_ = 0;
  bool hasSent_ = false;
};

}  // namespace img::distribution
