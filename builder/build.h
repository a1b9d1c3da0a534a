// A build, from a request to an image in the store (architecture.md 4). One call per process at a
// time: it forks workers and blocks SIGINT, SIGTERM and SIGHUP while it runs.
#pragma once

#include "builder/progress.h"
#include "builder/request.h"
#include "store/layout.h"

namespace img::builder {

// Throws Error with position, stage and log tail as far as they apply; nothing is named in the
// store then, the cache keeps the steps that were finished.
// An epoch is taken from the request, else from a global ARG SOURCE_DATE_EPOCH of the file.
Result build(const Request& request, const store::Layout& layout, Progress& progress);

// A value of SOURCE_DATE_EPOCH: seconds. Throws Kind::failed for anything else.
std::int64_t parseEpoch(const std::string& text);

}  // namespace img::builder
