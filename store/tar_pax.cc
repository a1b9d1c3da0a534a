#include "store/tar_pax.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "base/error.h"
#include "base/text.h"

namespace img::store::tarfmt {
namespace {

constexpr std::string_view kXattrPrefix = "SCHILY.xattr.";
constexpr std::string_view kSparsePrefix = "GNU.sparse.";
constexpr std::uint64_t kMaxNumber = std::numeric_limits<std::int64_t>::max();

class Parser {
 public:
  Parser(PaxScope scope, std::string_view where) : scope_(scope), where_(where) {}

  PaxRecords parse(std::string_view body) {
    while (!body.empty()) body.remove_prefix(record(body));
    if (records_.sparse.map.size() % 2 != 0) refuse("sparse map with an odd count of numbers");
    return std::move(records_);
  }

 private:
  [[noreturn]] void refuse(std::string_view what) const {
    throw Error::make(Kind::corrupt, "{}: PAX header: {}", where_, what);
  }
  [[noreturn]] void refuse(std::string_view key, std::string_view what) const {
    throw Error::make(Kind::corrupt, "{}: PAX record {}: {}", where_, text::quote(key), what);
  }

  // Returns the record's length.
  size_t record(std::string_view rest) {
    const size_t blank = rest.find(' ');
    if (blank == std::string_view::npos || blank == 0 || blank > 7) refuse("no record length");
    const auto length = text::parseUnsigned(rest.substr(0, blank));
    if (!length || *length > rest.size() || *length < blank + 3) refuse("wrong record length");
    const std::string_view line = rest.substr(blank + 1, static_cast<size_t>(*length) - blank - 1);
    if (line.back() != '\n') refuse("a record does not end in a newline");
    const size_t equals = line.find('=');
    if (equals == std::string_view::npos || equals == 0) refuse("a record has no '='");
    store(line.substr(0, equals), line.substr(equals + 1, line.size() - equals - 2));
    return static_cast<size_t>(*length);
  }

  void store(std::string_view key, std::string_view value) {
    if (key.find('\0') != std::string_view::npos) refuse(key, "NUL in the key");
    const bool isXattr = key.starts_with(kXattrPrefix);
    // Values of extended attributes are bytes; a NUL anywhere else ends the text for some readers.
    if (!isXattr && value.find('\0') != std::string_view::npos) refuse(key, "NUL in the value");
    if (key == "comment" || key == "hdrcharset") return;
    if (scope_ == PaxScope::global) {
      checkGlobal(key);
    } else if (isXattr) {
      records_.xattrs[std::string{key.substr(kXattrPrefix.size())}] = value;
    } else if (key.starts_with(kSparsePrefix)) {
      sparse(key, value);
    } else {
      plain(key, value);
    }
  }

  // Some readers apply a global header to every file, others skip it: nothing in it may matter.
  void checkGlobal(std::string_view key) const {
    static constexpr std::string_view kPerFile[] = {"path", "linkpath", "size",
                                                    "uid",  "gid",      "mtime"};
    const bool matters =
        std::find(std::begin(kPerFile), std::end(kPerFile), key) != std::end(kPerFile);
    if (matters || key.starts_with(kXattrPrefix) || key.starts_with(kSparsePrefix)) {
      refuse(key, "not allowed in a global header");
    }
  }

  // The other keys of POSIX (uname, gname, atime, ctime ...) and unknown ones say nothing that we
  // keep.
  void plain(std::string_view key, std::string_view value) {
    if (key == "path") {
      records_.path = name(key, value);
    } else if (key == "linkpath") {
      records_.linkPath = name(key, value);
    } else if (key == "size") {
      records_.size = number(key, value);
    } else if (key == "uid") {
      records_.uid = number(key, value);
    } else if (key == "gid") {
      records_.gid = number(key, value);
    } else if (key == "mtime") {
      records_.mtime = parsePaxTime(value);
      if (!records_.mtime) refuse(key, "not a time");
    }
  }

