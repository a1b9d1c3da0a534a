#include "store/posix_acl.h"

#include <vector>

namespace img::store {
namespace {

constexpr size_t kHeader = 4, kEntry = 8;
constexpr std::uint32_t kUndefinedId = 0xffffffff;

// linux/posix_acl.h
enum Tag : std::uint32_t {
  kUserObject = 1,
  kUser = 2,
  kGroupObject = 4,
  kGroup = 8,
  kMask = 0x10,
  kOther = 0x20
};

struct AclEntry {
  std::uint32_t tag, permissions, id;
};

std::uint32_t little(std::string_view bytes, size_t at, size_t count) {
  std::uint32_t value = 0;
  for (size_t i = count; i-- > 0;) value = value << 8 | static_cast<std::uint8_t>(bytes[at + i]);
  return value;
}

std::vector<AclEntry> parse(std::string_view value) {
  std::vector<AclEntry> entries;
  for (size_t at = kHeader; at + kEntry <= value.size(); at += kEntry)
    entries.push_back({little(value, at, 2), little(value, at + 2, 2), little(value, at + 4, 4)});
  return entries;
}

}  // namespace

bool isEmptyAcl(std::string_view value) {
  return value.size() < kHeader + kEntry;
}

bool isValidAcl(std::string_view value) {
  if (isEmptyAcl(value)) return true;
  // The kind of entry that has to come, or come next: owner, users, groups, other, then nothing.
  std::uint32_t state = kUserObject;
  bool needsMask = false;
  for (const AclEntry& entry : parse(value)) {
    switch (entry.tag) {
      case kUserObject:
        if (state != kUserObject) return false;
        state = kUser;
        break;
      case kUser:
      case kGroup:
        if (state != entry.tag || entry.id == kUndefinedId) return false;
        needsMask = true;
        break;
      case kGroupObject:
        if (state != kUser) return false;
        state = kGroup;
        break;
      case kMask:
        if (state != kGroup) return false;
        state = kOther;
        break;
      case kOther:
        if (state != kOther && (state != kGroup || needsMask)) return false;
        state = 0;
        break;
      default: return false;
    }
  }
  return state == 0;
}

AclMode applyAcl(std::string_view value, std::uint32_t mode) {
  if (isEmptyAcl(value)) return {mode, false};
  std::uint32_t bits = 0, mask = 0;
  bool hasMask = false, isKept = false;
  for (const AclEntry& entry : parse(value)) {
    if (entry.tag == kUserObject) bits |= entry.permissions << 6;
    if (entry.tag == kGroupObject) bits |= entry.permissions << 3;
    if (entry.tag == kOther) bits |= entry.permissions;
    if (entry.tag == kUser || entry.tag == kGroup) isKept = true;
    if (entry.tag != kMask) continue;
    hasMask = isKept = true;
    mask = entry.permissions;
  }
  if (hasMask) bits = (bits & ~070U) | mask << 3;
  return {(mode & ~0777U) | bits, isKept};
}

std::string changeAclMode(std::string_view value, std::uint32_t mode) {
  std::string changed{value};
  const auto entries = parse(value);
  bool hasMask = false;
  for (const AclEntry& entry : entries) hasMask = hasMask || entry.tag == kMask;
  const std::uint32_t groupTag = hasMask ? kMask : kGroupObject;
  for (size_t i = 0; i < entries.size(); ++i) {
    char& permissions = changed[kHeader + i * kEntry + 2];
    if (entries[i].tag == kUserObject) permissions = static_cast<char>(mode >> 6 & 7);
    if (entries[i].tag == groupTag) permissions = static_cast<char>(mode >> 3 & 7);
    if (entries[i].tag == kOther) permissions = static_cast<char>(mode & 7);
  }
  return changed;
}

}  // namespace img::store
