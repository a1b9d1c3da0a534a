// What a layer looks like compressed, so that the next push need not do it again: a record
// cache/compressed/<diff id hex>-<kind>-<level> with the digest and size of a blob. As long as
// something needs the layer, the blob is kept (references.h takes the records for roots); without
// the layer both go. Losing one costs a compression.
#pragma once

#include <optional>
#include <utility>
#include <vector>

#include "base/stream.h"
#include "store/layout.h"
#include "store/oci.h"

namespace img::store {

struct CompressedForm {
  Digest diffId;
  Compression kind = Compression::gzip;
  int level = 0;  // 0: the default of the kind
};

// nullopt: not recorded, or its blob is gone. Digest and size of the blob, pinned.
std::optional<Descriptor> findCompressed(const Layout& layout, const CompressedForm& form);
void rememberCompressed(const Layout& layout, const CompressedForm& form, const Descriptor& blob);

// Of every record: the diff ID, and the blob that it keeps.
std::vector<std::pair<Digest, Digest>> compressedForms(const Layout& layout);
// Removes the records whose blob is not in the store.
void sweepCompressed(const Layout& layout);

}  // namespace img::store
