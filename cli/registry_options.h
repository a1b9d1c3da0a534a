// Options of every command that talks to a registry (cli.md 12).
#pragma once

#include "cli/options.h"
#include "distribution/access.h"

namespace img::cli {

// --creds --authfile --cert-dir --tls-verify --retry --retry-delay; `access` outlives the options.
void addRegistryOptions(Options& options, distribution::AccessOptions& access);

}  // namespace img::cli
