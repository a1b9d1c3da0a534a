#include <algorithm>
#include <cstring>
#include <limits>
#include <optional>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "store/block_reader.h"
#include "store/file_window.h"
#include "store/tar.h"
#include "store/tar_format.h"
#include "store/tar_pax.h"

namespace img::store {
namespace {

using tarfmt::Block, tarfmt::Field, tarfmt::kBlock, tarfmt::paddingOf, tarfmt::PaxRecords;

constexpr std::uint64_t kMaxSize = std::numeric_limits<std::int64_t>::max() - 1024;
constexpr std::uint64_t kMaxId = 4294967294;  // the last one, -1, means "keep" to chown(2)

std::string_view fieldText(const Block& block, Field field) {
  const char* begin = reinterpret_cast<const char*>(block.data()) + field.offset;
  return {begin, strnlen(begin, field.length)};
}

std::string_view fieldBytes(const Block& block, Field field) {
  return {reinterpret_cast<const char*>(block.data()) + field.offset, field.length};
}

bool isZero(std::span<const std::byte> bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; });
}

// GNU's base-256: the first byte's top bit set, the rest a big-endian two's complement number.
std::optional<std::int64_t> parseBase256(std::string_view field) {
  const bool isNegative = (static_cast<unsigned char>(field[0]) & 0x40) != 0;
  std::uint64_t value = isNegative ? ~std::uint64_t{0} : 0;
  for (size_t i = 0; i < field.size(); ++i) {
    std::uint8_t byte = static_cast<std::uint8_t>(field[i]);
    if (i == 0) byte = static_cast<std::uint8_t>(isNegative ? byte | 0x80 : byte & 0x7f);
    // What is shifted out on top may only repeat the sign.
    const auto top = static_cast<std::int64_t>(value) >> 55;
    if (top != (isNegative ? -1 : 0)) return std::nullopt;
    value = value << 8 | byte;
  }
  return static_cast<std::int64_t>(value);
}

// Blanks, octal digits, then only blanks and NULs. Readers disagree about anything else.
std::optional<std::int64_t> parseNumber(std::string_view field) {
  if (static_cast<unsigned char>(field[0]) & 0x80) return parseBase256(field);
  size_t at = 0;
  while (at < field.size() && field[at] == ' ') ++at;
  std::uint64_t value = 0;
  for (; at < field.size() && field[at] >= '0' && field[at] <= '7'; ++at) {
    value = value << 3 | static_cast<std::uint64_t>(field[at] - '0');
  }
  if (field.find_first_not_of(std::string_view{" \0", 2}, at) != std::string_view::npos)
    return std::nullopt;
  return static_cast<std::int64_t>(value);  // at most 36 bits
}

}  // namespace

struct TarReader::Impl {
  Impl(Source& from, Mode mode, std::string archive) : name(std::move(archive)) {
    source.emplace(
        from, mode == Mode::readAhead ? BlockReader::Mode::overlapped : BlockReader::Mode::direct);
  }
  Impl(int from, std::string archive) : name(std::move(archive)) { file.emplace(from, name); }

  // Bytes.
  // The next bytes of the source, at most `limit`; empty at its end.
  std::span<const std::byte> take(std::uint64_t limit) {
    if (unread.empty()) unread = file ? file->next() : source->next();
    const auto piece =
        unread.first(static_cast<size_t>(std::min<std::uint64_t>(limit, unread.size())));
    unread = unread.subspan(piece.size());
    taken += piece.size();
    return piece;
  }
  bool tryReadBlock(Block& block);
  void readExactly(std::span<std::byte> into);
  bool trySkip(std::uint64_t count);
  void skip(std::uint64_t count);
  std::string readBody(std::uint64_t size);

  // Headers.
  [[noreturn]] void refuse(std::string_view what) const {
    throw Error::make(Kind::corrupt, "{}: {}", name, what);
  }
  [[noreturn]] void refuseEntry(std::string_view what) const {
    throw Error::make(Kind::corrupt, "{}: entry {}: {}", name, text::quote(entry.path), what);
  }
  [[nodiscard]] std::string where() const { return name + ": entry " + text::quote(entry.path); }

