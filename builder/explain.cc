#include "builder/explain.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>

#include "base/text.h"
#include "builder/content_digest.h"
#include "builder/secret_guard.h"

namespace img::builder {
namespace {

constexpr mode_t kPermissions = 07777;

// From what people change on purpose to what follows from it: the first kind among the changes is
// the reason.
constexpr std::array<std::string_view, 17> kOrder{
    "base", "instruction", "shell",   "arg",      "env",      "file", "stage",    "url",  "mount",
    "user", "workdir",     "network", "security", "hostname", "host", "platform", "epoch"};

// ARG or ENV is the same to a command: only the value counts.
std::string_view family(std::string_view kind) {
  return kind == "arg" || kind == "env" ? "variable" : kind;
}

bool isRenamable(std::string_view kind) {
  return kind == "base" || kind == "stage";
}

const Input* findByName(const std::vector<Input>& list, const Input& like) {
  const auto found = std::find_if(list.begin(), list.end(), [&](const Input& input) {
    return family(input.kind) == family(like.kind) && input.name == like.name;
  });
  return found == list.end() ? nullptr : &*found;
}

// What stands in `list` for `like`, which is an input of `own`. A base or stage may have got
// another name; the one that lost its partner then is meant.
const Input* findInput(const std::vector<Input>& list, const Input& like,
                       const std::vector<Input>& own) {
  if (const Input* sameName = findByName(list, like)) return sameName;
  if (!isRenamable(like.kind)) return nullptr;
  const auto found = std::find_if(list.begin(), list.end(), [&](const Input& input) {
    return input.kind == like.kind && findByName(own, input) == nullptr;
  });
  return found == list.end() ? nullptr : &*found;
}

std::vector<std::string_view> wordsOf(std::string_view text) {
  std::vector<std::string_view> words;
  for (;;) {
    const size_t begin = text.find_first_not_of(" \t\r\n");
    if (begin == std::string_view::npos) return words;
    const size_t end = std::min(text.find_first_of(" \t\r\n", begin), text.size());
    words.push_back(text.substr(begin, end - begin));
    text.remove_prefix(end);
  }
}

std::string joined(const std::vector<std::string_view>& words, size_t first, size_t last) {
  std::string text;
  for (size_t i = first; i < last; ++i) {
    if (i > first) text += ' ';
    text += words[i];
  }
  return text;
}

// The words that differ, between what both begin and end with.
Change compareText(const Input& before, const Input& now) {
  const auto old = wordsOf(before.value), fresh = wordsOf(now.value);
  const size_t shorter = std::min(old.size(), fresh.size());
  size_t front = 0, back = 0;
  while (front < shorter && old[front] == fresh[front]) ++front;
  while (back < shorter - front && old[old.size() - 1 - back] == fresh[fresh.size() - 1 - back])
    ++back;
  Change change{now.kind, now.name, joined(old, front, old.size() - back),
                joined(fresh, front, fresh.size() - back)};
  if (change.before.empty() && change.after.empty()) {  // only blanks differ
    change.before = before.value;
    change.after = now.value;
  }
  return change;
}

const std::string& shown(const Input& input) {
  return input.detail.empty() ? input.value : input.detail;
}

Change compareValue(const Input& before, const Input& now) {
  if (now.kind == "instruction") return compareText(before, now);
  Change change{now.kind, now.name, shown(before), shown(now)};
  if (before.name != now.name && isRenamable(now.kind)) {
    change.before = before.name + (before.detail.empty() ? "" : " " + before.detail);
    change.after = now.name + (now.detail.empty() ? "" : " " + now.detail);
  }
  const bool isSecret =
      family(now.kind) == "variable" && isSecretName(now.name);  // of which only digests are kept
  if (isSecret) change.before = change.after = "***";
  return change;
}

Change oneSided(const Input& input, bool isNew) {
  const bool isSecret = family(input.kind) == "variable" && isSecretName(input.name);
  Change change{input.kind, input.name, {}, {}, isNew ? "added" : "removed"};
  (isNew ? change.after : change.before) = isSecret ? "***" : shown(input);
  return change;
}

std::vector<std::string> variableNames(const InputList& list) {
  std::vector<std::string> names;
  for (const Input& input : list.inputs) {
    if (family(input.kind) == "variable") names.push_back(input.name);
  }
  return names;
}

std::string typeText(mode_t mode) {
  if (S_ISREG(mode)) return "file";
  if (S_ISDIR(mode)) return "directory";
  if (S_ISLNK(mode)) return "link";
  if (S_ISFIFO(mode)) return "fifo";
  return S_ISSOCK(mode) ? "socket" : "device";
}

void compareFile(const FileInput& before, const FileInput& now, std::vector<Change>& changes) {
  const auto add = [&](std::string field, std::string old, std::string fresh) {
    changes.push_back({"file", now.path, std::move(old), std::move(fresh), std::move(field),
                       before.size, now.size});
  };
  if ((before.mode & S_IFMT) != (now.mode & S_IFMT))
    return add("type", typeText(before.mode), typeText(now.mode));
  if (S_ISREG(now.mode) && before.content != now.content)
    add("content", before.content.hex(), now.content.hex());
  if ((before.mode & kPermissions) != (now.mode & kPermissions)) {
    add("mode", fmt::format("{:04o}", before.mode & kPermissions),
        fmt::format("{:04o}", now.mode & kPermissions));
  }
  if (before.link != now.link) add("link", before.link, now.link);
  if (before.xattrs != now.xattrs) {
    const auto text = [](std::uint64_t xattrs) {
      return xattrs == 0 ? std::string{"none"} : fmt::format("{:016x}", xattrs);
    };
    add("xattr", text(before.xattrs), text(now.xattrs));
  }
}

void compareFiles(const std::vector<FileInput>& before, const std::vector<FileInput>& now,
                  std::vector<Change>& changes) {
  auto old = before.begin();
  auto fresh = now.begin();
  while (old != before.end() || fresh != now.end()) {
    if (fresh == now.end() || (old != before.end() && old->path < fresh->path)) {
      changes.push_back({"file", old->path, typeText(old->mode), {}, "removed", old->size, 0});
      ++old;
    } else if (old == before.end() || fresh->path < old->path) {
      changes.push_back({"file", fresh->path, {}, typeText(fresh->mode), "added", 0, fresh->size});
      ++fresh;
    } else {
      compareFile(*old++, *fresh++, changes);
    }
  }
}

size_t rank(const Change& change) {
  return static_cast<size_t>(std::find(kOrder.begin(), kOrder.end(), change.kind) - kOrder.begin());
}

std::string textOf(const Change& change) {
  const bool isNamed = !change.name.empty() && change.kind != "instruction";
  std::string subject = isNamed ? change.kind + " " + change.name : change.kind;
  if (change.kind == "file") subject = change.name.empty() ? "." : change.name;
  if (change.kind == "file" && change.field == "mode") subject = "mode of " + subject;
  const bool isOneSided = change.field == "added" || change.field == "removed";
  return subject + " " + (isOneSided ? change.field : "changed");
}

// Whether git would see no change: the bits that differ are not the owner's right to execute.
bool isUmaskChange(const Change& change) {
  if (change.kind != "file" || change.field != "mode") return false;
  const auto counted = [](const std::string& octal) {
    return gitMode(S_IFREG | static_cast<mode_t>(std::stoul(octal, nullptr, 8)));
  };
  return counted(change.before) == counted(change.after);
}

// The folder that holds all of `paths`, with a '/'; empty: the context itself.
std::string commonFolder(const std::vector<std::string>& paths) {
  std::string common = paths.front();
  for (const std::string& path : paths) {
    const auto ends = std::mismatch(common.begin(), common.end(), path.begin(), path.end());
    common.erase(ends.first, common.end());
  }
  if (paths.size() == 1) common = paths.front();
  const size_t slash = common.rfind('/');
  return slash == std::string::npos ? "" : common.substr(0, slash + 1);
}

// Modes that differ by the umask alone are what --context-perms=git is for.
std::string hintFor(const std::vector<Change>& changes) {
  std::set<std::string> others;  // files of which more has changed
  for (const Change& change : changes) {
    if (change.kind == "file" && !isUmaskChange(change)) others.insert(change.name);
  }
  std::vector<std::string> modes;
  for (const Change& change : changes) {
    if (isUmaskChange(change) && !others.contains(change.name)) modes.push_back(change.name);
  }
  if (modes.empty()) return {};
  const std::string folder = commonFolder(modes);
  const bool isWhole = std::none_of(others.begin(), others.end(), [&](const std::string& path) {
    return path.starts_with(folder);
  });
  std::string what = "some files differ in their modes only";
  if (isWhole) what = folder.empty() ? "only modes differ" : "only modes differ under " + folder;
  return what + "; --context-perms=git ignores group and other bits";
}

Miss withoutRecord(const std::string& text) {
  Miss miss;
  miss.reason = "first-build";
  miss.text = text;
  return miss;
}

void compareWith(Miss& miss, const InputRecord& record) {
  miss.comparedWith = record.buildId;
  miss.comparedAt = record.at;
}

// There was a result under this very key.
std::optional<Miss> lostResult(const InputStore& inputs, const StepCache& cache,
                               const store::Layout& layout, const Digest& key) {
  const StepCache::Absence absence = cache.whyAbsent(key);
  const auto record = inputs.find(key);
  if (absence == StepCache::Absence::unknown && !record) return std::nullopt;
  Miss miss;
  if (record) compareWith(miss, *record);
  if (absence == StepCache::Absence::expired) {
    miss.reason = "ttl";
    miss.text = "older than --cache-ttl";
  } else if (absence == StepCache::Absence::damaged) {
    miss.reason = "damaged";
    miss.text = "layer damaged";
  } else {
    miss.reason = "evicted";
    miss.text = "layer removed";
    if (const auto eviction = findEviction(layout, key)) {
      miss.text += " by " + eviction->by;
      miss.changes.push_back({"evicted", eviction->by, {}, eviction->at, "removed"});
    }
  }
  return miss;
}

const Input* parentOf(const InputList& list) {
  const auto found = std::find_if(list.inputs.begin(), list.inputs.end(),
                                  [](const Input& input) { return input.kind == "parent"; });
  return found == list.inputs.end() ? nullptr : &*found;
}

Miss parentMiss(const MissedStep& step) {
  Miss miss;
  miss.reason = "parent";
  miss.text = step.parent > 0 ? fmt::format("parent #{}", step.parent) : "parent";
  miss.changes.push_back({"parent", fmt::format("#{}", step.parent), {}, {}});
  return miss;
}

}  // namespace

Miss notLookedUp(const std::string& option) {
  Miss miss;
  miss.reason = "no-cache";
  miss.text = option;
  return miss;
}

std::string shortText(const std::vector<Change>& changes) {
  if (changes.empty()) return {};
  std::set<std::pair<std::string, std::string>> things;
  for (const Change& change : changes) things.emplace(change.kind, change.name);
  if (things.size() == 1) return textOf(changes.front());
  const bool areFiles = std::all_of(changes.begin(), changes.end(),
                                    [](const Change& change) { return change.kind == "file"; });
  return fmt::format("{} {} changed", things.size(), areFiles ? "files" : "inputs");
}

std::vector<Change> compareInputs(const InputList& before, const InputList& now) {
  std::vector<Change> changes;
  for (const Input& input : now.inputs) {
    if (input.kind == "parent") continue;
    const Input* old = findInput(before.inputs, input, now.inputs);
    if (old == nullptr) {
      // A step that had others below it and now stands on the base: the parent says it.
      if (input.kind != "base") changes.push_back(oneSided(input, true));
    } else if (old->value != input.value) {
      changes.push_back(compareValue(*old, input));
    }
  }
  for (const Input& input : before.inputs) {
    if (input.kind == "parent" || input.kind == "base") continue;
    if (findInput(now.inputs, input, before.inputs) == nullptr)
      changes.push_back(oneSided(input, false));
  }
  if (changes.empty() && variableNames(before) != variableNames(now)) {
    changes.push_back({"env", "order", text::join(variableNames(before), " "),
                       text::join(variableNames(now), " ")});
  }
  compareFiles(before.files, now.files, changes);
  std::stable_sort(changes.begin(), changes.end(),
                   [](const Change& a, const Change& b) { return rank(a) < rank(b); });
  return changes;
}

Explanation explainMiss(const InputStore& inputs, const StepCache& cache,
                        const store::Layout& layout, const MissedStep& step) {
  Explanation result;
  for (const Digest& key : step.keys) {
    if (auto miss = lostResult(inputs, cache, layout, key)) {
      result.miss = std::move(*miss);
      const auto record = inputs.find(key);
      result.seconds = record ? record->seconds : 0;
      return result;
    }
  }
  Miss& miss = result.miss;
  const auto earlier = inputs.findClosest(step.record.place);
  if (!earlier) {
    miss = withoutRecord("first build");
    return result;
  }
  result.seconds = earlier->seconds;
  miss.changes = compareInputs(earlier->list, step.record.list);
  if (!miss.changes.empty()) {
    miss.reason = miss.changes.front().kind;
    miss.text = shortText(miss.changes);
    if (!step.countsGitModes) miss.hint = hintFor(miss.changes);
  } else {
    const Input *before = parentOf(earlier->list), *now = parentOf(step.record.list);
    const bool isSameParent =
        (before == nullptr) == (now == nullptr) && (now == nullptr || before->value == now->value);
    // The same inputs under another key: the record is of another version of this program.
    miss = isSameParent ? withoutRecord("first build with this version") : parentMiss(step);
  }
  compareWith(miss, *earlier);
  return result;
}

}  // namespace img::builder
