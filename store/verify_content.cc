#include "store/verify_content.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <utility>

#include "base/sys.h"
#include "base/text.h"
#include "store/blobs.h"
#include "store/erofs_image.h"
#include "store/layers.h"
#include "store/same_file.h"
#include "store/verify_tasks.h"
#include "store/verify_view.h"

namespace img::store {
namespace {

using About = ContentFinding::About;

// A task should cost more than the fork it needs.
constexpr std::uint64_t kTaskBytes = std::uint64_t{64} << 20;
constexpr size_t kTaskBlobs = 4096;

// Values through the pipe of a child: fields end with NUL, which no path has.
std::string encode(const std::vector<ContentFinding>& findings) {
  std::string out;
  for (const ContentFinding& one : findings) {
    out += fmt::format("{}", static_cast<int>(one.about)) + '\0' + one.digest.hex() + '\0' +
           one.path + '\0' + one.problem + '\0';
  }
  return out;
}

void decode(const std::string& text, std::vector<ContentFinding>& findings) {
  const std::vector<std::string> fields = text::split(text, '\0');
  for (size_t i = 0; i + 3 < fields.size(); i += 4) {
    findings.push_back({static_cast<About>(text::parseUnsigned(fields[i]).value_or(0)),
                        Digest::tryParseHex(fields[i + 1]).value_or(Digest{}), fields[i + 2],
                        fields[i + 3]});
  }
}

void drain(Source& source) {
  std::vector<std::byte> buffer(size_t{256} << 10);
  while (source.read(buffer) > 0) {
  }
}

std::string otherDigest(std::uint64_t size, const Digest& actual) {
  return fmt::format("is damaged: its {} bytes have the digest {}", size, actual.str());
}

// What is wrong with the blob; it may have gone since it was listed.
std::string blobProblem(const Layout& layout, const Digest& digest) try {
  FdSource bytes{openBlob(layout, digest), digest.str()};
  HashingSource hashed{bytes};
  drain(hashed);
  const Digest actual = hashed.digest();
  return actual == digest ? "" : otherDigest(hashed.size(), actual);
} catch (const Error& error) {
  if (error.kind() == Kind::notFound) return {};
  return "cannot be read: " + error.cause();
}

std::string checkBlobs(const Layout& layout, const std::vector<Digest>& blobs) {
  std::vector<ContentFinding> findings;
  for (const Digest& digest : blobs) {
    if (std::string problem = blobProblem(layout, digest); !problem.empty()) {
      findings.push_back({About::blob, digest, {}, std::move(problem)});
    }
  }
  return encode(findings);
}

// --- Layers ---

// Lowerdirs that the layer may lie on, as far as all of a stack are there.
class Stacks {
 public:
  Stacks(const Layout& layout, const LayerNeed& need) {
    const Layers layers{layout};
    for (const std::vector<Digest>& below : need.below) {
      const bool isWhole = std::all_of(below.begin(), below.end(),
                                       [&](const Digest& diffId) { return layers.has(diffId); });
      if (!isWhole) continue;
      std::vector<int>& stack = stacks_.emplace_back();
      for (auto diffId = below.rbegin(); diffId != below.rend(); ++diffId) {
        opened_.push_back(sys::reopen(layers.open(*diffId).get(), O_RDONLY | O_DIRECTORY));
        stack.push_back(opened_.back().get());
      }
    }
  }
  std::vector<std::vector<int>> take() { return std::move(stacks_); }

