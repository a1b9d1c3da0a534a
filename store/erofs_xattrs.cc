#include <array>

#include "base/error.h"
#include "store/erofs_bytes.h"

namespace img::store {
namespace {

// EROFS_XATTR_INDEX_*, fs/erofs/erofs_fs.h: what a name begins with is a number.
struct Prefix {
  std::string_view text;
  std::uint8_t index;
};
constexpr std::array<Prefix, 5> kPrefixes = {{{"user.", 1},
                                              {"system.posix_acl_access", 2},
                                              {"system.posix_acl_default", 3},
                                              {"trusted.", 4},
                                              {"security.", 6}}};
constexpr std::uint64_t kHeader = 12, kEntryHeader = 4;
constexpr std::uint64_t kMaxValue = 65535;                   // e_value_size has 16 bits
constexpr std::uint64_t kMaxBytes = kHeader + 4 * 65534ULL;  // i_xattr_icount too

const Prefix& prefixOf(std::string_view name) {
  for (const Prefix& prefix : kPrefixes) {
    if (name.starts_with(prefix.text)) return prefix;
  }
  throw Error::make(Kind::internal, "EROFS has no place for the attribute {}", name);
}

std::uint64_t entrySize(std::string_view name, std::string_view value) {
  return (kEntryHeader + name.size() - prefixOf(name).text.size() + value.size() + 3) / 4 * 4;
}

}  // namespace

std::uint64_t erofsXattrSize(const Xattrs& xattrs) {
  std::uint64_t size = kHeader;
  for (const auto& [name, value] : xattrs) size += entrySize(name, value);
  return size;
}

void checkErofsXattrs(const Xattrs& xattrs, std::string_view where) {
  bool fits = xattrs.empty() || erofsXattrSize(xattrs) <= kMaxBytes;
  for (const auto& [name, value] : xattrs) fits = fits && value.size() <= kMaxValue;
  if (fits) return;
  throw Error::make(Kind::unsupported, "{}: its extended attributes are too large for EROFS", where)
      .hint("IMG_LAYER_VIEW=directory unpacks the layer into a folder");
}

void appendErofsXattrs(ErofsBytes& out, const Xattrs& xattrs) {
  out.zeros(kHeader);
  for (const auto& [name, value] : xattrs) {
    const Prefix& prefix = prefixOf(name);
    const std::string_view rest = std::string_view{name}.substr(prefix.text.size());
    const size_t end = out.size() + entrySize(name, value);
    out.u8(rest.size()).u8(prefix.index).u16(value.size()).text(rest).text(value).padTo(end);
  }
}

}  // namespace img::store
