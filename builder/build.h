// A build, from a request to an image in the store (architecture.md 4). One call per process at a
// time: it forks workers and blocks SIGINT, SIGTERM and SIGHUP while it runs.
#pragma once

#include "builder/progress.h"
#include "builder/request.h"
#include "store/layout.h"

namespace img::builder {

// Throws Error with position, stage and log tail as far as they apply; nothing is named in the
// store then, the cache keeps the steps that were finished.
Result build(const Request& request, const store::Layout& layout, Progress& progress);

}  // namespace img::builder
