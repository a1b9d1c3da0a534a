// Why a step was not taken from the cache (cli.md 9.3).
#pragma once

#include <string>
#include <vector>

namespace img::builder {

// One input of a step that differs from the earlier record. kind: file, arg, env, instruction,
// base, stage, mount, user, workdir, shell, network, platform, epoch, url. An empty value on one
// side: not there.
struct Change {
  std::string kind, name, before, after;
};

struct Miss {
  std::string reason;  // the word of the table in cli.md 9.3, "first-build" for example
  std::string text;    // for the progress line: "src/handler.c changed"
  std::vector<Change> changes;
  std::string comparedWith;  // id of the build that made the earlier record; empty: there is none
  std::string comparedAt;    // RFC 3339
  std::string hint;
};

}  // namespace img::builder
