// img build --check and --call: what a Dockerfile looks like to the checks, its targets, the
// outline of one (cli.md 8 X6, 9.1, 9.10). Nothing is built.
#pragma once

#include <string>

#include "builder/request.h"
#include "cli/command.h"

namespace img::cli {

struct CallOptions {
  std::string check;   // basic, extended; empty: not asked for
  std::string call;    // build, check, outline or targets, then ",format=json" perhaps
  std::string format;  // text or json
};

// Whether something else than a build is asked for. Throws Kind::usage for values nobody knows.
bool isCall(const CallOptions& options);
// The exit status.
int runCall(Context& context, const builder::Request& request, const CallOptions& options);

}  // namespace img::cli
