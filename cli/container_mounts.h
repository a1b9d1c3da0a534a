// The mounts of a new container, settled: what the options ask for plus the image's VOLUMEs, host
// paths made absolute, volumes created and, at their first use, filled with what the image has at
// that place (cli.md 10.3).
#pragma once

#include <string>
#include <vector>

#include "cli/mount_options.h"
#include "cli/run_options.h"
#include "store/containers.h"
#include "store/layout.h"

namespace img::cli {

// In mount order. Pure: reads nothing. The image's VOLUMEs give way to what is `inherited`.
std::vector<MountRequest> mountRequests(const RunRequest& request, const store::ImageConfig& image,
                                        const std::vector<store::MountRecord>& inherited = {});

// --volumes-from CONTAINER[:ro]: folders and volumes of other containers, where `mounts` has
// nothing.
void addVolumesFrom(const store::Layout& layout, const std::vector<std::string>& containers,
                    std::vector<store::MountRecord>& mounts);
// Those of `more` whose place in `mounts` is free.
void addMissing(std::vector<store::MountRecord> more, std::vector<store::MountRecord>& mounts);

// The folders of -v that are not there, as docker makes them: for confinement=docker.
void createMountSources(const RunRequest& request);

// The records, one per request and in their order; volumes get their names, and are made later.
// Throws Kind::notFound for a missing host path.
std::vector<store::MountRecord> settleMounts(const store::Layout& layout,
                                             const std::vector<MountRequest>& requests);

bool wantsVolumes(const std::vector<MountRequest>& requests);
// For a container whose record is written: makes its volumes, fills those that are new, and gives
// away what has the option U. config.mounts begins with the records of `requests`.
void makeVolumes(const store::Layout& layout, const std::vector<MountRequest>& requests,
                 const store::ContainerConfig& config);

// "~/x", "./x", "../x" against the caller's home and working directory; throws when it does not
// exist.
std::string resolveHostPath(const std::string& path);

// Anonymous volumes of a container that goes. A volume that another container uses stays.
void removeAnonymousVolumes(const store::Layout& layout, const store::ContainerConfig& config);

}  // namespace img::cli
