// Programs of the host that we start.
#pragma once

#include <optional>
#include <string>

namespace img::network {

// In PATH, then where administration programs lie and a user's PATH may not lead.
std::optional<std::string> findHostProgram(const std::string& name);

}  // namespace img::network