  bool nextHeader();
  void checkHeader() const;
  bool isExtension(char type);
  std::string gnuName(std::uint64_t size);
  std::uint64_t number(Field field, const char* what) const;
  std::uint64_t id(Field field, const std::optional<std::uint64_t>& pax, const char* what) const;
  void readEntry();
  void readNames();
  bool setType(char type);
  void setDevice();
  void readSparse(char type);
  void readGnuSparse();
  std::vector<std::uint64_t> readSparseMap10();

  std::optional<BlockReader> source;  // or
  std::optional<FileWindow> file;
  std::span<const std::byte> unread;  // of the block the source gave last
  std::uint64_t taken = 0;            // bytes of the archive that are behind us
  std::string name;

  Block header{};
  TarEntry entry;
  std::uint64_t left = 0;     // data bytes of the current entry not read yet
  std::uint64_t padding = 0;  // after them
  bool atEnd = false;

  // Extension headers that wait for their file.
  std::optional<PaxRecords> pax;
  std::optional<std::string> longName, longLink;
};

bool TarReader::Impl::tryReadBlock(Block& block) {
  size_t got = 0;
  while (got < kBlock) {
    const auto piece = take(kBlock - got);
    if (piece.empty()) break;
    std::memcpy(block.data() + got, piece.data(), piece.size());
    got += piece.size();
  }
  if (got != 0 && got != kBlock) refuse("the archive ends in the middle of a header");
  return got == kBlock;
}

void TarReader::Impl::readExactly(std::span<std::byte> into) {
  while (!into.empty()) {
    const auto piece = take(into.size());
    if (piece.empty()) refuse("the archive ends in the middle of an entry");
    std::memcpy(into.data(), piece.data(), piece.size());
    into = into.subspan(piece.size());
  }
}

// False when the archive ends before.
bool TarReader::Impl::trySkip(std::uint64_t count) {
  while (count > 0) {
    if (file && unread.empty()) {
      const std::uint64_t skipped = file->skip(count);
      taken += skipped;
      return skipped == count;
    }
    const auto piece = take(count);
    if (piece.empty()) return false;
    count -= piece.size();
  }
  return true;
}

void TarReader::Impl::skip(std::uint64_t count) {
  if (!trySkip(count)) refuse("the archive ends in the middle of an entry");
}

std::string TarReader::Impl::readBody(std::uint64_t size) {
  if (size > tarfmt::kMaxExtension) refuse("an extension header over 1 MiB");
  std::string body(static_cast<size_t>(size), '\0');
  readExactly(std::as_writable_bytes(std::span{body}));
  skip(paddingOf(size));
  return body;
}

// False at the end of the archive.
bool TarReader::Impl::nextHeader() {
  if (!tryReadBlock(header)) return false;  // a missing end marker is accepted (T13)
  if (!isZero(header)) return true;
  Block second;
  if (tryReadBlock(second) && !isZero(second)) refuse("a lone zero block in front of an entry");
  return false;
}

void TarReader::Impl::checkHeader() const {
  const auto wanted = parseNumber(fieldBytes(header, tarfmt::kChecksum));
  const tarfmt::Checksum sum = tarfmt::checksumOf(header.data());
  if (!wanted || (*wanted != sum.unsignedSum && *wanted != sum.signedSum)) {
    refuse("not a tar header (wrong checksum)");
  }
}

std::uint64_t TarReader::Impl::number(Field field, const char* what) const {
  const auto value = parseNumber(fieldBytes(header, field));
  if (!value || *value < 0) {
    throw Error::make(Kind::corrupt, "{}: entry {}: field {} is not a number in range", name,
                      text::quote(fieldText(header, tarfmt::kName)), what);
  }
  return static_cast<std::uint64_t>(*value);
}

std::uint64_t TarReader::Impl::id(Field field, const std::optional<std::uint64_t>& paxValue,
                                  const char* what) const {
  const std::uint64_t value = paxValue ? *paxValue : number(field, what);
  if (value > kMaxId) refuseEntry(std::string{what} + " out of range");
  return value;
}

std::string TarReader::Impl::gnuName(std::uint64_t size) {
  std::string text = readBody(size);
  const size_t nul = text.find('\0');
  if (nul != std::string::npos && text.find_first_not_of('\0', nul) != std::string::npos) {
    refuse("a GNU long name with bytes behind its end");
  }
  text.resize(std::min(nul, text.size()));
  if (text.empty()) refuse("an empty GNU long name");
  return text;
}

