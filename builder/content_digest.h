// The content digest of a COPY source (dockerfile.md 6.3): type, permission bits, owner, size, link
// target, device numbers, xattrs and content of every file that counts, names and digests of a
// folder's children. Times and hard links are not in it.
#pragma once

#include <sys/stat.h>

#include <optional>
#include <string>
#include <vector>

#include "base/digest.h"
#include "builder/source_filter.h"
#include "builder/stat_cache.h"

namespace img::builder {

class ContentDigester {
 public:
  // A context: owners count as 0:0, special files are skipped (security.md B1), digests are kept in
  // `cache`. Another stage or image: `cache` is null.
  ContentDigester(bool isContext, StatCache* cache) : isContext_(isContext), cache_(cache) {}

  // `handle`: O_PATH descriptor of the source; `contextPath`: where it lies below the source root,
  // for the cache and the ignore rules. nullopt: nothing of it counts.
  std::optional<Digest> digest(int handle, const std::string& contextPath,
                               const SourceFilter& filter);

 private:
  struct Folder {
    int fd;
    std::string contextPath, path;  // with a trailing '/' unless empty
  };
  std::optional<Digest> digestFolder(const Folder& folder, const struct stat& st,
                                     const SourceFilter& filter, const SourceFilter::State& state,
                                     bool isTaken);
  std::optional<Digest> digestEntry(int dir, const std::string& name,
                                    const std::string& contextPath, const struct stat& st);
  Digest readFile(int dir, const std::string& name, const std::string& contextPath,
                  const struct stat& st);
  Hasher header(const struct stat& st) const;

  bool isContext_;
  StatCache* cache_;
  std::vector<std::byte> buffer_;
};

// The xattrs that count in a digest and are copied: all but system.* and security.*, with
// security.capability.
bool isCopiedXattr(const std::string& name);

}  // namespace img::builder
