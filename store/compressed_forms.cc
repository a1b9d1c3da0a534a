#include "store/compressed_forms.h"

#include <string>

#include "base/fs.h"
#include "base/sys.h"
#include "base/text.h"
#include "store/blobs.h"
#include "store/lease.h"

namespace img::store {
namespace {

constexpr char kFolder[] = "cache/compressed";
constexpr size_t kMaxRecord = 4096;

std::string nameOf(const CompressedForm& form) {
  return fmt::format("{}-{}-{}", form.diffId.hex(), compressionName(form.kind), form.level);
}

// "sha256:HEX SIZE\n"; nullopt for anything else, which is as good as no record.
std::optional<Descriptor> parseRecord(std::string_view text) {
  const auto words = text::split(text::trim(text), ' ');
  if (words.size() != 2) return std::nullopt;
  const auto digest = Digest::tryParse(words[0]);
  const auto size = text::parseUnsigned(words[1]);
  if (!digest || !size) return std::nullopt;
  Descriptor blob;
  blob.digest = *digest;
  blob.size = *size;
  return blob;
}

}  // namespace

std::optional<Descriptor> findCompressed(const Layout& layout, const CompressedForm& form) {
  const auto text =
      fs::tryReadFile(layout.fd(), fmt::format("{}/{}", kFolder, nameOf(form)), kMaxRecord);
  if (!text) return std::nullopt;
  const auto blob = parseRecord(*text);
  if (!blob) return std::nullopt;
  pin(layout, blob->digest);
  if (!hasBlob(layout, blob->digest) || blobSize(layout, blob->digest) != blob->size)
    return std::nullopt;
  return blob;
}

void rememberCompressed(const Layout& layout, const CompressedForm& form, const Descriptor& blob) {
  const Fd folder = fs::makeDirs(layout.fd(), kFolder, 0700);
  fs::replaceFile(folder.get(), nameOf(form), fmt::format("{} {}\n", blob.digest.str(), blob.size),
                  0600, fs::Sync::none);
}

std::vector<std::pair<Digest, Digest>> compressedForms(const Layout& layout) {
  std::vector<std::pair<Digest, Digest>> forms;
  const auto folder = sys::tryOpenat(layout.fd(), kFolder, O_RDONLY | O_DIRECTORY);
  if (!folder) return forms;
  for (const fs::Entry& entry : fs::list(folder->get())) {
    const auto diffId = Digest::tryParseHex(entry.name.substr(0, entry.name.find('-')));
    const auto text = fs::tryReadFile(folder->get(), entry.name, kMaxRecord);
    if (!diffId || !text) continue;
    if (const auto blob = parseRecord(*text)) forms.emplace_back(*diffId, blob->digest);
  }
  return forms;
}

void sweepCompressed(const Layout& layout) {
  const auto folder = sys::tryOpenat(layout.fd(), kFolder, O_RDONLY | O_DIRECTORY);
  if (!folder) return;
  for (const fs::Entry& entry : fs::list(folder->get())) {
    const auto text = fs::tryReadFile(folder->get(), entry.name, kMaxRecord);
    const auto blob = text ? parseRecord(*text) : std::nullopt;
    if (blob && hasBlob(layout, blob->digest)) continue;
    sys::tryUnlinkat(folder->get(), entry.name, 0);
  }
}

}  // namespace img::store
