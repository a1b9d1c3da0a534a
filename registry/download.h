// A blob into a pipe, however often the connection breaks (reliability.md 7): what came is kept,
// the rest is asked for with Range.
#pragma once

#include "base/fd.h"
#include "base/json.h"
#include "base/task.h"
#include "registry/client.h"

namespace img::registry {

// Remembers who served which blob, so that `again` can turn to somebody else.
using Servers = std::map<std::string, const Address*>;

// The request's fields: digest, size, offset, again. Answers requests and received.
Task<Json> downloadBlob(Client& client, Servers& servers, const Json& request, Fd pipe);

}  // namespace img::registry
