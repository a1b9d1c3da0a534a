// Sizes and ages for people (cli.md section 6, "Human forms"): exact, because scripts and tests
// read them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace img::cli {

// "About a minute", "5 weeks". Negative ages (a clock that was set back) count as none.
std::string formatAge(long long seconds);
// "5 weeks ago"; `created` is RFC 3339, an empty or unreadable one gives "N/A".
std::string formatCreated(std::string_view created, long long now);
// 181MB, 1.98MB, 66B: powers of 1000, 3 significant digits (4 in `system df` and prune totals).
std::string formatSize(std::uint64_t bytes, int digits = 3);
// 64MiB, 1.5GiB, 512B: powers of 1024, at most 4 significant digits, as docker shows memory.
std::string formatBinarySize(std::uint64_t bytes);
// "2026-01-31 12:00:00 +0100 CET" in local time, as docker's CreatedAt; empty when unreadable.
std::string formatLocalTime(std::string_view created);
// At most `columns` columns, the last of them an ellipsis.
std::string ellipsis(std::string_view text, size_t columns);

long long nowSeconds();

}  // namespace img::cli
