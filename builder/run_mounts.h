// The --mount options of one RUN (dockerfile.md 3.6), read and checked: targets, sources, and what
// of them counts for the cache key (6.2). open_mounts.h opens them when the step is executed.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "builder/cache_mount.h"
#include "builder/layer_step.h"
#include "builder/mount_source.h"
#include "parser/value_checks.h"

namespace img::builder {

struct PlannedMount {
  size_t number = 0;  // as written
  parser::RunMount mount;
  std::string target;  // absolute; empty: no file (a secret that is only a variable)
  std::unique_ptr<MountSource> source;  // bind; cache with `from`
  std::string content;                  // digest of the source's files, once known
};

class RunMounts {
 public:
  // Throws the messages of 3.6 with their places.
  RunMounts(Workshop& shop, const PlannedStage& planned, const parser::Step& step,
            const StageState& stage);

  [[nodiscard]] bool isEmpty() const { return mounts_.empty(); }
  // Whether a mount shows files of another stage or an image: the step then has two keys, as COPY
  // --from has.
  [[nodiscard]] bool hasForeignSource() const;
  enum class KeyKind { definition, content };
  void addToKey(Hasher& hasher, KeyKind kind);
  // Before a key by content.
  Task<> openSources();
  // Whether files of the host were written to since their digest was made.
  [[nodiscard]] bool hasChangedSource() const;

  [[nodiscard]] std::vector<PlannedMount>& all() { return mounts_; }  // by target
  [[nodiscard]] bool isBelowAnother(const std::string& target) const;
  // Of a cache mount.
  [[nodiscard]] CacheIdentity identityOf(PlannedMount& planned) const;
  // Of all of them, once addToKey() has looked at their sources.
  [[nodiscard]] std::set<Digest> cacheIdentities();

 private:
  void add(const parser::Step& step, const std::string& text, const WordExpander& expand);
  [[nodiscard]] std::string targetOf(const parser::RunMount& mount);
  void checkTargets(const parser::Step& step) const;
  [[nodiscard]] size_t sshMountsBefore(const PlannedMount& planned) const;  // as written

  Workshop& shop_;
  const PlannedStage& plannedStage_;
  std::string cwd_, cacheNamespace_;
  int sshCount_ = 0;
  std::vector<PlannedMount> mounts_;
};

// Whether `path` lies below `folder`, by their spelling.
bool isBelow(std::string_view path, std::string_view folder);

}  // namespace img::builder
