// --health-* and --no-healthcheck into the record, checked.
#pragma once

#include "cli/run_options.h"
#include "store/containers.h"

namespace img::cli {

// Throws Kind::usage.
store::HealthRecord healthRecordOf(const HealthRequest& request);

// --restart no | on-failure[:N] | always | unless-stopped. Throws Kind::usage.
store::RestartRecord parseRestart(const std::string& text);

}  // namespace img::cli
