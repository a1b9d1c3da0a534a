// Reading and writing the small files of control groups.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace img::runtime {

bool pathExists(const std::string& path);
// Empty when there is no such file, or it cannot be read.
std::string readText(const std::string& path);
// The number alone in a file; nullopt: none there, or "max".
std::optional<std::uint64_t> readNumber(const std::string& path);
// The number after "KEY " in a file of such lines.
std::optional<std::uint64_t> keyedNumber(const std::string& content, std::string_view key);
void writeText(const std::string& path, std::string_view value);
// 0 or errno.
int tryWriteText(const std::string& path, std::string_view value);

}  // namespace img::runtime