// Takes in x, g, L and K headers. They speak about the next file entry; what readers are known to
// treat differently (two of a kind, a global one between) is refused.
bool TarReader::Impl::isExtension(char type) {
  if (type != 'x' && type != 'g' && type != 'L' && type != 'K') return false;
  const std::uint64_t size = number(tarfmt::kSize, "size");
  switch (type) {
    case 'x':
      if (pax) refuse("two PAX headers for one entry");
      pax = tarfmt::parsePax(readBody(size), tarfmt::PaxScope::file, name);
      break;
    case 'g':
      if (pax || longName || longLink)
        refuse("a global PAX header between an entry and its extension header");
      tarfmt::parsePax(readBody(size), tarfmt::PaxScope::global, name);
      break;
    default:
      std::optional<std::string>& slot = type == 'L' ? longName : longLink;
      if (slot) refuse("two GNU long names for one entry");
      slot = gnuName(size);
  }
  return true;
}

void TarReader::Impl::readNames() {
  const auto magic = fieldBytes(header, tarfmt::kMagic);
  entry.path = fieldText(header, tarfmt::kName);
  if (magic == tarfmt::kUstarMagic) {
    const auto prefix = fieldText(header, tarfmt::kPrefix);
    // xstar keeps times in the end of the prefix field; only some readers know.
    if (fieldBytes(header, tarfmt::kXstarMagic) == std::string_view{"tar\0", 4} &&
        prefix.size() > tarfmt::kXstarTimes.offset - tarfmt::kPrefix.offset) {
      refuseEntry("a name that ustar and xstar readers see differently");
    }
    if (!prefix.empty()) entry.path = std::string{prefix} + '/' + entry.path;
  }
  entry.linkTarget = fieldText(header, tarfmt::kLinkName);
  if (longName) entry.path = *longName;
  if (longLink) entry.linkTarget = *longLink;
  if (pax->path) entry.path = *pax->path;
  if (pax->linkPath) entry.linkTarget = *pax->linkPath;
  if (pax->sparse.name) entry.path = *pax->sparse.name;
  if (entry.path.empty()) refuse("an entry without a name");
}

// False for a type that is skipped.
bool TarReader::Impl::setType(char type) {
  using Type = TarEntry::Type;
  const bool endsInSlash = entry.path.back() == '/';
  switch (type) {
    case '\0': entry.type = endsInSlash ? Type::directory : Type::file; break;
    case '0':
    case '7':
    case 'S': entry.type = Type::file; break;
    case '1': entry.type = Type::hardLink; break;
    case '2': entry.type = Type::symlink; break;
    case '3': entry.type = Type::charDevice; break;
    case '4': entry.type = Type::blockDevice; break;
    case '5': entry.type = Type::directory; break;
    case '6': entry.type = Type::fifo; break;
    // GNU: continued file, directory dump, volume name; Solaris: its own kind of PAX header. Their
    // data or their meaning would be taken for something else.
    case 'M':
    case 'D':
    case 'V':
    case 'N':
    case 'X': refuseEntry(fmt::format("entry type '{}' is not supported", type));
    default:
      log::warn("{}: entry {} of unknown type {} is ignored", name, text::quote(entry.path),
                text::quote(std::string_view{&type, 1}));
      return false;
  }
  // GNU tar and libarchive make a folder of it, Go's reader a file.
  if (entry.type == Type::file && endsInSlash) refuseEntry("a file whose name ends in '/'");
  return true;
}

void TarReader::Impl::setDevice() {
  if (entry.type != TarEntry::Type::charDevice && entry.type != TarEntry::Type::blockDevice) {
    entry.deviceMajor = entry.deviceMinor = 0;
    return;
  }
  const std::uint64_t major = number(tarfmt::kDevMajor, "devmajor");
  const std::uint64_t minor = number(tarfmt::kDevMinor, "devminor");
  if (major > 0xfff || minor > 0xfffff)
    refuseEntry("device number out of range");  // Linux: 12 and 20 bits
  entry.deviceMajor = static_cast<std::uint32_t>(major);
  entry.deviceMinor = static_cast<std::uint32_t>(minor);
}

