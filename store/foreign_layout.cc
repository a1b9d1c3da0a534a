#include "store/foreign_layout.h"

#include <sys/stat.h>

#include "base/fs.h"
#include "base/stream.h"
#include "base/sys.h"
#include "base/text.h"
#include "store/blobs.h"
#include "store/reference.h"

namespace img::store {
namespace {

constexpr int kMaxNesting = 4;  // security.md M8

class Adoption {
 public:
  Adoption(const Layout& layout, int directory, const std::string& name)
      : layout_(layout), directory_(directory), name_(name) {}

  Image run(const std::string& selector) {
    const auto text = fs::tryReadFile(directory_, "index.json", documentLimit());
    if (!text) throw Error::make(Kind::notFound, "{} is no OCI layout: no index.json", name_);
    const Descriptor chosen = choose(parseIndex(*text, name_ + ": index.json"), selector);
    const Descriptor manifest = resolve(chosen, 0);
    const Manifest parsed = parseManifest(readBlob(layout_, manifest.digest), name_);
    copy(parsed.config);
    for (const Descriptor& layer : parsed.layers) copy(layer);
    return Images{layout_}.load(manifest);
  }

 private:
  [[nodiscard]] Descriptor choose(const Index& index, const std::string& selector) const {
    std::vector<std::string> names;
    for (const Descriptor& descriptor : index.manifests) {
      if (descriptor.digest.str() == selector) return descriptor;
      const auto found = descriptor.annotations.find("org.opencontainers.image.ref.name");
      if (found == descriptor.annotations.end()) continue;
      if (isNamed(found->second, selector)) return descriptor;
      names.push_back(found->second);
    }
    Error error =
        Error::make(Kind::notFound, "{}: there is no image {}", name_, text::quote(selector));
    error.hint(names.empty() ? "no image there has a name; choose one with @sha256:DIGEST"
                             : "the names there are: " + text::escape(text::join(names, ", ")));
    throw error;
  }

  // The annotation is a tag alone, or a whole name.
  static bool isNamed(const std::string& written, const std::string& selector) {
    return written == selector || written.ends_with(":" + selector);
  }

  // The manifest for this machine, with its blob in our store.
  Descriptor resolve(const Descriptor& descriptor, int nesting) {
    copy(descriptor);
    if (!isIndexType(descriptor.mediaType)) return descriptor;
    if (nesting >= kMaxNesting)
      throw Error::make(Kind::corrupt, "{}: indexes nest too deep", name_);
    const Index index = parseIndex(readBlob(layout_, descriptor.digest), name_);
    const Platform host = Platform::host();
    for (const Descriptor& entry : index.manifests) {
      const bool fits = !entry.platform || (entry.platform->os == host.os &&
                                            entry.platform->architecture == host.architecture);
      if (fits) return resolve(entry, nesting + 1);
    }
    throw Error::make(Kind::notFound, "{}: there is no image for {}/{}", name_, host.os,
                      host.architecture);
  }

  void copy(const Descriptor& descriptor) {
    if (hasBlob(layout_, descriptor.digest)) return;
    const std::string path = "blobs/sha256/" + descriptor.digest.hex();
    const auto opened = sys::tryOpenat(directory_, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    if (!opened || !S_ISREG(sys::fstat(opened->get()).st_mode)) {
      throw Error::make(Kind::notFound, "{}: the blob {} is not there", name_,
                        descriptor.digest.str());
    }
    FdSource file{opened->duplicate(), path};
    LimitedSource limited{file, descriptor.size, path};
    BlobWriter blob{layout_};
    copyAll(limited, blob);
    blob.commit(descriptor.mediaType, descriptor.digest, BlobWriter::Durability::later);
  }

  const Layout& layout_;
  int directory_;
  const std::string& name_;
};

}  // namespace

Image adoptImage(const Layout& layout, int directory, const std::string& selector,
                 const std::string& name) {
  return Adoption{layout, directory, name}.run(selector);
}

}  // namespace img::store
