// Values as the command line writes them (cli.md section 1): booleans, sizes, durations, times, CSV
// fields. Each parser throws Kind::usage with the text quoted; `what` names the option in the
// message ("--memory").
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "store/oci.h"

namespace img::cli {

bool parseBool(std::string_view text, std::string_view what);
// NUMBER[.FRACTION][b|k|kb|kib|m|mb|mib|g|gb|gib|t|tb|tib], any case, powers of 1024.
long long parseSize(std::string_view text, std::string_view what);
// Nanoseconds: Go's form ("1h2m3.5s", "300ms") or plain integer seconds.
long long parseDuration(std::string_view text, std::string_view what);
// Seconds since the epoch: RFC 3339, YYYY-MM-DD[THH:MM[:SS]] local, Unix seconds[.fraction], or a
// duration that means "that long before `now`".
long long parseTime(std::string_view text, long long now, std::string_view what);
// $SOURCE_DATE_EPOCH, not after the year 9999; nullopt when it is not set or empty.
std::optional<std::int64_t> sourceDateEpoch();
// One RFC 4180 record: fields separated by commas, a field may stand in double quotes.
std::vector<std::string> parseCsv(std::string_view text, std::string_view what);
// The same, each field as `key=value` (value empty without `=`). The key is lower-cased.
std::vector<std::pair<std::string, std::string>> parseCsvFields(std::string_view text,
                                                                std::string_view what);
// "K=V" at the first '='. Without one: key and empty value.
std::pair<std::string, std::string> splitAssignment(std::string_view text);
// "OS/ARCH[/VARIANT]" of --platform.
store::Platform parsePlatform(const std::string& text);

}  // namespace img::cli
