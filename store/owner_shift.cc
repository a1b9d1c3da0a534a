#include "store/owner_shift.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <utility>

#include "base/error.h"
#include "base/fs.h"
#include "base/sys.h"
#include "base/text.h"

namespace img::store {
namespace {

constexpr char kCapability[] = "security.capability";

std::uint32_t shifted(const std::vector<OwnerRange>& ranges, std::uint32_t id) {
  for (const OwnerRange& range : ranges) {
    if (id >= range.from && id - range.from < range.count) return range.to + (id - range.from);
  }
  throw Error::make(Kind::unsupported,
                    "a file belongs to the id {}, which the container has not got", id)
      .code("idmap")
      .hint("map that id as well, or run the container without --userns and --uidmap");
}

OwnerPlan::Entry entryOf(int folder, const std::string& name, const struct stat& st) {
  OwnerPlan::Entry entry{st.st_uid, st.st_gid, st.st_mode & 07777, {}};
  if (!S_ISREG(st.st_mode)) return entry;
  const Fd file = sys::openat(folder, name, O_RDONLY | O_NOFOLLOW);
  entry.rights = sys::fgetxattr(file.get(), kCapability).value_or("");
  return entry;
}

void collect(int folder, OwnerPlan& plan) {
  const struct stat st = sys::fstat(folder);
  plan.entries[st.st_ino] = {st.st_uid, st.st_gid, st.st_mode & 07777, {}};
  for (const fs::Entry& item : fs::list(folder)) {
    const struct stat inner = sys::fstatat(folder, item.name);
    if (S_ISDIR(inner.st_mode)) {
      collect(sys::openat(folder, item.name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW).get(), plan);
    } else if (!plan.entries.contains(inner.st_ino)) {
      plan.entries.emplace(inner.st_ino, entryOf(folder, item.name, inner));
    }
  }
}

void setFile(int folder, const std::string& name, const OwnerPlan::Entry& entry) {
  const Fd file = sys::openat(folder, name, O_RDONLY | O_NOFOLLOW);
  const struct stat st = sys::fstat(file.get());
  if (st.st_uid != entry.uid || st.st_gid != entry.gid)
    sys::fchown(file.get(), entry.uid, entry.gid);
  // chown(2) takes set-user-id bits and capabilities away, perhaps in a run that was killed.
  if ((sys::fstat(file.get()).st_mode & 07777) != entry.mode) sys::fchmod(file.get(), entry.mode);
  if (!entry.rights.empty() && sys::fgetxattr(file.get(), kCapability) != entry.rights) {
    sys::fsetxattr(file.get(), kCapability, entry.rights);
  }
}

void setFolder(int folder, const OwnerPlan& plan) {
  for (const fs::Entry& item : fs::list(folder)) {
    const struct stat st = sys::fstatat(folder, item.name);
    const auto found = plan.entries.find(st.st_ino);
    if (S_ISDIR(st.st_mode)) {
      setFolder(sys::openat(folder, item.name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW).get(), plan);
    } else if (found == plan.entries.end()) {
      continue;
    } else if (S_ISREG(st.st_mode)) {
      setFile(folder, item.name, found->second);
    } else if (st.st_uid != found->second.uid || st.st_gid != found->second.gid) {
      sys::lchownat(folder, item.name, found->second.uid, found->second.gid);
    }
  }
  const struct stat st = sys::fstat(folder);
  const auto own = plan.entries.find(st.st_ino);
  if (own == plan.entries.end()) return;
  if (st.st_uid != own->second.uid || st.st_gid != own->second.gid)
    sys::fchown(folder, own->second.uid, own->second.gid);
  if ((sys::fstat(folder).st_mode & 07777) != own->second.mode)
    sys::fchmod(folder, own->second.mode);
}

std::string hexOf(std::string_view bytes) {
  std::string text;
  for (const char byte : bytes) text += fmt::format("{:02x}", static_cast<unsigned char>(byte));
  return text.empty() ? "-" : text;
}

std::optional<std::string> bytesOf(std::string_view hex) {
  std::string bytes;
  if (hex == "-") return bytes;
  if (hex.size() % 2 != 0) return std::nullopt;
  for (size_t at = 0; at < hex.size(); at += 2) {
    unsigned value = 0;
    const char* const end = hex.data() + at + 2;
    const auto [last, problem] = std::from_chars(hex.data() + at, end, value, 16);
    if (problem != std::errc{} || last != end) return std::nullopt;
    bytes += static_cast<char>(value);
  }
  return bytes;
}

std::vector<OwnerRange> inverted(std::vector<OwnerRange> ranges) {
  for (OwnerRange& range : ranges) std::swap(range.from, range.to);
  return ranges;
}

std::string rangesText(const std::vector<OwnerRange>& ranges) {
  std::vector<std::string> words;
  words.reserve(ranges.size());
  for (const OwnerRange& range : ranges) {
    words.push_back(fmt::format("{}:{}:{}", range.from, range.to, range.count));
  }
  return text::join(words, ",");
}

std::vector<OwnerRange> parseRanges(std::string_view words) {
  std::vector<OwnerRange> ranges;
  for (const std::string& word : text::split(words, ',')) {
    std::vector<std::uint32_t> numbers;
    for (const std::string& field : text::split(word, ':')) {
      if (const auto number = text::parseUnsigned(field)) {
        numbers.push_back(static_cast<std::uint32_t>(*number));
      }
    }
    if (numbers.size() != 3) throw Error{Kind::corrupt, "a shift of owners cannot be read"};
    ranges.push_back({numbers[0], numbers[1], numbers[2]});
  }
  return ranges;
}

// user_namespaces(7): three numbers a line, with blanks in front of each.
std::vector<OwnerRange> readMap(const char* path) {
  std::vector<OwnerRange> ranges;
  for (const std::string& line : text::split(fs::tryReadFile(AT_FDCWD, path).value_or(""), '\n')) {
    std::vector<std::uint32_t> numbers;
    for (const std::string& word : text::split(line, ' ')) {
      if (const auto number = text::parseUnsigned(word)) {
        numbers.push_back(static_cast<std::uint32_t>(*number));
      }
    }
    if (numbers.size() == 3) ranges.push_back({numbers[0], numbers[1], numbers[2]});
  }
  return ranges;
}

bool covers(const std::vector<OwnerRange>& whole, const std::vector<OwnerRange>& part) {
  return std::all_of(part.begin(), part.end(), [&](const OwnerRange& one) {
    return std::any_of(whole.begin(), whole.end(), [&](const OwnerRange& range) {
      return one.to >= range.to &&
             std::uint64_t{one.to} + one.count <= std::uint64_t{range.to} + range.count;
    });
  });
}

}  // namespace

OwnerShift ownIdMaps() {
  return {readMap("/proc/self/uid_map"), readMap("/proc/self/gid_map")};
}

bool coversIds(const OwnerShift& whole, const OwnerShift& part) {
  return covers(whole.uids, part.uids) && covers(whole.gids, part.gids);
}

OwnerShift OwnerShift::inverse() const {
  return {inverted(uids), inverted(gids)};
}

std::string OwnerShift::text() const {
  return rangesText(uids) + " " + rangesText(gids) + "\n";
}

OwnerShift OwnerShift::parse(std::string_view text) {
  const std::vector<std::string> words = text::split(std::string{text::trim(text)}, ' ');
  if (words.size() != 2) throw Error{Kind::corrupt, "a shift of owners cannot be read"};
  return {parseRanges(words[0]), parseRanges(words[1])};
}

OwnerPlan OwnerPlan::shifted(const OwnerShift& shift) const {
  OwnerPlan plan = *this;
  for (auto& [inode, entry] : plan.entries) {
    entry.uid = store::shifted(shift.uids, entry.uid);
    entry.gid = store::shifted(shift.gids, entry.gid);
  }
  return plan;
}

std::string OwnerPlan::text() const {
  std::string text;
  for (const auto& [inode, entry] : entries) {
    text += fmt::format("{} {} {} {} {}\n", inode, entry.uid, entry.gid, entry.mode,
                        hexOf(entry.rights));
  }
  return text;
}

OwnerPlan OwnerPlan::parse(std::string_view text) {
  OwnerPlan plan;
  for (const std::string& line : text::split(text, '\n')) {
    if (line.empty()) continue;
    const std::vector<std::string> words = text::split(line, ' ');
    std::vector<std::uint64_t> numbers;
    for (size_t i = 0; i < 4 && words.size() == 5; ++i) {
      if (const auto number = text::parseUnsigned(words[i])) numbers.push_back(*number);
    }
    auto rights = numbers.size() == 4 ? bytesOf(words[4]) : std::nullopt;
    if (!rights) throw Error{Kind::corrupt, "the owners of files cannot be read"};
    plan.entries[numbers[0]] = {static_cast<uid_t>(numbers[1]), static_cast<gid_t>(numbers[2]),
                                static_cast<mode_t>(numbers[3]), std::move(*rights)};
  }
  return plan;
}

OwnerPlan ownersBelow(int folder) {
  OwnerPlan plan;
  collect(folder, plan);
  return plan;
}

void setOwners(int folder, const OwnerPlan& plan) try {
  setFolder(folder, plan);
} catch (Error& error) {
  error.during("giving files the ids of the container");
  throw;
}

}  // namespace img::store