void TarReader::Impl::readEntry() {
  if (!pax) pax.emplace();
  readNames();
  entry.mode = static_cast<std::uint32_t>(number(tarfmt::kMode, "mode") & 07777);
  entry.uid = static_cast<std::uint32_t>(id(tarfmt::kUid, pax->uid, "uid"));
  entry.gid = static_cast<std::uint32_t>(id(tarfmt::kGid, pax->gid, "gid"));
  if (pax->mtime) {
    entry.mtimeSeconds = pax->mtime->seconds;
    entry.mtimeNanoseconds = pax->mtime->nanoseconds;
  } else {
    const auto mtime = parseNumber(fieldBytes(header, tarfmt::kMtime));
    if (!mtime) refuseEntry("field mtime is not a number");
    entry.mtimeSeconds = *mtime;
    entry.mtimeNanoseconds = 0;
  }
  entry.xattrs = std::move(pax->xattrs);
  entry.sparse = false;
  entry.extents.clear();
  left = pax->size ? *pax->size : number(tarfmt::kSize, "size");
  if (left > kMaxSize) refuseEntry("size out of range");
  padding = paddingOf(left);
  entry.size = left;
}

void TarReader::Impl::readGnuSparse() {
  if (fieldBytes(header, tarfmt::kMagic) != tarfmt::kGnuMagic)
    refuseEntry("a GNU sparse file in a POSIX header");
  std::vector<std::uint64_t> map;
  const auto addPairs = [&](size_t at, size_t pairs) {
    for (size_t i = 0; i < pairs; ++i, at += 24) {
      if (header[at] == std::byte{0}) return;  // unused
      map.push_back(number({at, 12}, "sparse offset"));
      map.push_back(number({at + 12, 12}, "sparse length"));
    }
  };
  const std::uint64_t realSize = number(tarfmt::kGnuRealSize, "real size");
  addPairs(tarfmt::kGnuSparse, 4);
  bool more = header[tarfmt::kGnuIsExtended] != std::byte{0};
  while (more) {
    if (map.size() * 12 > tarfmt::kMaxExtension) refuseEntry("a sparse map over 1 MiB");
    readExactly(header);
    addPairs(0, 21);
    more = header[tarfmt::kGnuExtensionIsExtended] != std::byte{0};
  }
  entry.extents = tarfmt::checkSparseMap(map, realSize, left, where());
  entry.size = realSize;
}

// The map of format 1.0: decimal lines in front of the data, padded to a block.
std::vector<std::uint64_t> TarReader::Impl::readSparseMap10() {
  std::vector<std::uint64_t> numbers;
  std::optional<std::uint64_t> wanted;
  std::uint64_t bytes = 0;
  std::string rest;
  while (!wanted || numbers.size() < *wanted) {
    if (left < kBlock || (bytes += kBlock) > tarfmt::kMaxExtension)
      refuseEntry("broken sparse map");
    Block block;
    readExactly(block);
    left -= kBlock;
    rest.append(asText(block));
    size_t newline;
    while ((!wanted || numbers.size() < *wanted) &&
           (newline = rest.find('\n')) != std::string::npos) {
      const auto value = text::parseUnsigned(std::string_view{rest}.substr(0, newline));
      rest.erase(0, newline + 1);
      if (!value || *value > kMaxSize) refuseEntry("sparse map with a bad number");
      if (wanted) {
        numbers.push_back(*value);
      } else {
        wanted = *value * 2;
      }
    }
    if (wanted && *wanted > 2 * tarfmt::kMaxExtension) refuseEntry("a sparse map over 1 MiB");
    if ((!wanted || numbers.size() < *wanted) && rest.size() > 32)
      refuseEntry("sparse map with a bad number");
  }
  if (rest.find_first_not_of('\0') != std::string::npos) refuseEntry("bytes behind the sparse map");
  return numbers;
}

