// What a command does while another process holds a lock that it needs (reliability.md 4).
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace img {

// For all locks of this process: a wait that lasts longer is an error, code "locked".
void setLockTimeout(std::optional<std::int64_t> milliseconds);

// "process 123 (img)": one that holds a lock on the file, as /proc/locks tells; "another process"
// when it does not.
std::string lockHolder(int fd);

// Waits for flock(2) with this operation. Longer than a second: one warning names who holds it.
void waitForLock(int fd, int operation, const std::string& path);

}  // namespace img