 private:
  std::vector<Fd> opened_;
  std::vector<std::vector<int>> stacks_;
};

// An index shows its files through a mount that goes with the descriptor.
std::optional<Fd> openView(const Layout& layout, const Digest& diffId) {
  const Layers layers{layout};
  if (!layers.has(diffId)) return std::nullopt;
  return sys::reopen(layers.open(diffId).get(), O_RDONLY | O_DIRECTORY);
}

// Whether the view is an index that its tar, read again, becomes to the byte. One pass over a tar
// beside the tree (compareView) is misled where a later entry takes away the target of a hard link
// or a folder's attributes; the index settles it, provided its data is right.
bool isIndexAsMade(const Layout& layout, const LayerNeed& need) try {
  const std::string path = Layers{layout}.pathOf(need.diffId);
  if (!path.ends_with("/index")) return false;
  if (const auto tar = sys::tryOpenat(layout.layers(), need.diffId.hex() + "/tar", O_RDONLY)) {
    FdSource bytes{sys::reopen(tar->get(), O_RDONLY), "the tar of a layer"};
    HashingSource hashed{bytes};
    drain(hashed);
    if (hashed.digest() != need.diffId) return false;
  }
  FdSource raw{openBlob(layout, need.blob.digest), need.blob.digest.str()};
  const std::unique_ptr<Source> plain = openLayerStream(need.blob, raw);
  const IngestDir folder{layout};
  const Fd again = sys::openat(folder.fd(), "index", O_RDWR | O_CREAT | O_EXCL, 0600);
  indexLayer(*plain, again.get(), need.diffId.str());
  const Fd stored = sys::openat(layout.fd(), path, O_RDONLY);
  const auto size = sys::fstat(again.get()).st_size;
  return sys::fstat(stored.get()).st_size == size &&
         isSameContent(stored.get(), again.get(), static_cast<std::uint64_t>(size));
} catch (const Error&) {
  return false;  // what compareView() has seen stays
}

struct LayerLook {
  std::vector<ViewProblem> view;
  Digest plain;
};

LayerLook lookAtLayer(const Layout& layout, const LayerNeed& need, Source& raw) {
  LayerLook look;
  const std::unique_ptr<Source> plain = openLayerStream(need.blob, raw);
  HashingSource hashed{*plain};
  if (const auto folder = openView(layout, need.diffId)) {
    Stacks stacks{layout, need};
    // Layers made here are stored as the tar that they are.
    const ViewRules rules{need.blob.digest == need.diffId, stacks.take()};
    look.view = compareView(folder->get(), hashed, need.diffId.str(), rules);
  }
  drain(hashed);
  look.plain = hashed.digest();
  return look;
}

// Without a look at its view.
bool isBlobOf(const Layout& layout, const LayerNeed& need) try {
  FdSource raw{openBlob(layout, need.blob.digest), need.blob.digest.str()};
  const std::unique_ptr<Source> plain = openLayerStream(need.blob, raw);
  HashingSource hashed{*plain};
  drain(hashed);
  return hashed.digest() == need.diffId;
} catch (const Error&) {
  return false;
}

// One pass over the blob's bytes tells its digest, its diff ID and what is wrong with its view. The
// first thing that is wrong says all: a damaged blob gives no sensible tar.
std::vector<ContentFinding> checkLayer(const Layout& layout, const LayerNeed& need) {
  const Digest& digest = need.blob.digest;
  FdSource bytes{openBlob(layout, digest), digest.str()};
  HashingSource raw{bytes};
  std::optional<LayerLook> look;
  std::string problem;
  bool isAboutView = false;  // no tar says so with Kind::corrupt, a file system with an errno
  try {
    look = lookAtLayer(layout, need, raw);
  } catch (const Error& error) {
    problem = error.cause();
    isAboutView = error.errnum() != 0;
  }
  drain(raw);
  const std::uint64_t size = raw.size();
  if (const Digest actual = raw.digest(); actual != digest)
    return {{About::blob, digest, {}, otherDigest(size, actual)}};
  if (!look && isAboutView && isBlobOf(layout, need))
    return {{About::layer, need.diffId, {}, "cannot be read: " + problem}};
  if (!look) return {{About::diffId, digest, {}, "cannot be unpacked: " + problem}};
  if (look->plain != need.diffId) {
    return {{About::diffId,
             digest,
             {},
             fmt::format("uncompressed it has the digest {}, its image says {}", look->plain.str(),
                         need.diffId.str())}};
  }
  std::vector<ContentFinding> findings;
  if (!look->view.empty() && isIndexAsMade(layout, need)) return findings;
  for (ViewProblem& one : look->view) {
    findings.push_back({About::layer, need.diffId, std::move(one.path), std::move(one.problem)});
  }
  return findings;
}

std::string checkLayerBlob(const Layout& layout, const LayerNeed& need) {
  try {
    return encode(checkLayer(layout, need));
  } catch (const Error& error) {
    if (error.kind() == Kind::notFound) return {};
    return encode({{About::blob, need.blob.digest, {}, "cannot be read: " + error.cause()}});
  }
}

std::uint64_t sizeOf(const Layout& layout, const Digest& digest) {
  const auto st = sys::tryFstatat(layout.blobs(), digest.hex());
  return st ? static_cast<std::uint64_t>(st->st_size) : 0;
}

}  // namespace

std::vector<ContentFinding> checkContents(const Layout& layout, const ContentWork& work) {
  std::vector<std::function<std::string()>> tasks;
  // The long ones first, so that no process is left alone with one at the end.
  for (const LayerNeed& need : work.layers)
    tasks.emplace_back([&layout, &need] { return checkLayerBlob(layout, need); });
  std::vector<Digest> some;
  std::uint64_t bytes = 0;
  const auto flush = [&] {
    if (some.empty()) return;
    tasks.emplace_back(
        [&layout, part = std::exchange(some, {})] { return checkBlobs(layout, part); });
    bytes = 0;
  };
  for (const Digest& digest : work.blobs) {
    some.push_back(digest);
    bytes += sizeOf(layout, digest);
    if (bytes >= kTaskBytes || some.size() >= kTaskBlobs) flush();
  }
  flush();
  std::vector<ContentFinding> findings;
  for (const std::string& answer : answersOf(tasks)) decode(answer, findings);
  return findings;
}

}  // namespace img::store
