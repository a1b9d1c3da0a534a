#include "runtime/subordinate_ids.h"

#include <fcntl.h>

#include <algorithm>
#include <limits>

#include "base/error.h"
#include "base/fs.h"
#include "base/text.h"

namespace img::runtime {
namespace {

// One less than all: the last id, -1, is none.
constexpr std::uint64_t kEndOfIds = std::numeric_limits<std::uint32_t>::max();

[[noreturn]] void refuse(std::string_view file, std::string_view line, std::string_view why) {
  throw Error::make(Kind::corrupt, "{}: {}: {}", file, text::quote(line), why)
      .code("idmap")
      .hint(fmt::format("correct {}, or remove the line", file));
}

bool overlap(const SubordinateRange& a, const SubordinateRange& b) {
  return a.first < std::uint64_t{b.first} + b.count && b.first < std::uint64_t{a.first} + a.count;
}

// subuid(5): "NAME-OR-NUMBER:FIRST:COUNT".
SubordinateRange parseRange(const std::string& line, std::string_view file) {
  const std::vector<std::string> fields = text::split(line, ':');
  if (fields.size() != 3) refuse(file, line, "not NAME:FIRST:COUNT");
  const auto first = text::parseUnsigned(text::trim(fields[1]));
  const auto count = text::parseUnsigned(text::trim(fields[2]));
  if (!first || !count || *count == 0) refuse(file, line, "not NAME:FIRST:COUNT");
  if (*first >= kEndOfIds || *count > kEndOfIds - *first) {
    refuse(file, line, "it goes beyond the last id");
  }
  return {static_cast<std::uint32_t>(*first), static_cast<std::uint32_t>(*count)};
}

}  // namespace

std::vector<SubordinateRange> parseSubordinateIds(std::string_view content, std::string_view user,
                                                  uid_t uid, std::string_view file) {
  std::vector<SubordinateRange> ranges;
  const std::string number = std::to_string(uid);
  for (const std::string& line : text::split(content, '\n')) {
    const std::string owner{text::trim(std::string_view{line}.substr(0, line.find(':')))};
    if (owner.empty() || owner.starts_with('#')) continue;
    if (owner != number && (user.empty() || owner != user)) continue;
    const SubordinateRange range = parseRange(line, file);
    // The same line twice, by name and by number, says nothing new.
    if (std::find(ranges.begin(), ranges.end(), range) != ranges.end()) continue;
    for (const SubordinateRange& other : ranges) {
      if (overlap(range, other)) refuse(file, line, "it overlaps another range of the same user");
    }
    ranges.push_back(range);
  }
  return ranges;
}

std::vector<SubordinateRange> readSubordinateIds(const std::string& path, std::string_view user,
                                                 uid_t uid) {
  const auto content = fs::tryReadFile(AT_FDCWD, path);
  return content ? parseSubordinateIds(*content, user, uid, path) : std::vector<SubordinateRange>{};
}

IdMap makeIdMap(std::uint32_t caller, const std::vector<SubordinateRange>& ranges,
                std::string_view file) {
  IdMap map{{0, caller, 1}};
  std::uint64_t inside = 1;
  for (const SubordinateRange& range : ranges) {
    if (overlap(range, {caller, 1})) {
      refuse(file, fmt::format("{}:{}", range.first, range.count),
             fmt::format("it holds the user's own id {}", caller));
    }
    if (inside + range.count > kEndOfIds) break;  // more ids than there are numbers
    map.push_back({static_cast<std::uint32_t>(inside), range.first, range.count});
    inside += range.count;
  }
  return map;
}

std::vector<std::string> idMapWords(const IdMap& map) {
  std::vector<std::string> words;
  for (const IdRange& line : map) {
    for (const std::uint32_t number : {line.inside, line.outside, line.count}) {
      words.push_back(std::to_string(number));
    }
  }
  return words;
}

IdMap parseIdMap(std::string_view kernelText) {
  IdMap map;
  for (const std::string& line : text::split(kernelText, '\n')) {
    std::vector<std::uint32_t> numbers;
    for (const std::string& word : text::split(line, ' ')) {
      if (const auto number = text::parseUnsigned(word)) {
        numbers.push_back(static_cast<std::uint32_t>(*number));
      }
    }
    if (numbers.size() == 3) map.push_back({numbers[0], numbers[1], numbers[2]});
  }
  return map;
}

std::uint64_t contiguousIds(const IdMap& map) {
  IdMap sorted = map;
  std::sort(sorted.begin(), sorted.end(),
            [](const IdRange& a, const IdRange& b) { return a.inside < b.inside; });
  std::uint64_t end = 0;
  for (const IdRange& line : sorted) {
    if (line.inside != end) break;
    end += line.count;
  }
  return end;
}

std::string nameOfUser(uid_t uid) {
  const auto content = fs::tryReadFile(AT_FDCWD, "/etc/passwd");
  for (const std::string& line : text::split(content.value_or(""), '\n')) {
    const std::vector<std::string> fields = text::split(line, ':');
    if (fields.size() > 2 && text::parseUnsigned(fields[2]) == uid) return fields[0];
  }
  return {};
}

}  // namespace img::runtime
