#include "distribution/layer_worker.h"

#include <fcntl.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <tuple>
#include <vector>

#include "base/error.h"
#include "base/stream.h"
#include "base/sys.h"
#include "distribution/arriving_file.h"
#include "distribution/messages.h"
#include "store/blobs.h"
#include "store/layers.h"
#include "store/partial_blob.h"

namespace img::distribution {
namespace {

constexpr std::int64_t kTellMs = 100;
constexpr int kPipeBytes = 1 << 20;  // fcntl(2), F_SETPIPE_SZ: what an ordinary user may have

// The bytes of a blob as they come: first what an earlier download has left, then the transfer,
// which is added to it. At the end it is known whether the transfer was whole.
class Download final : public Source {
 public:
  Download(store::PartialBlob& partial, const store::Descriptor& blob, int socket, bool isAgain)
      : partial_(partial), blob_(blob), socket_(socket), isAgain_(isAgain) {
    if (isAgain || partial.size() > blob.size) partial.clear();
    kept_ = partial.size();
  }

  size_t read(std::span<std::byte> into) override {
    if (into.empty()) return 0;
    const size_t count = at_ < kept_ ? readKept(into) : receive(into);
    hasher_.update(into.first(count));
    at_ += count;
    tell();
    return count;
  }
  // After the end.
  Digest digest() { return hasher_.finish(); }
  [[nodiscard]] std::uint64_t size() const { return at_; }

 private:
  size_t readKept(std::span<std::byte> into) {
    const auto wanted = static_cast<size_t>(std::min<std::uint64_t>(into.size(), kept_ - at_));
    const size_t count = preadFull(partial_.fd(), into.first(wanted), static_cast<off_t>(at_),
                                   "an interrupted download");
    if (count == 0) throw Error{Kind::failed, "an interrupted download became shorter"};
    return count;
  }

  size_t receive(std::span<std::byte> into) {
    if (at_ == blob_.size) return finish();
    if (!pipe_) ask();
    const size_t count = static_cast<size_t>(sys::check(
        [&] { return ::read(pipe_.get(), into.data(), into.size()); }, "receive a layer"));
    if (count == 0) return finish();
    if (count > blob_.size - at_) {
      throw Error::make(Kind::corrupt, "blob {} is longer than the {} bytes of its descriptor",
                        blob_.digest.str(), blob_.size);
    }
    partial_.append(into.first(count));
    return count;
  }

  void ask() {
    Pipe pipe = Pipe::make();
    // More than the usual 64 KiB: fewer switches between us and img-remote. Only a wish.
    ::fcntl(pipe.write.get(), F_SETPIPE_SZ, kPipeBytes);
    const Json wish = {{"want", kept_}, {"again", isAgain_}};
    if (!sendMessage(socket_, wish, pipe.write.get())) failAlone();
    pipe_ = std::move(pipe.read);
    isAsking_ = true;
  }

  // What has become of the transfer.
  size_t finish() {
    if (!isAsking_) return 0;
    const Message message = receiveMessage(socket_, Receive::waiting, "the pull");
    if (message.state != Message::State::arrived) failAlone();
    isAsking_ = false;
    const Json answer = parseJson(message.text, "the answer of the pull");
    const auto error = answer.find("error");
    if (error != answer.end()) throw Error::fromJson(error->dump());
    if (at_ == blob_.size) return 0;
    throw Error::make(Kind::corrupt, "blob {} ended after {} of {} bytes", blob_.digest.str(), at_,
                      blob_.size);
  }

  void tell() {
    const std::int64_t now = sys::monotonicMs();
    if (now - toldMs_ < kTellMs) return;
    toldMs_ = now;
    if (!sendMessage(socket_, {{"bytes", at_}})) failAlone();
  }

  [[noreturn]] static void failAlone() {
    throw Error{Kind::failed, "the pull that this download belongs to has ended"};
  }

