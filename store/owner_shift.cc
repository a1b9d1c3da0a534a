#include "store/owner_shift.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <set>
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

class Shifter {
 public:
  explicit Shifter(const OwnerShift& shift) : shift_(shift) {}

  void folder(int folder) {
    const struct stat st = sys::fstat(folder);
    sys::fchown(folder, shifted(shift_.uids, st.st_uid), shifted(shift_.gids, st.st_gid));
    if ((st.st_mode & 07000) != 0) sys::fchmod(folder, st.st_mode & 07777);
    for (const fs::Entry& entry : fs::list(folder)) {
      const struct stat inner = sys::fstatat(folder, entry.name);
      if (!S_ISDIR(inner.st_mode)) {
        object(folder, entry.name, inner);
        continue;
      }
      this->folder(sys::openat(folder, entry.name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW).get());
    }
  }

 private:
  void object(int folder, const std::string& name, const struct stat& st) {
    if (st.st_nlink > 1 && !seen_.emplace(st.st_dev, st.st_ino).second) return;
    const uid_t uid = shifted(shift_.uids, st.st_uid);
    const gid_t gid = shifted(shift_.gids, st.st_gid);
    if (uid == st.st_uid && gid == st.st_gid) return;
    if (!S_ISREG(st.st_mode)) return sys::lchownat(folder, name, uid, gid);
    // chown(2) takes set-user-id bits and capabilities away.
    const Fd file = sys::openat(folder, name, O_RDONLY | O_NOFOLLOW);
    const auto rights = sys::fgetxattr(file.get(), kCapability);
    sys::fchown(file.get(), uid, gid);
    if ((st.st_mode & 07000) != 0) sys::fchmod(file.get(), st.st_mode & 07777);
    if (rights) sys::fsetxattr(file.get(), kCapability, *rights);
  }

  const OwnerShift& shift_;
  std::set<std::pair<dev_t, ino_t>> seen_;  // files with several names
};

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

}  // namespace

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

void shiftOwners(int folder, const OwnerShift& shift) try {
  Shifter{shift}.folder(folder);
} catch (Error& error) {
  error.during("giving files the ids of the container");
  throw;
}

}  // namespace img::store
