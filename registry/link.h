// The header Link (RFC 8288), as far as pages of a list need it.
#pragma once

#include <string>
#include <string_view>

namespace img::registry {

// The target of the first link with rel="next"; empty: there is none.
std::string nextLink(std::string_view header);

}  // namespace img::registry
