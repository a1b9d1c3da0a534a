#include <fmt/core.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "base/error.h"
#include "base/text.h"
#include "store/block_pipe.h"
#include "store/tar.h"
#include "store/tar_format.h"
#include "store/tar_pax.h"

namespace img::store {
namespace {

using tarfmt::appendPaxRecord, tarfmt::checksumOf, tarfmt::Field, tarfmt::formatPaxTime,
    tarfmt::kBlock, tarfmt::kChecksum, tarfmt::kDevMajor, tarfmt::kDevMinor, tarfmt::kGid,
    tarfmt::kLinkName, tarfmt::kMagic, tarfmt::kMode, tarfmt::kMtime, tarfmt::kName,
    tarfmt::kPrefix, tarfmt::kSize, tarfmt::kType, tarfmt::kUid, tarfmt::kUstarMagic,
    tarfmt::paddingOf;

constexpr std::uint64_t kMaxOctal7 = 07777777;       // seven digits and a NUL
constexpr std::uint64_t kMaxOctal11 = 077777777777;  // eleven and a NUL: 8 GiB - 1, year 2242

void putText(std::byte* header, Field field, std::string_view text) {
  std::memcpy(header + field.offset, text.data(), std::min(text.size(), field.length));
}

void putOctal(std::byte* header, Field field, std::uint64_t value) {
  for (size_t i = field.length - 1; i-- > 0; value >>= 3) {
    header[field.offset + i] = static_cast<std::byte>('0' + (value & 7));
  }
}

// Numbers too large for the field stand in a PAX record; the field then says 0.
void putOctalOrZero(std::byte* header, Field field, std::uint64_t value, std::uint64_t max) {
  putOctal(header, field, value <= max ? value : 0);
}

char typeFlag(TarEntry::Type type) {
  switch (type) {
    case TarEntry::Type::file: return '0';
    case TarEntry::Type::hardLink: return '1';
    case TarEntry::Type::symlink: return '2';
    case TarEntry::Type::charDevice: return '3';
    case TarEntry::Type::blockDevice: return '4';
    case TarEntry::Type::directory: return '5';
    case TarEntry::Type::fifo: return '6';
  }
  throw Error{Kind::internal, "unknown tar entry type"};
}

// Where a path is cut into prefix and name: 0 when it fits the name field, npos when it fits
// nowhere.
size_t splitPath(std::string_view path) {
  if (path.size() <= kName.length) return 0;
  if (path.size() > kPrefix.length + 1 + kName.length) return std::string_view::npos;
  // The first slash that leaves a name short enough; a folder's closing slash does not count.
  const size_t slash = path.find('/', path.size() - kName.length - 1);
  if (slash == std::string_view::npos || slash + 1 >= path.size() || slash > kPrefix.length) {
    return std::string_view::npos;
  }
  return slash;
}

bool isWholeSecondInRange(const TarEntry& entry) {
  return entry.mtimeNanoseconds == 0 && entry.mtimeSeconds >= 0 &&
         static_cast<std::uint64_t>(entry.mtimeSeconds) <= kMaxOctal11;
}

std::string sparseMap(const TarEntry& entry) {
  std::string map;
  size_t count = 0;
  for (const auto& extent : entry.extents) {
    map += fmt::format("{}\n{}\n", extent.offset, extent.length);
    ++count;
  }
  // A hole at the end is an empty extent there, as GNU tar writes it.
  if (entry.extents.empty() ||
      entry.extents.back().offset + entry.extents.back().length < entry.size) {
    map += fmt::format("{}\n0\n", entry.size);
    ++count;
  }
  map.insert(0, fmt::format("{}\n", count));
  map.resize(map.size() + paddingOf(map.size()), '\0');
  return map;
}

std::string paxBody(const TarEntry& entry, std::string_view path, std::uint64_t stored) {
  std::string body;
  // The name of a sparse file stands in its own record below.
  const bool longPath = !entry.sparse && splitPath(path) == std::string_view::npos;
  const bool longLink = entry.linkTarget.size() > kLinkName.length;
  if ((longPath && !text::isValidUtf8(path)) ||
      (longLink && !text::isValidUtf8(entry.linkTarget)) ||
      (entry.sparse && !text::isValidUtf8(path))) {
    appendPaxRecord(body, "hdrcharset", "BINARY");
  }
  if (longPath) appendPaxRecord(body, "path", path);
  if (longLink) appendPaxRecord(body, "linkpath", entry.linkTarget);
  if (stored > kMaxOctal11) appendPaxRecord(body, "size", fmt::format("{}", stored));
  if (entry.uid > kMaxOctal7) appendPaxRecord(body, "uid", fmt::format("{}", entry.uid));
  if (entry.gid > kMaxOctal7) appendPaxRecord(body, "gid", fmt::format("{}", entry.gid));
  if (!isWholeSecondInRange(entry)) {
    appendPaxRecord(body, "mtime", formatPaxTime(entry.mtimeSeconds, entry.mtimeNanoseconds));
  }
  if (entry.sparse) {
    appendPaxRecord(body, "GNU.sparse.major", "1");
    appendPaxRecord(body, "GNU.sparse.minor", "0");
    appendPaxRecord(body, "GNU.sparse.name", path);
    appendPaxRecord(body, "GNU.sparse.realsize", fmt::format("{}", entry.size));
  }
  for (const auto& [name, value] : entry.xattrs)
    appendPaxRecord(body, "SCHILY.xattr." + name, value);
  return body;
}

void checkEntry(const TarEntry& entry) {
  const bool named =
      entry.type == TarEntry::Type::hardLink || entry.type == TarEntry::Type::symlink;
  if (entry.path.empty() || entry.path.find('\0') != std::string::npos ||
      named == entry.linkTarget.empty() ||
      (entry.type != TarEntry::Type::file && (entry.size != 0 || entry.sparse))) {
    throw Error::make(Kind::internal, "tar entry {} cannot be written", text::quote(entry.path));
  }
}

}  // namespace

TarWriter::TarWriter(Sink& sink)
    : own_(std::make_unique<BlockPipe>(sink, BlockPipe::Mode::direct)), out_(own_.get()) {}

TarWriter::TarWriter(BlockPipe& out) : out_(&out) {}

TarWriter::~TarWriter() = default;

void TarWriter::raw(std::string_view bytes) {
  while (!bytes.empty()) {
    const auto space = out_->space();
    const size_t count = std::min(space.size(), bytes.size());
    std::memcpy(space.data(), bytes.data(), count);
    out_->advance(count);
    bytes.remove_prefix(count);
  }
}

void TarWriter::zeros(std::uint64_t count) {
  while (count > 0) {
    const auto space = out_->space();
    const size_t now = static_cast<size_t>(std::min<std::uint64_t>(space.size(), count));
    std::memset(space.data(), 0, now);
    out_->advance(now);
    count -= now;
  }
}

void TarWriter::header(const TarEntry& entry, std::string_view path, char type,
                       std::uint64_t stored) {
  // Everything before this is a multiple of 512 bytes, and so are the blocks: a header is never
  // torn.
  std::byte* const header = out_->space().data();
  std::memset(header, 0, kBlock);
  const size_t split = splitPath(path);
  if (split == 0 || split == std::string_view::npos) {
    putText(header, kName, path);  // cut off when a PAX record has the whole
  } else {
    putText(header, kPrefix, path.substr(0, split));
    putText(header, kName, path.substr(split + 1));
  }
  putOctal(header, kMode, entry.mode & 07777);
  putOctalOrZero(header, kUid, entry.uid, kMaxOctal7);
  putOctalOrZero(header, kGid, entry.gid, kMaxOctal7);
  putOctalOrZero(header, kSize, stored, kMaxOctal11);
  putOctalOrZero(header, kMtime,
                 entry.mtimeSeconds < 0 ? 0 : static_cast<std::uint64_t>(entry.mtimeSeconds),
                 kMaxOctal11);
  header[kType] = static_cast<std::byte>(type);
  putText(header, kLinkName, entry.linkTarget);
  putText(header, kMagic, kUstarMagic);
  if (entry.type == TarEntry::Type::charDevice || entry.type == TarEntry::Type::blockDevice) {
    putOctal(header, kDevMajor, entry.deviceMajor);
    putOctal(header, kDevMinor, entry.deviceMinor);
  }
  // Six digits, a NUL and a blank: the form every tar writes.
  putOctal(header, {kChecksum.offset, 7},
           static_cast<std::uint64_t>(checksumOf(header).unsignedSum));
  header[kChecksum.offset + 7] = std::byte{' '};
  out_->advance(kBlock);
}

void TarWriter::add(const TarEntry& entry) {
  checkEntry(entry);
  endFile();
  std::string path = entry.path;
  if (entry.type == TarEntry::Type::directory) path += '/';

  const std::string map = entry.sparse ? sparseMap(entry) : std::string{};
  std::uint64_t data = entry.size;
  if (entry.sparse) {
    data = 0;
    for (const auto& extent : entry.extents) data += extent.length;
  }
  const std::uint64_t stored = map.size() + data;

  if (const std::string body = paxBody(entry, path, stored); !body.empty()) {
    const size_t slash = entry.path.rfind('/');
    TarEntry pax;
    pax.path = "PaxHeaders.0/" + entry.path.substr(slash == std::string::npos ? 0 : slash + 1, 80);
    pax.mode = 0644;
    header(pax, pax.path, 'x', body.size());
    raw(body);
    zeros(paddingOf(body.size()));
  }
  header(entry, entry.sparse ? "GNUSparseFile.0/" + path : path, typeFlag(entry.type), stored);
  raw(map);
  left_ = data;
  stored_ = stored;
  if (added_) added_(entry, out_->position());
}

void TarWriter::data(std::span<const std::byte> bytes) {
  if (bytes.size() > left_) throw Error{Kind::internal, "more data than the tar header promised"};
  raw(asText(bytes));
  left_ -= bytes.size();
}

std::span<std::byte> TarWriter::space() {
  const auto space = out_->space();
  return space.first(static_cast<size_t>(std::min<std::uint64_t>(space.size(), left_)));
}

void TarWriter::advance(size_t count) {
  if (count > left_) throw Error{Kind::internal, "more data than the tar header promised"};
  out_->advance(count);
  left_ -= count;
}

void TarWriter::endFile() {
  if (left_ > 0) throw Error{Kind::internal, "less data than the tar header promised"};
  zeros(paddingOf(stored_));
  stored_ = 0;
}

void TarWriter::finish() {
  endFile();
  zeros(2 * kBlock);
  out_->finish();
}

}  // namespace img::store
