// `--network` and the options beside it: which go together, and what a container record keeps of
// them (cli.md 10.4).
#pragma once

#include <string>
#include <string_view>

#include "cli/run_options.h"
#include "store/containers.h"

namespace img::cli {

enum class NetworkMode { automatic, bridge, isolated, none, host, container, path };

// "" and "default": automatic; `private`: isolated. Throws Kind::usage for anything unknown.
NetworkMode networkMode(std::string_view text);
// What stands behind the colon of "container:ID" and "ns:PATH".
std::string networkTarget(std::string_view text);

// Throws Kind::usage for values that cannot be, and for options that a mode has no use for.
void checkNetworkOptions(const RunRequest& request);

// In --add-host: the address at which the host answers, known when the container starts.
inline constexpr char kHostGateway[] = "host-gateway";

// As `inspect` and `ps` name the network.
std::string networkName(const store::ContainerConfig& config);

}  // namespace img::cli
