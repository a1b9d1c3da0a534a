// --cache-to: the records of a build's steps and their layers as an image of a folder or registry,
// and inline as a part of the result's config (cli.md 9.4). Deterministic; what the target has
// already is neither compressed nor written again.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "builder/cache_document.h"
#include "builder/cache_import.h"
#include "builder/deliver.h"
#include "builder/progress.h"
#include "builder/request.h"

namespace img::builder {

// All platforms into every place of request.cacheTo. A failure is a warning where the place says
// so. Forks; every layer is sealed.
void exportCaches(const store::Layout& layout, const Request& request,
                  const std::vector<BuiltImage>& images, ImportedCaches& imports,
                  Progress& progress);

// What is known of the steps; `layers` gives the number of a layer in the image that will hold the
// records, nullopt for one that it does not hold.
CacheDocument documentOf(const std::vector<ExportedStep>& steps,
                         const std::map<Digest, std::uint64_t>& layers);

}  // namespace img::builder
