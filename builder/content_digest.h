// The content digest of a COPY source (dockerfile.md 6.3): type, permission bits, owner, size, link
// target, device numbers, xattrs and content of every file that counts, names and digests of a
// folder's children. Times and hard links are not in it.
#pragma once

#include <sys/stat.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/digest.h"
#include "builder/source_filter.h"
#include "builder/stat_cache.h"
#include "store/owners.h"

namespace img::builder {

// A regular file as it was when it counted; another one means that it was written since.
struct SeenFile {
  std::string path;
  std::uint64_t inode = 0;
  std::int64_t size = 0, mtime = 0, ctime = 0;  // times in nanoseconds
  mode_t mode = 0;
  FileDigest digest;  // not with Reads::nothing
  // Whether nobody has written in between; the digest need not have been read again for that.
  bool operator==(const SeenFile& other) const {
    return path == other.path && inode == other.inode && size == other.size &&
           mtime == other.mtime && ctime == other.ctime;
  }
};

// A folder, a link or a special file that counted.
struct SeenOther {
  std::string path;
  mode_t mode = 0;
  std::uint64_t xattrs = 0;  // of a folder, as in FileDigest
  std::string link;          // a link's target; "major:minor" of a device
  bool operator==(const SeenOther&) const = default;
};

struct Seen {
  std::vector<SeenFile> files;
  std::vector<SeenOther> others;
};

class ContentDigester {
 public:
  enum class Reads { content, nothing };  // nothing: only seen() is of use afterwards
  // A context: owners count as 0:0, special files are skipped (security.md B1), digests are kept in
  // `cache`. Another stage or image: `cache` is null.
  // `pulse` is called now and then while files are read, and may throw.
  ContentDigester(bool isContext, StatCache* cache, Reads reads = Reads::content,
                  std::function<void()> pulse = {})
      : isContext_(isContext),
        recordsOwners_(!isContext && store::recordsOwners()),
        cache_(cache),
        reads_(reads),
        pulse_(std::move(pulse)) {}

  // The regular files met so far, in the order of the walk.
  [[nodiscard]] const std::vector<SeenFile>& seen() const { return seen_; }
  [[nodiscard]] const std::vector<SeenOther>& seenOthers() const { return others_; }
  Seen takeSeen() { return {std::move(seen_), std::move(others_)}; }

  // Files of a context count as 0644, or 0755 if their owner may execute them, folders as 0755
  // (--context-perms=git). Such digests need a stat cache of their own.
  void useGitPermissions() { gitPermissions_ = true; }

  // `handle`: O_PATH descriptor of the source; `contextPath`: where it lies below the source root,
  // for the cache and the ignore rules. nullopt: nothing of it counts.
  std::optional<Digest> digest(int handle, const std::string& contextPath,
                               const SourceFilter& filter);

 private:
  struct Folder {
    int fd;
    std::string contextPath, path;  // with a trailing '/' unless empty
    int depth = 0;
  };
  std::optional<Digest> digestFolder(const Folder& folder, const struct stat& st,
                                     const SourceFilter& filter, const SourceFilter::State& state,
                                     bool isTaken);
  std::optional<Digest> digestEntry(int dir, const std::string& name,
                                    const std::string& contextPath, const struct stat& st);
  FileDigest digestFile(int dir, const std::string& name, const std::string& contextPath,
                        const struct stat& st);
  FileDigest readFile(int dir, const std::string& name, const std::string& contextPath,
                      const struct stat& st);
  [[nodiscard]] Hasher header(const struct stat& st) const;
  [[nodiscard]] mode_t modeOf(const struct stat& st) const;
  void pulse();

  bool isContext_, recordsOwners_;  // a copy from a stage takes owners along
  StatCache* cache_;
  Reads reads_;
  bool gitPermissions_ = false;
  std::function<void()> pulse_;
  unsigned ticks_ = 0;
  std::vector<SeenFile> seen_;
  std::vector<SeenOther> others_;
  std::vector<std::byte> buffer_;
};

// The xattrs that count in a digest and are copied: all but system.* and security.*, with
// security.capability.
bool isCopiedXattr(const std::string& name);

// The mode with which a file of the context counts and arrives under --context-perms=git.
mode_t gitMode(mode_t mode);

}  // namespace img::builder
