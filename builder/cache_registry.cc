#include "builder/cache_registry.h"

#include <nlohmann/json.hpp>

#include "base/stream.h"
#include "base/sys.h"
#include "distribution/session.h"
#include "store/blobs.h"
#include "store/reference.h"

namespace img::builder {
namespace {

using distribution::Action;
using distribution::Session;

// Every step waits for the documents, and a build can do without them: a registry that is not there
// must not cost more than a cache is worth.
constexpr Session::Patience kImpatient{2, 250, 3, 5};

class RegistryOrigin final : public CacheOrigin {
 public:
  RegistryOrigin(const CachePlace& place, distribution::AccessOptions access)
      : name_(place.name()),
        reference_(store::Reference::parse(place.reference)),
        access_(std::move(access)) {}

  [[nodiscard]] std::string name() const override { return name_; }

  [[nodiscard]] std::vector<Document> read() override {
    session_ = std::make_unique<Session>(reference_, Action::pull, access_, kImpatient);
    const std::string wanted = reference_.digest ? reference_.digest->str() : reference_.tag;
    const Session::Document top = session().manifest(wanted);
    const ReadDocument read = [&](const store::Descriptor& descriptor) {
      if (descriptor.digest == top.descriptor.digest) return top.bytes;
      if (!store::isConfigType(descriptor.mediaType))
        return session().manifest(descriptor.digest.str()).bytes;
      return smallBlob(descriptor);
    };
    return readDocuments(top.descriptor, read, name_);
  }

  [[nodiscard]] Stream open(const store::Descriptor& blob, bool isAgain) override {
    Pipe pipe = Pipe::make();
    const int id = session().startBlob(blob, 0, std::move(pipe.write), isAgain);
    return {std::move(pipe.read), [this, id] { session().wait(id); }};
  }

  [[nodiscard]] bool mayHave(const store::Descriptor&) const override { return true; }

 private:
  // Each worker has its own, which ends with it.
  Session& session() {
    if (!session_) session_ = std::make_unique<Session>(reference_, Action::pull, access_);
    return *session_;
  }

  std::string smallBlob(const store::Descriptor& blob) {
    if (blob.size > store::documentLimit())
      throw Error::make(Kind::corrupt, "{} is longer than a document may be", blob.digest.str());
    Stream stream = open(blob, false);
    FdSource source{std::move(stream.bytes), blob.digest.str()};
    std::string bytes = readAll(source, blob.digest.str(), store::documentLimit());
    stream.finish();
    if (Digest::of(bytes) != blob.digest)
      throw Error::make(Kind::corrupt, "{} is damaged", blob.digest.str());
    return bytes;
  }

  std::string name_;
  store::Reference reference_;
  distribution::AccessOptions access_;
  std::unique_ptr<Session> session_;
};

}  // namespace

std::unique_ptr<CacheOrigin> registryOrigin(const CachePlace& place,
                                            const distribution::AccessOptions& access) {
  return std::make_unique<RegistryOrigin>(place, access);
}

}  // namespace img::builder
