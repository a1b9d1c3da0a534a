#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <functional>

#include "base/error.h"
#include "base/sys.h"
#include "base/text.h"
#include "runtime/security.h"

namespace img::runtime {
namespace {

constexpr size_t kMaxAccountFile = size_t{10} << 20;
constexpr unsigned long long kMaxId = 2147483647;

// One account file, line by line. Read without NSS, as a regular file only (security.md R6): a FIFO
// there hangs other engines, a link to a device is no list of users.
void forEachLine(int root, const char* path,
                 const std::function<bool(const std::vector<std::string>&)>& visit) {
  const std::optional<Fd> file = sys::tryOpenInRoot(root, path, O_RDONLY | O_NONBLOCK);
  if (!file) return;
  if (!S_ISREG(sys::fstat(file->get()).st_mode)) {
    throw Error::make(Kind::corrupt, "/{} of the image is not a regular file", path);
  }
  const std::string content = readAll(file->get(), path, kMaxAccountFile);
  size_t at = 0;
  while (at < content.size()) {
    size_t end = content.find('\n', at);
    if (end == std::string::npos) end = content.size();
    if (!visit(text::split(std::string_view{content}.substr(at, end - at), ':'))) return;
    at = end + 1;
  }
}

// Ids in the image's files that are out of range are not entries at all: 4294967296 must not become
// 0.
std::optional<unsigned> parseId(std::string_view word) {
  const auto number = text::parseUnsigned(word);
  if (!number || *number > kMaxId) return std::nullopt;
  return static_cast<unsigned>(*number);
}

bool isNumber(std::string_view word) {
  if (!word.empty() && (word[0] == '+' || word[0] == '-')) word.remove_prefix(1);
  return !word.empty() &&
         std::all_of(word.begin(), word.end(), [](char c) { return c >= '0' && c <= '9'; });
}

unsigned getId(std::string_view word, std::string_view what) {
  std::string_view digits = word;
  if (digits[0] == '+') digits.remove_prefix(1);
  const auto id = parseId(digits);
  if (id) return *id;
  throw Error::make(Kind::usage, "{} {} is out of range (0 to {})", what, text::quote(word),
                    kMaxId);
}

void checkPart(std::string_view part, std::string_view whole) {
  const auto isBad = [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; };
  if (part.empty() || text::trim(part) != part || std::any_of(part.begin(), part.end(), isBad)) {
    throw Error::make(Kind::usage, "invalid user {}", text::quote(whole))
        .hint("write NAME, UID, NAME:GROUP or UID:GID");
  }
}

struct Account {
  std::string name;
  uid_t uid = 0;
  gid_t gid = 0;
  std::string home;
};

std::optional<Account> findAccount(int root, std::string_view name, std::optional<uid_t> uid) {
  std::optional<Account> found;
  forEachLine(root, "etc/passwd", [&](const std::vector<std::string>& fields) {
    if (fields.size() < 4) return true;
    const auto entryUid = parseId(fields[2]);
    const auto entryGid = parseId(fields[3]);
    if (!entryUid || !entryGid) return true;
    if (uid ? *entryUid != *uid : fields[0] != name) return true;
    found = Account{fields[0], *entryUid, *entryGid, fields.size() > 5 ? fields[5] : ""};
    return false;
  });
  return found;
}

gid_t getGroup(int root, const std::string& word) {
  if (isNumber(word)) return getId(word, "group id");
  std::optional<gid_t> found;
  forEachLine(root, "etc/group", [&](const std::vector<std::string>& fields) {
    if (fields.size() < 3 || fields[0] != word) return true;
    found = parseId(fields[2]);
    return !found.has_value();
  });
  if (found) return *found;
  throw Error::make(Kind::notFound, "unable to find group {}: no matching entries in group file",
                    text::quote(word));
}

void addMemberships(int root, const std::string& name, std::vector<gid_t>& groups) {
  forEachLine(root, "etc/group", [&](const std::vector<std::string>& fields) {
    if (fields.size() < 4) return true;
    const std::vector<std::string> members = text::split(fields[3], ',');
    if (std::find(members.begin(), members.end(), name) == members.end()) return true;
    if (const auto gid = parseId(fields[2])) groups.push_back(*gid);
    return true;
  });
}

}  // namespace

Identity resolveUser(int root, std::string_view user, const std::vector<std::string>& groupAdd) {
  Identity identity;
  const std::string whole{user.empty() ? "0" : user};
  const size_t colon = whole.find(':');
  const std::string name = whole.substr(0, colon);
  checkPart(name, whole);

  std::optional<Account> account;
  if (isNumber(name)) {
    identity.uid = getId(name, "user id");
    account = findAccount(root, {}, identity.uid);
  } else {
    account = findAccount(root, name, {});
    if (!account) {
      throw Error::make(Kind::notFound,
                        "unable to find user {}: no matching entries in passwd file",
                        text::quote(name));
    }
  }
  if (account) {
    identity.uid = account->uid;
    identity.gid = account->gid;
    if (!account->home.empty()) identity.home = account->home;
  }
  if (colon != std::string::npos) {
    const std::string group = whole.substr(colon + 1);
    checkPart(group, whole);
    identity.gid = getGroup(root, group);
  } else if (account) {
    addMemberships(root, account->name, identity.groups);
  }
  // Always a member of the primary group: leaving it out lets group permissions that deny be
  // bypassed (CVE-2022-2989 and its kin).
  identity.groups.push_back(identity.gid);
  for (const std::string& group : groupAdd) {
    checkPart(group, group);
    identity.groups.push_back(getGroup(root, group));
  }
  std::sort(identity.groups.begin(), identity.groups.end());
  identity.groups.erase(std::unique(identity.groups.begin(), identity.groups.end()),
                        identity.groups.end());
  return identity;
}

}  // namespace img::runtime
