// The command `fetch`: one URL into a descriptor.
//
// Request (JSON): url, limit; optional etag and last_modified (of the copy that is there),
// authorization, redirects, tries, retry_delay_ms, connect_seconds, stall_seconds.
// Result: status; for a 2xx also size, sha256 (hex), etag, last_modified as sent and in seconds
// (modified, null when unknown), url (where it was found). 304: nothing was written.
#pragma once

#include <string>

#include "base/json.h"

namespace img::registry {

// `body` is a regular file opened for writing, empty.
Json fetchUrl(const Json& request, int body, const std::string& trust);

}  // namespace img::registry
