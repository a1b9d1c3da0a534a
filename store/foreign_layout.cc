#include "store/foreign_layout.h"

#include <sys/stat.h>

#include "base/fs.h"
#include "base/stream.h"
#include "base/sys.h"
#include "base/text.h"
#include "store/blobs.h"
#include "store/platform_choice.h"
#include "store/reference.h"

namespace img::store {
namespace {

constexpr int kMaxNesting = 4;  // security.md M8

class Adoption {
 public:
  Adoption(const Layout& layout, int directory, const Platform& platform, const std::string& name)
      : layout_(layout), directory_(directory), platform_(platform), name_(name) {}

  Image run(const std::string& selector) {
    const auto file = openRegular("index.json");
    if (!file) throw Error::make(Kind::notFound, "{} is no OCI layout: no index.json", name_);
    const std::string text = readAll(file->get(), name_ + ": index.json", documentLimit());
    const Descriptor chosen = choose(parseIndex(text, name_ + ": index.json"), selector);
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

  // The manifest for the platform, with its blob in our store.
  Descriptor resolve(const Descriptor& descriptor, int nesting) {
    copy(descriptor);
    if (!isIndexType(descriptor.mediaType)) return descriptor;
    if (nesting >= kMaxNesting)
      throw Error::make(Kind::corrupt, "{}: indexes nest too deep", name_);
    const Index index = parseIndex(readBlob(layout_, descriptor.digest), name_);
    return resolve(pickPlatform(index, descriptor, platform_), nesting + 1);
  }

  // Somebody else's folder may hold what hangs when it is opened.
  [[nodiscard]] std::optional<Fd> openRegular(const std::string& path) const {
    auto file = sys::tryOpenat(directory_, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    if (!file || !S_ISREG(sys::fstat(file->get()).st_mode)) return std::nullopt;
    return file;
  }

  void copy(const Descriptor& descriptor) {
    if (hasBlob(layout_, descriptor.digest)) return;
    const std::string path = "blobs/sha256/" + descriptor.digest.hex();
    const auto opened = openRegular(path);
    if (!opened) {
      throw Error::make(Kind::notFound, "{}: the blob {} is not there", name_,
                        descriptor.digest.str());
    }
    FdSource file{opened->duplicate(), path};
    LimitedSource limited{file, descriptor.size, path};
    BlobWriter blob{layout_};
    copyAll(limited, blob);
    const std::uint64_t size =
        blob.commit(descriptor.mediaType, descriptor.digest, BlobWriter::Durability::later).size;
    if (size == descriptor.size) return;
    throw Error::make(Kind::corrupt, "{}: {} has {} bytes and not {}", name_,
                      descriptor.digest.str(), size, descriptor.size);
  }

  const Layout& layout_;
  int directory_;
  const Platform& platform_;
  const std::string& name_;
};

}  // namespace

Image adoptImage(const Layout& layout, int directory, const std::string& selector,
                 const Platform& platform, const std::string& name) {
  return Adoption{layout, directory, platform, name}.run(selector);
}

}  // namespace img::store
