// What `img inspect` shows: one function per kind of object, tried in the order container, image,
// volume. Keys are docker's (cli.md sections 11-13).
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "base/json.h"
#include "cli/command.h"
#include "store/oci.h"

namespace img::cli {

// nullopt: there is none of this name. `withSize`: --size was given.
std::optional<Json> inspectContainer(Context& context, const std::string& name,
                                     bool withSize);  // inspect_container.cc
std::optional<Json> inspectImage(Context& context, const std::string& name,
                                 bool withSize);  // inspect_image.cc
std::optional<Json> inspectVolume(Context& context, const std::string& name,
                                  bool withSize);  // volumes.cc

// The config block that image and container share: Env, Cmd, Entrypoint, Labels, ...
// (inspect_image.cc). Containers overwrite what they changed.
Json configFacts(const store::ImageConfig& config);
Json healthcheckFacts(const store::Healthcheck& health);

// Prints found objects (default: an array indented by four blanks; --format json or a template),
// reports the missing ones and returns the exit status.
using Inspector = std::optional<Json> (*)(Context& context, const std::string& name, bool withSize);
int inspectAll(Context& context, const std::vector<std::string>& names,
               const std::vector<Inspector>& inspectors, const std::string& format, bool withSize,
               const std::string& what);

}  // namespace img::cli
