#include "distribution/push.h"

#include "base/error.h"
#include "base/interruption.h"
#include "distribution/blob_sender.h"
#include "distribution/push_documents.h"
#include "distribution/session.h"
#include "store/images.h"

namespace img::distribution {
namespace {

std::string platformText(const store::Image& image) {
  const store::Platform& platform = image.config.platform;
  return platform.os + "/" + platform.architecture;
}

// All of an index, or when the store has only a part of it (a pull brings one platform) the image
// that is there.
store::Descriptor chooseSource(const store::Layout& layout, const store::Descriptor& source,
                               PushProgress& progress) {
  if (!store::isIndexType(source.mediaType) || isWhole(layout, source)) return source;
  const store::Image image = store::Images{layout}.load(source);
  progress.notice("the store has not all platforms of this image: only that for " +
                  platformText(image) + " is pushed");
  return image.manifestDescriptor;
}

class Pusher {
 public:
  Pusher(const store::Layout& layout, const PushRequest& request, PushProgress& progress)
      : layout_(layout),
        request_(request),
        progress_(progress),
        session_(request.destination, Action::push, request.access) {
    session_.setNotice([this](const std::string& notice) { progress_.notice(notice); });
  }

  store::Descriptor run() {
    const store::Descriptor source = chooseSource(layout_, request_.source, progress_);
    const auto documents = readDocuments(layout_, source, request_.form);
    BlobSender sender{PushTarget{layout_, session_, request_.destination}, progress_};
    for (const PushedDocument& document : documents) {
      for (const PushedBlob& blob : document.blobs) sender.add(blob);
    }
    sender.run();
    // From here on the registry has every blob.
    Replacements replacements = sender.replacements();
    store::Descriptor top;
    for (const PushedDocument& document : documents) {
      const PushedDocument converted = convertDocument(document, replacements);
      replacements.insert_or_assign(document.descriptor.digest, converted.descriptor);
      top = converted.descriptor;
      const bool isTop = &document == &documents.back();
      put(converted, isTop ? topName(top) : top.digest.str(), sender.hasSentAnything());
    }
    return top;
  }

 private:
  std::string topName(const store::Descriptor& top) const {
    const store::Reference& destination = request_.destination;
    if (!destination.digest) return destination.tag;
    if (*destination.digest != top.digest) {
      throw Error::make(Kind::usage, "the image is {}, not {}", top.digest.str(),
                        destination.digest->str())
          .hint("push it to a tag");
    }
    return destination.tag.empty() ? top.digest.str() : destination.tag;
  }

  // A name that already means these bytes is left alone.
  void put(const PushedDocument& document, const std::string& name, bool isNew) try {
    if (!isNew) {
      const auto there = session_.head(name);
      if (there && there->digest == document.descriptor.digest) return;
    }
    const Digest stored = session_.putManifest(name, document.descriptor, document.bytes);
    if (stored == document.descriptor.digest) {
      return rememberPlace(layout_, stored, request_.destination);
    }
    throw Error::make(Kind::corrupt, "the registry stored the manifest as {}, it is {}",
                      stored.str(), document.descriptor.digest.str());
  } catch (Error& error) {
    if (error.code() == "blob-unknown" || error.code() == "manifest-unknown") {
      error.hint(
          "push again: the registry has lost what it had a moment ago, to another client or to its "
          "garbage collection");
    }
    error.during("pushing manifest {}", document.descriptor.digest.str());
    throw;
  }

  const store::Layout& layout_;
  const PushRequest& request_;
  PushProgress& progress_;
  const InterruptionScope interruption_;
  Session session_;
};

}  // namespace

store::Descriptor pushImage(const store::Layout& layout, const PushRequest& request,
                            PushProgress& progress) {
  return Pusher{layout, request, progress}.run();
}

}  // namespace img::distribution
