// A blob to the registry (OCI distribution-spec, "Pushing blobs"): in one PUT, or in chunks; what a
// broken connection left there is found out and continued, or begun again (reliability.md 7).
#pragma once

#include "base/fd.h"
#include "base/json.h"
#include "base/task.h"
#include "registry/client.h"
#include "registry/growth.h"

namespace img::registry {

// Fields: digest, size, chunk_bytes (0: in one piece unless the registry refuses that). `file` is
// read by offset, as often as needed.
Task<Json> uploadBlob(Client& client, const Json& request, Fd file);
// The same for a blob that is still being made (growth.h): in chunks, as they are there; the last
// one when `finish` was called. Fields: id. Nothing in it is sent twice unless a connection breaks.
Task<Json> uploadGrowing(Client& client, Growths& growths, const Json& request, Fd socket);

// Fields: digest, from (another repository of this registry). Answers mounted; false is no error.
Task<Json> mountBlob(Client& client, const Json& request);

}  // namespace img::registry
