// What of a COPY or ADD counts in its keys and is told of it: the instruction, and its sources by
// content (dockerfile.md 3.8, 6.2, 7.4).
#pragma once

#include <string>
#include <string_view>

#include "base/digest.h"
#include "builder/content_digest.h"
#include "builder/copy_job.h"
#include "builder/stage.h"

namespace img::builder {

// The text of the history.
std::string createdBy(const CopyJob& job);

// Everything but the sources.
Hasher startCopyKey(const Scope& scope, const CopyJob& job, std::string_view kind);

// One source, by what `digester` says of it, which also remembers what it has met.
void addSource(Hasher& hasher, ContentDigester& digester, const CopyJob& job,
               const std::string& path);

}  // namespace img::builder
