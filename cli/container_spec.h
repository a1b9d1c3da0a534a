// A container's record to what the runtime wants: its layers and folders opened, its mounts, its
// /etc files, its rights. `run`, `start` and the monitor all come through here, so a restarted
// container is what it was.
#pragma once

#include <string>
#include <vector>

#include "base/fd.h"
#include "runtime/spec.h"
#include "store/containers.h"
#include "store/layers.h"
#include "store/layout.h"

namespace img::cli {

struct Confinement;

using OpenedLayers = std::vector<store::OpenedLayer>;  // of one container, topmost first

// The spec refers to the descriptors beside it: keep them together until the container runs.
struct PreparedContainer {
  OpenedLayers layers;
  Fd folder, upper, work, init;
  runtime::Spec spec;
};

// Unpacks those that are not.
OpenedLayers openLayers(const store::Layout& layout, const store::ContainerConfig& config);

// Throws Kind::notFound for a bind source that is not there. `isThrowaway`: nothing of the upper
// folder is needed after the container's end. `layers`: empty, or all of them.
PreparedContainer prepareContainer(const store::Layout& layout,
                                   const store::ContainerConfig& config, bool isThrowaway,
                                   OpenedLayers layers);

// The init layer (store/rootfs.h) depends on the image alone and is never written to: --rm
// containers of one image share one in cache/init/, so that they neither make nor remove its files.
std::string initPath(const store::Layout& layout,
                     const store::ContainerConfig& config);  // below layout.fd()
Fd openInit(const store::Layout& layout, const store::ContainerConfig& config, bool mayShare);
// Keeps the init layer of a container that goes, for the next ones of its image.
void shareInit(const store::Layout& layout, const store::ContainerConfig& config);

// The row of defaults that --security-opt confinement= chose.
const Confinement& confinementOf(const store::ContainerConfig& config);
// The bounding set of the container: of its confinement, --cap-add and --cap-drop. Throws
// Kind::usage for unknown names.
std::uint64_t capabilitiesOf(const store::ContainerConfig& config);
// The capabilities, filters and limits alone: for exec too. Throws Kind::usage for unknown names.
void applyRights(const store::ContainerConfig& config, runtime::Spec& spec);
// PATH and HOSTNAME where missing, TERM with a terminal.
std::vector<std::string> environmentOf(const store::ContainerConfig& config, bool tty);
// The window of the caller's terminal, if standard input is one.
void takeWindowSize(runtime::Spec& spec);
std::string hostnameOf(const store::ContainerConfig& config);

// Makes sure the layers of the image are unpacked, wherever they come from.
void ensureLayers(const store::Layout& layout, const store::ContainerConfig& config);

// Limits as the runtime takes them.
runtime::Limits limitsOf(const store::LimitRecord& record);
std::vector<runtime::ResourceLimit> resourceLimitsOf(
    const std::vector<store::UlimitRecord>& ulimits);

}  // namespace img::cli
