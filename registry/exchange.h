// One HTTP exchange over libcurl: a request, an answer, no redirect, no second try. The body
// streams; when its receiver is full the transfer pauses.
#pragma once

#include "base/task.h"
#include "registry/http.h"
#include "registry/loop.h"

namespace img::registry {

// `receiver` may be null: the body of a 2xx answer is dropped. All arguments outlive the task.
Task<Outcome> exchange(Loop& loop, const HttpRequest& request, const Transport& transport,
                       const Patience& patience, BodyReceiver* receiver);

}  // namespace img::registry