void TarReader::Impl::readSparse(char type) {
  const tarfmt::PaxSparse& sparse = pax->sparse;
  if (type == 'S') {
    if (sparse.any) refuseEntry("two kinds of sparse map");
    entry.sparse = true;
    return readGnuSparse();
  }
  if (!sparse.any) return;
  if (entry.type != TarEntry::Type::file)
    refuseEntry("a sparse map on something that is not a file");
  const std::uint64_t major = sparse.major.value_or(0);
  const std::uint64_t minor = sparse.minor.value_or(sparse.hasMap ? 1 : 0);
  const bool isInline = sparse.hasMap || sparse.hasPairs;
  std::optional<std::uint64_t> realSize;
  std::vector<std::uint64_t> map;
  if (major == 1 && minor == 0 && !isInline && sparse.realSize && !sparse.size) {
    realSize = sparse.realSize;
    map = readSparseMap10();
  } else if (major == 0 && minor == (sparse.hasMap ? 1U : 0U) && isInline &&
             !(sparse.hasMap && sparse.hasPairs) && sparse.size && !sparse.realSize &&
             sparse.blocks == sparse.map.size() / 2) {
    realSize = sparse.size;
    map = sparse.map;
  }
  if (!realSize || *realSize > kMaxSize) refuseEntry("contradicting sparse records");
  entry.sparse = true;
  entry.extents = tarfmt::checkSparseMap(map, *realSize, left, where());
  entry.size = *realSize;
}

TarReader::TarReader(Source& source, std::string name, Mode mode)
    : impl_(std::make_unique<Impl>(source, mode, std::move(name))) {}

TarReader::TarReader(int file, std::string name)
    : impl_(std::make_unique<Impl>(file, std::move(name))) {}

TarReader::~TarReader() = default;

const TarEntry* TarReader::next() {
  Impl& in = *impl_;
  for (;;) {
    in.skip(in.left);
    in.left = 0;
    in.skip(std::exchange(in.padding, 0));
    if (in.atEnd || !in.nextHeader()) {
      if (in.pax || in.longName || in.longLink) in.refuse("an extension header without an entry");
      in.atEnd = true;
      return nullptr;
    }
    in.checkHeader();
    const char type = std::to_integer<char>(in.header[tarfmt::kType]);
    if (in.isExtension(type)) continue;
    in.readEntry();
    const bool known = in.setType(type);
    if (known) {
      in.setDevice();
      if (in.entry.type != TarEntry::Type::file && in.entry.size > 0) {
        // Go's reader takes the bytes behind it for headers, others skip them (T4).
        in.refuseEntry("data on an entry that is not a file");
      }
      in.readSparse(type);
      const bool isLink =
          in.entry.type == TarEntry::Type::hardLink || in.entry.type == TarEntry::Type::symlink;
      if (!isLink) in.entry.linkTarget.clear();
      if (isLink && in.entry.linkTarget.empty()) in.refuseEntry("a link without a target");
    }
    in.pax.reset();
    in.longName.reset();
    in.longLink.reset();
    if (known) return &in.entry;
  }
}

std::span<const std::byte> TarReader::readPiece() {
  Impl& in = *impl_;
  if (in.left == 0) return {};
  const auto piece = in.take(in.left);
  if (piece.empty()) in.refuseEntry("the archive ends in the middle of its data");
  in.left -= piece.size();
  return piece;
}

size_t TarReader::read(std::span<std::byte> into) {
  Impl& in = *impl_;
  const size_t count = static_cast<size_t>(std::min<std::uint64_t>(in.left, into.size()));
  if (count == 0) return 0;
  const auto piece = in.take(count);
  if (piece.empty()) in.refuseEntry("the archive ends in the middle of its data");
  std::memcpy(into.data(), piece.data(), piece.size());
  in.left -= piece.size();
  return piece.size();
}

void TarReader::skipData() {
  Impl& in = *impl_;
  if (!in.trySkip(std::exchange(in.left, 0)))
    in.refuseEntry("the archive ends in the middle of its data");
}

std::uint64_t TarReader::dataOffset() const {
  return impl_->taken;
}

void TarReader::drain() {
  Impl& in = *impl_;
  while (next() != nullptr) {
  }
  for (;;) {
    const auto piece = in.take(kMaxSize);
    if (piece.empty()) return;
    if (!isZero(piece)) in.refuse("bytes behind the end of the archive");
  }
}

}  // namespace img::store
