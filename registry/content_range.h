// The header Content-Range of a 206 (RFC 9110 14.4): `bytes FIRST-LAST/SIZE`.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace img::registry {

struct ContentRange {
  std::uint64_t first = 0, last = 0;    // inclusive
  std::optional<std::uint64_t> size{};  // nullopt: *, not told
  bool operator==(const ContentRange&) const = default;
};

// nullopt: anything that is no such range, 416's `bytes */SIZE` included.
std::optional<ContentRange> parseContentRange(std::string_view header);

// The header Range as upload sessions answer it: `0-LAST`, maybe with `bytes=` before. How many
// bytes the registry has; nullopt: cannot be understood. `0-0` is what an empty session says, too.
std::optional<std::uint64_t> parseUploadRange(std::string_view header);

}  // namespace img::registry
