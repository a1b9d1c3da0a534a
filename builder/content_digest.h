// The content digest of a COPY source (dockerfile.md 6.3): type, permission bits, owner, size, link
// target, device numbers, xattrs and content of every file that counts, names and digests of a
// folder's children. Times and hard links are not in it.
#pragma once

#include <sys/stat.h>

#include <functional>
#include <optional>
#include <string>

#include "base/digest.h"
#include "builder/seen.h"
#include "builder/source_filter.h"
#include "builder/stat_cache.h"
#include "builder/work_pool.h"
#include "store/owners.h"

namespace img::builder {

class ContentDigester {
 public:
  enum class Reads { content, nothing };  // nothing: only seen() is of use afterwards
  // A context: owners count as 0:0, special files are skipped (security.md B1), digests are kept in
  // `cache`. Another stage or image: `cache` is null.
  // `pulse` is called now and then while files are read, and may throw. Large trees are walked and
  // read by several threads; the result, and the error if there is one, is that of one.
  ContentDigester(bool isContext, StatCache* cache, Reads reads = Reads::content,
                  std::function<void()> pulse = {})
      : isContext_(isContext),
        recordsOwners_(!isContext && store::recordsOwners()),
        cache_(cache),
        reads_(reads),
        pulse_(std::move(pulse)) {}

  // What was met so far.
  [[nodiscard]] const Seen& seen() const { return seen_; }
  Seen takeSeen() { return std::move(seen_); }

  // Files of a context count as 0644, or 0755 if their owner may execute them, folders as 0755
  // (--context-perms=git). Such digests need a stat cache of their own.
  void useGitPermissions() { gitPermissions_ = true; }

  // `handle`: O_PATH descriptor of the source; `contextPath`: where it lies below the source root,
  // for the cache and the ignore rules. nullopt: nothing of it counts.
  std::optional<Digest> digest(int handle, const std::string& contextPath,
                               const SourceFilter& filter);

  // A regular file that is open: its digest but for its bytes.
  struct OpenedFile {
    Hasher whole;
    std::uint64_t xattrs;
    [[nodiscard]] FileDigest finish(const Digest& content) const;
  };
  // `hasXattrs` false: it is known to have none at all.
  [[nodiscard]] OpenedFile begin(int file, const struct stat& st, bool hasXattrs = true) const;
  // As SeenOther has it, of what is neither a file nor a folder.
  static std::string linkOf(int dir, const char* name, const struct stat& st);
  [[nodiscard]] mode_t modeOf(const struct stat& st) const;

 private:
  friend class TreeDigest;
  struct Place {
    int dir;
    const char* opened;         // its name in `dir`
    const std::string& folder;  // where it lies below the root, with a trailing '/' unless empty
    const char* name;           // and how it is called there
    const struct stat& st;
    [[nodiscard]] std::string path() const { return folder + name; }
  };
  struct Thread {
    WorkPool& pool;
    WorkPool::Worker& worker;
  };
  struct Outcome {
    Digest whole;
    std::string link;  // SeenOther::link
  };
  std::optional<Digest> digestFile(int handle, const std::string& contextPath,
                                   const struct stat& st);
  // Of what is no folder. `entry` says how it counts: none, file or other.
  Outcome digestEntry(const Place& place, SeenFolder::Entry& entry, StatCache::Folder& known,
                      const Thread& thread) const;
  Digest digestRegular(const Place& place, SeenFolder::Entry& entry, StatCache::Folder& known,
                       const Thread& thread) const;
  [[nodiscard]] FileDigest readFile(const Place& place, const Thread& thread) const;
  [[nodiscard]] Hasher header(const struct stat& st) const;

  bool isContext_, recordsOwners_;  // a copy from a stage takes owners along
  StatCache* cache_;
  Reads reads_;
  bool gitPermissions_ = false;
  std::function<void()> pulse_;
  Seen seen_;
};

// The xattrs that count in a digest and are copied: all but system.* and security.*, with
// security.capability.
bool isCopiedXattr(const std::string& name);

// Adds these xattrs; gives the first 8 bytes of their digest, 0 when there are none.
std::uint64_t addXattrs(Hasher& hasher, int fd);

// The mode with which a file of the context counts and arrives under --context-perms=git.
mode_t gitMode(mode_t mode);

}  // namespace img::builder
