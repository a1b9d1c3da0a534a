#include "builder/run_failure.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <span>
#include <string_view>

namespace img::builder {
namespace {

constexpr std::string_view kNoNetwork[] = {"resolve",
                                           "resolving",
                                           "Network is unreachable",
                                           "Name or service not known",
                                           "bad address",
                                           "getaddrinfo",
                                           "EAI_AGAIN",
                                           "no such host"};
// strerror(3) of ENOSPC and EDQUOT, and how Node.js and others name them.
constexpr std::string_view kNoSpace[] = {"No space left on device", "no space left on device",
                                         "Disk quota exceeded", "ENOSPC", "EDQUOT"};
// What chown, su, useradd, dpkg and apt's sandbox say when there is no other id to change to.
constexpr std::string_view kNoIds[] = {
    "Invalid argument", "Operation not permitted", "setgroups", "seteuid", "setgid", "setuid"};
// A command that met the end of the disk may have removed its unfinished file since.
constexpr std::uint64_t kLittleRoom = std::uint64_t{4} << 20;

bool speaksOf(const std::vector<std::string>& lines, std::span<const std::string_view> signs) {
  return std::any_of(lines.begin(), lines.end(), [&](const std::string& line) {
    return std::any_of(signs.begin(), signs.end(),
                       [&](std::string_view sign) { return line.find(sign) != std::string::npos; });
  });
}

bool isFull(const store::Layout& layout) {
  const store::Room room = store::roomOf(layout);
  return room.bytes < kLittleRoom || room.inodes == 0U;
}

// "512m" where it is exact, as --memory takes it.
std::string inMegabytes(std::uint64_t bytes) {
  constexpr std::uint64_t kMega = std::uint64_t{1} << 20;
  if (bytes % kMega == 0) return fmt::format("{}m", bytes / kMega);
  if (bytes < kMega) return fmt::format("{} bytes", bytes);
  return fmt::format("{:.1f}m", static_cast<double>(bytes) / static_cast<double>(kMega));
}

void explainMemory(Error& error, const RunOutcome& outcome) {
  std::string why = "killed by the kernel for memory";
  if (outcome.memoryLimit)
    why += ": limit " + inMegabytes(static_cast<std::uint64_t>(*outcome.memoryLimit));
  if (outcome.memoryPeak)
    why += fmt::format("{} peak use {}", outcome.memoryLimit ? "," : ":",
                       inMegabytes(*outcome.memoryPeak));
  error.code("oom").why(why);
  if (outcome.memoryLimit) error.hint("give the steps more memory with --memory");
}

}  // namespace

Error runFailure(const RunOutcome& outcome, const store::Layout& layout) {
  const ExitStatus& status = outcome.status;
  Error error =
      status.signal == 0
          ? Error::make(Kind::failed, "RUN failed with exit code {}", status.code)
          : Error::make(Kind::failed, "RUN was killed by SIG{}", sigabbrev_np(status.signal));
  error.exitCode(status.code);
  error.logTail(outcome.lastLines);
  if (outcome.isOutOfMemory) {
    explainMemory(error, outcome);
  } else if (speaksOf(outcome.lastLines, kNoSpace) && isFull(layout)) {
    error.code("no-space").hint("free some space, or put the store elsewhere with --root DIR");
    store::addSpaceHint(error, layout);
  } else if (status.signal == 0) {
    error.why(fmt::format("the command \"{}\" returned {}", outcome.command, status.code));
  }
  if (outcome.isWithoutNetwork && speaksOf(outcome.lastLines, kNoNetwork))
    error.hint("the bridge could not be made, so the step had loopback only: pass --network host");
  if (outcome.hasOneId && speaksOf(outcome.lastLines, kNoIds)) {
    error.hint(
        "this user has one id, so commands cannot change users or owners: give it a range in "
        "/etc/subuid and /etc/subgid (COPY --chown and ADD work; apt: -o APT::Sandbox::User=root)");
  }
  return error;
}

}  // namespace img::builder
