#include "distribution/blob_sender.h"

#include <poll.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <tuple>

#include "base/compress.h"
#include "base/error.h"
#include "base/interruption.h"
#include "base/log.h"
#include "base/sys.h"
#include "base/text.h"
#include "distribution/growing_blob.h"
#include "store/blobs.h"
#include "store/compressed_forms.h"
#include "store/layer_type.h"
#include "store/layers.h"

namespace img::distribution {
namespace {

// Smaller layers are compressed by one thread each, side by side.
constexpr std::uint64_t kLargeLayer = std::uint64_t{8} << 20;
constexpr size_t kMaxMountTries = 3;

store::CompressedForm formKey(const PushedBlob& blob) {
  return {*blob.diffId, blob.form->kind, blob.form->level.value_or(0)};
}

// In a forked child. The result is the digest and size of the new blob.
std::string compressLayer(const store::Layout& layout, const PushedBlob& blob, unsigned threads,
                          Fd listener) {
  FdSource raw{store::openBlob(layout, blob.stored.digest), blob.stored.digest.str()};
  const auto plain = store::openLayerStream(blob.stored, raw);
  HashingSource checked{*plain};
  GrowingBlob writer{layout, std::move(listener)};
  if (blob.form->kind == Compression::none) {
    copyAll(checked, writer);
  } else {
    const auto packer = compressTo(writer, blob.form->kind, blob.form->level, threads);
    packer->takeAll(checked);
    packer->finish();
  }
  if (const Digest actual = checked.digest(); actual != *blob.diffId) {
    throw Error::make(Kind::corrupt, "layer {} is damaged: its content is not {}",
                      blob.stored.digest.str(), blob.diffId->str())
        .code("digest-mismatch")
        .hint("img verify --repair");
  }
  const store::Descriptor made = writer.commit();
  store::rememberCompressed(layout, formKey(blob), made);
  return fmt::format("{} {}", made.digest.str(), made.size);
}

store::Descriptor parseResult(const std::string& result) {
  const auto words = text::split(result, ' ');
  store::Descriptor blob;
  blob.digest = Digest::tryParse(words.at(0)).value();
  blob.size = text::parseUnsigned(words.at(1)).value();
  return blob;
}

}  // namespace

BlobSender::BlobSender(const PushTarget& target, PushProgress& progress)
    : target_(target), progress_(progress) {}

void BlobSender::add(const PushedBlob& blob) {
  if (!known_.emplace(blob.stored.digest, jobs_.size()).second) return;
  Job job;
  job.blob = blob;
  job.final = blob.stored;
  jobs_.push_back(std::move(job));
}

Replacements BlobSender::replacements() const {
  Replacements all;
  for (const Job& job : jobs_) {
    if (job.blob.form) all.emplace(job.blob.stored.digest, job.final);
  }
  return all;
}

void BlobSender::run() {
  unfinished_ = jobs_.size();
  for (Job& job : jobs_) {
    if (!job.blob.form) {
      ask(job);
    } else if (const auto known = store::findCompressed(target_.layout, formKey(job.blob))) {
      job.final.digest = known->digest;
      job.final.size = known->size;
      job.final.mediaType = store::layerType(job.blob.form->kind);
      ask(job);
    }
  }
  try {
    while (unfinished_ != 0) {
      startCompressions();
      wait();
    }
  } catch (...) {
    jobs_.clear();             // children are killed
    target_.layout.recover();  // their files
    throw;
  }
}

// In the order of the layers, as many as there are CPUs for; a large one takes all that are free.
void BlobSender::startCompressions() {
  const unsigned all = compressionThreads(1);
  for (Job& job : jobs_) {
    if (job.state != State::waiting) continue;
    if (busyThreads_ >= all) return;
    const bool isLarge = job.blob.stored.size >= kLargeLayer;
    compress(job, isLarge ? all - busyThreads_ : 1);
  }
}

void BlobSender::compress(Job& job, unsigned threads) {
  job.state = State::compressing;
  job.weight = threads;
  busyThreads_ += threads;
  Fd listener;
  if (job.blob.stored.size >= kLargeLayer) {
    auto [ours, theirs] = sys::socketPair();
    job.growing = target_.session.startGrowing(std::move(theirs));
    listener = std::move(ours);
  }
  job.child = Child::fork(
      [&] { return compressLayer(target_.layout, job.blob, threads, std::move(listener)); });
}

void BlobSender::finishCompression(Job& job) {
  busyThreads_ -= job.weight;
  const store::Descriptor made = parseResult(job.child.finish());
  job.final.digest = made.digest;
  job.final.size = made.size;
  job.final.mediaType = store::layerType(job.blob.form->kind);
  ask(job);
}

void BlobSender::ask(Job& job) {
  job.state = State::asking;
  job.request = target_.session.startHas(job.final.digest);
}

void BlobSender::goOn(Job& job, const Json& answer) {
  switch (job.state) {
    case State::asking: {
      if (answer.value("found", false)) {
        if (job.growing != 0) target_.session.cancel(job.growing);
        return finish(job, "already there");
      }
      if (job.growing != 0) return sendRest(job);
      const std::string own = target_.destination.repository();
      for (const store::Reference& place : placesOf(target_.layout, job.final.digest)) {
        const bool isUsable = place.host == target_.destination.host && place.repository() != own;
        if (isUsable && job.places.size() < kMaxMountTries) job.places.push_back(place.path);
      }
      std::reverse(job.places.begin(), job.places.end());
      return mountOrSend(job);
    }
    case State::mounting: {
      const std::string from = job.places.back();
      job.places.pop_back();
      if (!answer.value("mounted", false)) return mountOrSend(job);
      hasSent_ = true;
      return finish(job, "mounted from " + from);
    }
    case State::sending: hasSent_ = true; return finish(job, "pushed");
    case State::waiting:
    case State::compressing:
    case State::done: return;
  }
}

void BlobSender::mountOrSend(Job& job) {
  if (job.places.empty()) return send(job);
  job.state = State::mounting;
  job.request = target_.session.startMount(job.final.digest, job.places.back());
}

void BlobSender::send(Job& job) {
  if (!store::hasBlob(target_.layout, job.final.digest)) {
    throw Error::make(Kind::notFound, "blob {} is neither in the store nor in the registry",
                      job.final.digest.str())
        .code("blob-unknown")
        .hint("pull the image again, or see img verify");
  }
  const Fd file = store::openBlob(target_.layout, job.final.digest);
  progress_.blobStarted(job.final);
  job.state = State::sending;
  job.request = target_.session.startUpload(job.final, file);
}

void BlobSender::sendRest(Job& job) {
  progress_.blobStarted(job.final);
  job.state = State::sending;
  job.request = 0;
  target_.session.finishGrowing(job.growing, job.final);
}

// Whatever went wrong while the blob grew, it can still be sent from its file, with all that is
// done about failures there; what stays wrong is said then.
bool BlobSender::takeGrowing(int id) {
  const auto job = std::find_if(jobs_.begin(), jobs_.end(),
                                [&](const Job& candidate) { return candidate.growing == id; });
  if (job == jobs_.end()) return false;
  job->growing = 0;
  try {
    std::ignore = target_.session.wait(id);
    hasSent_ = true;
    finish(*job, "pushed");
  } catch (const Error& error) {
    if (job->state == State::done) return true;  // cancelled
    log::info("a layer is sent again, as a whole: {}", error.what());
    if (job->state == State::sending) send(*job);
  }
  return true;
}

void BlobSender::finish(Job& job, std::string_view how) {
  job.state = State::done;
  --unfinished_;
  rememberPlace(target_.layout, job.final.digest, target_.destination);
  progress_.blobDone(job.final, how);
}

void BlobSender::wait() {
  while (takeAnswers()) {
    // What one answer leads to may wait for another one, and meet those of other requests
    // meanwhile: nothing tells of these again.
  }
  if (unfinished_ == 0) return;
  std::vector<pollfd> polls{{interruptionFd(), POLLIN, 0}, {target_.session.fd(), POLLIN, 0}};
  std::vector<Job*> children;
  for (Job& job : jobs_) {
    if (job.state != State::compressing) continue;
    polls.push_back({job.child.pidfd(), POLLIN, 0});
    children.push_back(&job);
  }
  sys::check([&] { return ::poll(polls.data(), polls.size(), -1); }, "wait for blobs");
  if (polls[0].revents != 0) throwIfInterrupted();
  for (size_t i = 0; i < children.size(); ++i) {
    if (polls[i + 2].revents != 0) finishCompression(*children[i]);
  }
}

// False: there were none.
bool BlobSender::takeAnswers() {
  const std::vector<int> answered = target_.session.answered();
  for (const int id : answered) {
    if (takeGrowing(id)) continue;
    const auto job = std::find_if(jobs_.begin(), jobs_.end(), [&](const Job& candidate) {
      return candidate.request == id && candidate.state != State::done;
    });
    try {
      const Json answer = target_.session.wait(id);
      if (job != jobs_.end()) goOn(*job, answer);
    } catch (Error& error) {
      if (job != jobs_.end()) error.during("pushing blob {}", job->final.digest.str());
      throw;
    }
  }
  return !answered.empty();
}

}  // namespace img::distribution
