// Where an exported cache goes: a folder that is an OCI layout, or a registry. Blobs are finished
// in a folder of the target's choice and then handed over, so that nothing is copied twice.
#pragma once

#include <memory>
#include <string>

#include "builder/cache_place.h"
#include "distribution/access.h"
#include "store/layout.h"
#include "store/oci.h"

namespace img::builder {

class CacheTarget {
 public:
  CacheTarget() = default;
  CacheTarget(const CacheTarget&) = delete;
  CacheTarget& operator=(const CacheTarget&) = delete;
  virtual ~CacheTarget() = default;

  // Whether the target has this very cache, with all its blobs.
  [[nodiscard]] virtual bool isCurrent(const store::Descriptor& manifest,
                                       const store::Manifest& content) = 0;
  [[nodiscard]] virtual bool has(const store::Descriptor& blob) = 0;
  // Files are made there, and become blobs.
  [[nodiscard]] virtual int workFolder() const = 0;
  virtual void take(const std::string& file, const store::Descriptor& blob) = 0;
  // The last step: everything the manifest refers to is there. What nothing refers to any more
  // goes.
  virtual void publish(const store::Descriptor& manifest, const std::string& bytes) = 0;
};

std::unique_ptr<CacheTarget> cacheTarget(const store::Layout& layout, const CachePlace& place,
                                         const distribution::AccessOptions& access);

// A document as a blob of the target; nothing happens when it is there.
void putDocument(CacheTarget& target, const store::Descriptor& descriptor,
                 const std::string& bytes);

}  // namespace img::builder
