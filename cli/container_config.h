// From the options of `run` and an image to the container's configuration: environment, command,
// user, labels (cli.md 10, dockerfile.md 3.16). Values in, values out; files are read only for
// --env-file and --label-file.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "cli/run_options.h"
#include "store/containers.h"
#include "store/images.h"

namespace img::cli {

struct CommandWords {
  std::vector<std::string> entrypoint, command;
  [[nodiscard]] std::vector<std::string> argv() const;
};

// argv = Entrypoint + (words, or else Cmd); --entrypoint replaces Entrypoint and drops Cmd, an
// empty one clears it. Throws Kind::usage when nothing is left to run.
CommandWords commandOf(const store::ImageConfig& image,
                       const std::optional<std::string>& entrypoint,
                       const std::vector<std::string>& words);

// Later assignments replace earlier ones in their place. "K" alone takes the caller's value, or
// drops out.
std::vector<std::string> mergeEnv(std::vector<std::string> base,
                                  const std::vector<std::string>& more);
// "K=V" or "K" per line, '#' comments, no quotes, no expansion. `origin` names the file.
std::vector<std::string> parseEnvFile(std::string_view text, std::string_view origin);
// "nofile=1024:2048"; one number is both, -1 or "unlimited" is no limit.
store::UlimitRecord parseUlimit(std::string_view spec);
// "HOST:IP" or "HOST=IP"; IP may hold colons or stand in brackets.
std::pair<std::string, std::string> parseExtraHost(std::string_view spec);

// Everything but id, name and mounts. A SIGNAL is checked here.
store::ContainerConfig configFor(const RunRequest& request, const store::Image& image);

// "TERM", "SIGTERM", "sigterm", "15", "RTMIN+3". Throws Kind::usage.
int parseSignal(std::string_view text);

}  // namespace img::cli
