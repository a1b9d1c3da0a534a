// Why a step was not taken from the cache (cli.md 9.3).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace img::builder {

// One input of a step that differs from the earlier record. kind: file, arg, env, instruction,
// base, stage, mount, user, workdir, shell, network, security, hostname, host, platform, epoch,
// url, parent, evicted.
struct Change {
  std::string kind, name, before, after;
  // What about it: changed, added, removed; of a file also content, mode, type, link, xattr.
  std::string field = "changed";
  std::uint64_t bytesBefore = 0, bytesAfter = 0;  // of a file's content
  bool operator==(const Change&) const = default;
};

struct Miss {
  std::string reason;  // the word of the table in cli.md 9.3, "first-build" for example
  std::string text;    // for the progress line: "src/handler.c changed"
  std::vector<Change> changes;
  std::string comparedWith;  // id of the build that made the earlier record; empty: there is none
  std::string comparedAt;    // RFC 3339
  std::string hint;
};

// What --explain tells of one step.
struct Explanation {
  bool isHit = false;
  Miss miss;           // of a step that runs
  std::string madeBy;  // a hit: id of the build that executed the step; empty: not known
  std::string madeAt;  // RFC 3339
  std::string from;    // a hit in an imported cache: its name
  double seconds = 0;  // the step took then; 0: not known
};

}  // namespace img::builder
