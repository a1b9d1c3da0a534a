// A COPY or ADD, expanded, and the worker that carries it out in a mounted rootfs
// (dockerfile.md 3.8-3.10).
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "builder/add_source.h"
#include "builder/copy_source.h"
#include "builder/seen.h"
#include "parser/ignore.h"
#include "parser/value_checks.h"
#include "store/planned_layer.h"

namespace img::builder {

// Everything about one COPY that does not depend on the state below it.
struct CopyJob {
  std::string keyword;
  std::vector<std::string> sources;       // expanded
  std::map<size_t, RemoteSource> remote;  // by index in `sources`
  std::string destination;                // absolute, trailing '/' significant
  std::string writtenDestination;
  std::vector<std::pair<std::string, std::string>> inlineFiles;  // name, content
  std::string chown, chmod;                                      // expanded; empty: not given
  std::optional<parser::ModeChange> mode;
  parser::IgnorePatterns exclude;
  std::vector<std::string> excludeTexts;
  bool isAdd = false, link = false, parents = false;
  std::optional<bool> unpack;      // --unpack
  bool hasGitPermissions = false;  // the context's, --context-perms=git
  SourceRoot root;
  Fd rootFd;  // keeps root.fd for stages and images

  // Archives of the context are unpacked unless the user says no, those of a URL when he says yes.
  [[nodiscard]] bool isUnpacked(size_t source) const {
    return isAdd && unpack.value_or(remote.count(source) == 0);
  }
};

// A source with --parents: its base, and the pattern that is kept (3.8).
struct ParentsSource {
  std::string base, kept;
};
ParentsSource splitPivot(const std::string& path);

// Where a copy goes, in its worker.
struct CopyTarget {
  int root;   // the mounted union, or the layer's folder itself
  int upper;  // the upper folder of the union; -1 when the root is no mounted one
  std::optional<std::int64_t> epoch;
  bool hasUsers;  // there is something below the layer
};
// `opened`: the remote sources, by index. Sets the umask of the process, as planning does.
void runCopy(const CopyJob& job, const CopyTarget& target,
             const std::map<size_t, CopySource>& opened);

// The same without writing anything. `users`: a root with the users of the stage, for --chown only.
// Throws store::CannotPlan when the copy has to be made to know what it gives: an archive, say.
struct PlanTarget {
  store::PlannedLayer& layer;
  int users;
};
void planCopy(const CopyJob& job, const PlanTarget& target,
              const std::map<size_t, CopySource>& opened);

// Before anybody has looked at the files: they are seen when they are read.
struct UnseenPlan {
  OtherDigest others;  // what is no file, in the order of a Seen of the same sources
  // PlanOptions::asPlanned.
  std::function<struct stat(const struct stat& source)> asPlanned;
};
UnseenPlan planUnseen(const CopyJob& job, const PlanTarget& target);

}  // namespace img::builder
