// --chmod, declared in value_checks.h.
#include <sys/stat.h>

#include "base/text.h"
#include "parser/fault.h"
#include "parser/value_checks.h"

namespace img::parser {
namespace {

constexpr mode_t kAllBits = 07777;

mode_t affectedBy(char who) {
  switch (who) {
    case 'u': return S_ISUID | S_IRWXU;
    case 'g': return S_ISGID | S_IRWXG;
    case 'o': return S_ISVTX | S_IRWXO;
    case 'a': return kAllBits;
    default: return 0;
  }
}

mode_t bitsOf(char permission) {
  switch (permission) {
    case 'r': return 0444;
    case 'w': return 0222;
    case 'x': return 0111;
    case 's': return S_ISUID | S_ISGID;
    case 't': return S_ISVTX;
    default: return 0;
  }
}

bool isOp(char c) {
  return c == '+' || c == '-' || c == '=';
}
bool isClass(char c) {
  return c == 'u' || c == 'g' || c == 'o';
}

// The permissions of one class, given to all three.
mode_t spread(mode_t mode, char from) {
  const mode_t three = from == 'u' ? mode >> 6 : from == 'g' ? mode >> 3 : mode;
  return (three & 7) * 0111;
}

std::optional<mode_t> parseOctal(std::string_view text) {
  if (text.empty() || text.size() > 8) return std::nullopt;
  mode_t mode = 0;
  for (const char c : text) {
    if (c < '0' || c > '7') return std::nullopt;
    mode = mode * 8 + static_cast<mode_t>(c - '0');
  }
  return mode <= kAllBits ? std::optional{mode} : std::nullopt;
}

Error badMode(std::string_view text) {
  return badValue(fmt::format("--chmod {}: use octal 0-7777 or a symbolic mode such as u=rwX,go=rX",
                              text::quote(text)));
}

}  // namespace

ModeChange ModeChange::parse(std::string_view text) {
  ModeChange change;
  change.octal_ = parseOctal(text);
  if (change.octal_) return change;
  for (const std::string& part : text::split(text, ',')) {
    if (!change.addClauses(part)) throw badMode(text);
  }
  return change;
}

// `ug+r-w`: who, then one or more operations on the same bits.
bool ModeChange::addClauses(std::string_view part) {
  size_t pos = 0;
  mode_t affected = 0;
  while (pos < part.size() && affectedBy(part[pos]) != 0) affected |= affectedBy(part[pos++]);
  if (affected == 0) affected = kAllBits;  // umask 0
  if (pos == part.size()) return false;
  while (pos < part.size()) {
    if (!isOp(part[pos])) return false;
    Clause clause;
    clause.affected = affected;
    clause.op = part[pos++];
    if (pos < part.size() && isClass(part[pos])) {
      clause.copyFrom = part[pos++];
    } else {
      for (; pos < part.size() && (bitsOf(part[pos]) != 0 || part[pos] == 'X'); ++pos) {
        clause.bits |= bitsOf(part[pos]);
        clause.conditionalX = clause.conditionalX || part[pos] == 'X';
      }
    }
    clauses_.push_back(clause);
  }
  return true;
}

mode_t ModeChange::applyClause(const Clause& clause, mode_t mode, bool isDirectory) const {
  mode_t bits = clause.copyFrom != 0 ? spread(mode, clause.copyFrom) : clause.bits;
  if (clause.conditionalX && (isDirectory || (mode & 0111) != 0)) bits |= 0111;
  // chmod(1): set-user-ID and set-group-ID of a directory stay unless they are named.
  const mode_t kept =
      isDirectory ? static_cast<mode_t>(S_ISUID | S_ISGID) & ~(clause.affected & bits) : 0;
  bits &= clause.affected & ~kept;
  switch (clause.op) {
    case '+': return mode | bits;
    case '-': return mode & ~bits;
    default: return (mode & (~clause.affected | kept)) | bits;
  }
}

mode_t ModeChange::apply(mode_t mode, bool isDirectory) const {
  if (octal_) return *octal_;
  mode &= kAllBits;
  for (const Clause& clause : clauses_) mode = applyClause(clause, mode, isDirectory);
  return mode & kAllBits;
}

}  // namespace img::parser