  void sparse(std::string_view key, std::string_view value) {
    PaxSparse& sparse = records_.sparse;
    sparse.any = true;
    const std::string_view what = key.substr(kSparsePrefix.size());
    if (what == "major") {
      sparse.major = number(key, value);
    } else if (what == "minor") {
      sparse.minor = number(key, value);
    } else if (what == "name") {
      sparse.name = name(key, value);
    } else if (what == "size") {
      sparse.size = number(key, value);
    } else if (what == "realsize") {
      sparse.realSize = number(key, value);
    } else if (what == "numblocks") {
      sparse.blocks = number(key, value);
    } else if (what == "offset" || what == "numbytes") {
      // Format 0.0 repeats the two keys, one pair per extent.
      if ((sparse.map.size() % 2 == 0) != (what == "offset")) refuse(key, "out of turn");
      sparse.hasPairs = true;
      sparse.map.push_back(number(key, value));
    } else if (what == "map") {
      if (sparse.hasMap) refuse(key, "given twice");
      sparse.hasMap = true;
      if (value.empty()) return;
      for (const std::string& part : text::split(value, ','))
        sparse.map.push_back(number(key, part));
    }
  }

  [[nodiscard]] std::string name(std::string_view key, std::string_view value) const {
    // POSIX lets an empty value cancel an earlier record; readers disagree on what counts then.
    if (value.empty()) refuse(key, "empty");
    return std::string{value};
  }

  [[nodiscard]] std::uint64_t number(std::string_view key, std::string_view value) const {
    const auto parsed = text::parseUnsigned(value);
    if (!parsed || *parsed > kMaxNumber) refuse(key, "not a number");
    return *parsed;
  }

  PaxScope scope_;
  std::string_view where_;
  PaxRecords records_;
};

}  // namespace

PaxRecords parsePax(std::string_view body, PaxScope scope, std::string_view where) {
  return Parser{scope, where}.parse(body);
}

std::optional<PaxTime> parsePaxTime(std::string_view text) {
  const bool isNegative = text.starts_with('-');
  if (isNegative) text.remove_prefix(1);
  const size_t dot = text.find('.');
  const auto seconds = text::parseUnsigned(text.substr(0, dot));
  if (!seconds || *seconds > kMaxNumber - 1) return std::nullopt;
  PaxTime time{static_cast<std::int64_t>(*seconds), 0};
  if (dot != std::string_view::npos) {
    std::string fraction{text.substr(dot + 1)};
    if (fraction.find_first_not_of("0123456789") != std::string::npos) return std::nullopt;
    fraction.resize(9, '0');  // finer digits are cut off, as every file system does
    time.nanoseconds = static_cast<std::uint32_t>(*text::parseUnsigned(fraction));
  }
  if (isNegative) {
    time.seconds = -time.seconds;
    if (time.nanoseconds > 0) {
      time.seconds -= 1;
      time.nanoseconds = 1'000'000'000 - time.nanoseconds;
    }
  }
  return time;
}

std::string formatPaxTime(std::int64_t seconds, std::uint32_t nanoseconds) {
  // -1.5 s is kept as seconds -2 and 500,000,000 ns; the text wants sign and magnitude.
  const bool isNegative = seconds < 0;
  std::uint64_t whole = static_cast<std::uint64_t>(seconds);
  if (isNegative) {
    whole = ~whole + 1;
    if (nanoseconds > 0) {
      whole -= 1;
      nanoseconds = 1'000'000'000 - nanoseconds;
    }
  }
  std::string text = fmt::format("{}{}", isNegative ? "-" : "", whole);
  if (nanoseconds > 0) {
    text += fmt::format(".{:09}", nanoseconds);
    while (text.back() == '0') text.pop_back();
  }
  return text;
}

void appendPaxRecord(std::string& body, std::string_view key, std::string_view value) {
  // The length counts its own digits.
  const size_t rest = key.size() + value.size() + 3;
  size_t total = rest + fmt::formatted_size("{}", rest);
  total = rest + fmt::formatted_size("{}", total);
  body += fmt::format("{} {}=", total, key);
  body.append(value);
  body += '\n';
}

std::vector<TarEntry::Extent> checkSparseMap(const std::vector<std::uint64_t>& numbers,
                                             std::uint64_t realSize, std::uint64_t stored,
                                             std::string_view where) {
  std::vector<TarEntry::Extent> extents;
  std::uint64_t end = 0;
  std::uint64_t total = 0;
  for (size_t i = 0; i + 1 < numbers.size(); i += 2) {
    const std::uint64_t offset = numbers[i];
    const std::uint64_t length = numbers[i + 1];
    if (offset < end || offset > realSize || length > realSize - offset) {
      throw Error::make(Kind::corrupt, "{}: sparse map overlaps or leaves the file", where);
    }
    end = offset + length;
    total += length;
    if (length > 0) extents.push_back({offset, length});
  }
  if (total != stored) {
    throw Error::make(Kind::corrupt, "{}: sparse map names {} bytes, the archive holds {}", where,
                      total, stored);
  }
  return extents;
}

}  // namespace img::store::tarfmt