  store::PartialBlob& partial_;
  const store::Descriptor& blob_;
  const int socket_;
  const bool isAgain_;
  Hasher hasher_;
  Fd pipe_;
  bool isAsking_ = false;
  std::uint64_t kept_ = 0, at_ = 0;
  std::int64_t toldMs_ = sys::monotonicMs();
};

// The view was there before this blob, of which it says nothing: its own bytes have to be those of
// the diff ID (security.md M10).
void checkDiffId(const LayerTask& task, Source& plain) {
  const std::uint64_t limit =
      store::limitFromEnvironment("IMG_LIMIT_LAYER_BYTES", std::uint64_t{64} << 30);
  HashingSource hashed{plain};
  std::vector<std::byte> buffer(size_t{256} << 10);
  while (hashed.read(buffer) > 0) {
    if (hashed.size() <= limit) continue;
    throw Error::make(Kind::failed, "{}: more than {} bytes in one layer", task.blob.digest.str(),
                      limit)
        .code("limit")
        .hint("IMG_LIMIT_LAYER_BYTES sets the limit");
  }
  const Digest actual = hashed.digest();
  if (actual == task.diffId) return;
  throw Error::make(Kind::corrupt, "layer {} does not have the diff ID {} of its image",
                    task.blob.digest.str(), task.diffId.str())
      .why(fmt::format("uncompressed it has the digest {}", actual.str()))
      .code("digest-mismatch");
}

void makeView(const store::Layout& layout, const LayerTask& task, Source& plain) {
  using Archive = store::Layers::Archive;
  const bool isPlain = task.blob.digest == task.diffId;
  const bool isNew =
      store::Layers{layout}.makeFrom(task.diffId, plain, isPlain ? Archive::blob : Archive::view);
  if (!isNew) checkDiffId(task, plain);
}

// A blob that is here, but not known to be this layer.
void makeViewOfBlob(const store::Layout& layout, const LayerTask& task) {
  FdSource raw{store::openBlob(layout, task.blob.digest), task.blob.digest.str()};
  const std::unique_ptr<Source> plain = store::openLayerStream(task.blob, raw);
  makeView(layout, task, *plain);
}

// Receiving with hashing, decompressing, hashing the result, and unpacking it each have a thread.
// Returns what went wrong with the layer's content, if anything.
std::optional<Error> unpackWhile(const store::Layout& layout, const LayerTask& task,
                                 store::PartialBlob& partial, Download& download) {
  ArrivingFile raw{download, partial.fd(), [&partial] { partial.sync(); }};
  std::optional<Error> wrong;
  try {
    const std::unique_ptr<Source> stream = store::openLayerStream(task.blob, raw);
    makeView(layout, task, *stream);
  } catch (const Error& error) {
    // The digest of the whole tells whose fault it is: the transfer's or the image's.
    if (error.kind() != Kind::corrupt) throw;
    wrong = error;
  }
  raw.finish();
  return wrong;
}

Error mismatch(const LayerTask& task, const Digest& actual, std::uint64_t size) {
  return Error::make(Kind::corrupt, "the registry sent other bytes than blob {}",
                     task.blob.digest.str())
      .why(fmt::format("its {} bytes have the digest {}, also when asked again over another "
                       "connection",
                       size, actual.str()))
      .code("digest-mismatch");
}

// Errors of the transfer itself have been retried by img-remote.
bool isWrongBytes(const Error& error) {
  return error.kind() == Kind::corrupt;
}

// True: the partial download is the blob, whole. False: it is not, and was given up.
bool tryDownload(const store::Layout& layout, const LayerTask& task, store::PartialBlob& partial,
                 int socket, bool isAgain) {
  Download download{partial, task.blob, socket, isAgain};
  std::optional<Error> wrong;
  try {
    wrong = unpackWhile(layout, task, partial, download);
  } catch (const Error& error) {
    if (error.code() == "limit") partial.clear();  // another try would not end better
    if (!isWrongBytes(error) || isAgain) throw;
    partial.clear();
    return false;  // of another length
  }
  const Digest actual = download.digest();
  if (actual == task.blob.digest && download.size() == task.blob.size) {
    if (!wrong) return true;
    partial.clear();  // as it should be, and of no use
    throw *wrong;
  }
  partial.clear();
  if (isAgain) throw mismatch(task, actual, download.size());
  return false;
}

void tellWaiting(int socket, bool isWaiting) {
  // A pull that is gone takes us with it.
  std::ignore = sendMessage(socket, {{"waiting", isWaiting}});
}

}  // namespace

std::string fetchLayer(const store::Layout& layout, const LayerTask& task, int socket) try {
  if (store::hasBlob(layout, task.blob.digest)) {
    makeViewOfBlob(layout, task);
    return "there";
  }
  bool isWaiting = false;
  store::PartialBlob partial{layout, task.blob.digest, [&] {
                               isWaiting = true;
                               tellWaiting(socket, true);
                             }};
  if (isWaiting) tellWaiting(socket, false);
  if (store::hasBlob(layout, task.blob.digest)) {
    makeViewOfBlob(layout, task);
    return "there";
  }
  if (!tryDownload(layout, task, partial, socket, false))
    std::ignore = tryDownload(layout, task, partial, socket, true);
  partial.publish();
  const store::Layers layers{layout};
  const bool isPlain = task.blob.digest == task.diffId;  // and so verified
  isPlain ? layers.ensureFromVerified(task.diffId) : layers.ensure(task.diffId, task.blob);
  return "new";
} catch (Error& error) {
  store::addSpaceHint(error, layout);
  error.during("pulling layer {}", task.blob.digest.str());
  throw;
}

}  // namespace img::distribution
