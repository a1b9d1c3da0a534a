// The small requests of a session: manifests, tags, whether a blob is there.
#pragma once

#include "base/fd.h"
#include "base/json.h"
#include "base/task.h"
#include "registry/client.h"

namespace img::registry {

// Fields and answers: README.md, "session".
Task<Json> headManifest(Client& client, const Json& request);
Task<Json> getManifest(Client& client, const Json& request, Fd file);
Task<Json> putManifest(Client& client, const Json& request, Fd file);
Task<Json> hasBlob(Client& client, const Json& request);
Task<Json> listTags(Client& client, Fd file);
Task<Json> ping(Client& client);

}  // namespace img::registry
