#include "builder/run_mounts.h"

#include <algorithm>
#include <tuple>

#include "base/text.h"

namespace img::builder {

using parser::RunMount;
using Type = RunMount::Type;

bool isBelow(std::string_view path, std::string_view folder) {
  return path.size() > folder.size() && path.starts_with(folder) && path[folder.size()] == '/';
}

RunMounts::RunMounts(Workshop& shop, const PlannedStage& planned, const parser::Step& step,
                     const StageState& stage)
    : shop_(shop),
      plannedStage_(planned),
      cwd_(stage.config.workingDir.empty() ? "/" : stage.config.workingDir) {
  if (const std::string* name = shop.scope.findBuildArg("BUILDKIT_CACHE_MOUNT_NS"))
    cacheNamespace_ = *name;
  const WordExpander expand{shop.scope, step.syntax, stage.variables};
  for (const std::string& text : std::get<parser::RunInstruction>(step.body).mounts)
    add(step, text, expand);
  std::stable_sort(mounts_.begin(), mounts_.end(),
                   [](const PlannedMount& a, const PlannedMount& b) {
                     return std::tie(a.target, a.mount.env) < std::tie(b.target, b.mount.env);
                   });
  checkTargets(step);
}

void RunMounts::add(const parser::Step& step, const std::string& text,
                    const WordExpander& expand) try {
  PlannedMount planned;
  planned.number = mounts_.size();
  planned.mount =
      parser::parseRunMount(text, [&](std::string_view value) { return expand.word(value); });
  planned.target = targetOf(planned.mount);
  // What only links make one of these is found when it is mounted.
  for (const char* taken : {"/", "/proc", "/sys", "/dev"}) {
    if (planned.target == taken) throw Error::make(Kind::failed, "cannot mount over {}", taken);
  }
  const bool hasFiles = planned.mount.type == Type::bind ||
                        (planned.mount.type == Type::cache && !planned.mount.from.empty());
  if (hasFiles) {
    const std::string& path = planned.mount.source;
    planned.source = std::make_unique<MountSource>(shop_, plannedStage_, planned.mount.from,
                                                   path.empty() ? "/" : path);
  }
  mounts_.push_back(std::move(planned));
} catch (Error& error) {
  if (!error.cause().starts_with("RUN: ")) error.prefixCause("RUN: ");
  error.at(positionOf(*shop_.scope.file, step.syntax, text));
  throw;
}

std::string RunMounts::targetOf(const RunMount& mount) {
  const int number = mount.type == Type::ssh ? sshCount_++ : 0;
  if (!mount.target.empty()) return joinPath(cwd_, mount.target);  // Q25: for all types
  if (mount.type == Type::ssh) return fmt::format("/run/buildkit/ssh_agent.{}", number);
  if (!mount.env.empty()) return "";
  return joinPath("/run/secrets", mount.id.substr(mount.id.rfind('/') + 1));
}

void RunMounts::checkTargets(const parser::Step& step) const {
  for (size_t i = 1; i < mounts_.size(); ++i) {
    const std::string& target = mounts_[i].target;
    if (target.empty() || target != mounts_[i - 1].target) continue;
    throw instructionError(shop_.scope, step.syntax,
                           fmt::format("two mounts have the target {}", text::quote(target)),
                           "--mount");
  }
}

bool RunMounts::isBelowAnother(const std::string& target) const {
  return std::any_of(mounts_.begin(), mounts_.end(), [&](const PlannedMount& other) {
    return !other.target.empty() && isBelow(target, other.target);
  });
}

bool RunMounts::hasForeignSource() const {
  return std::any_of(mounts_.begin(), mounts_.end(), [](const PlannedMount& planned) {
    return planned.source && !planned.source->isOfHost();
  });
}

namespace {

template <class Number>
void addNumber(Hasher& hasher, const std::optional<Number>& value) {
  hasher.field(std::uint64_t{value ? 1U : 0U});
  hasher.field(std::uint64_t{value.value_or(0)});
}

void addOptions(Hasher& hasher, const PlannedMount& planned) {
  const RunMount& mount = planned.mount;
  hasher.field(std::string{parser::mountTypeName(mount.type)});
  hasher.field(planned.target);
  hasher.field(std::uint64_t{mount.readOnly});
  hasher.field(mount.size);
  if (mount.type != Type::secret && mount.type != Type::ssh) return;
  hasher.field(mount.id);
  addNumber(hasher, mount.mode);
  addNumber(hasher, mount.uid);
  addNumber(hasher, mount.gid);
  hasher.field(std::uint64_t{mount.required});
  hasher.field(mount.env);
}

}  // namespace

size_t RunMounts::sshMountsBefore(const PlannedMount& planned) const {
  return static_cast<size_t>(
      std::count_if(mounts_.begin(), mounts_.end(), [&](const PlannedMount& other) {
        return other.mount.type == Type::ssh && other.number < planned.number;
      }));
}

// dockerfile.md 6.2: never values of secrets, contents, ids or sharing of caches.
void RunMounts::addToKey(Hasher& hasher, KeyKind kind) {
  hasher.field(std::uint64_t{mounts_.size()});
  for (PlannedMount& planned : mounts_) {
    addOptions(hasher, planned);
    // SSH_AUTH_SOCK is the first one that is written, not the first by target.
    if (planned.mount.type == Type::ssh) hasher.field(std::uint64_t{sshMountsBefore(planned)});
    if (!planned.source) continue;
    if (!planned.source->isOfHost() && kind == KeyKind::definition) {
      planned.source->addDefinition(hasher);
      continue;
    }
    if (planned.content.empty()) planned.content = planned.source->contentDigest().hex();
    hasher.field(planned.content);
  }
}

Task<> RunMounts::openSources() {
  for (PlannedMount& planned : mounts_) {
    if (planned.source) co_await planned.source->open();
  }
}

bool RunMounts::hasChangedSource() const {
  return std::any_of(mounts_.begin(), mounts_.end(), [](const PlannedMount& planned) {
    return planned.source && planned.source->hasChanged();
  });
}

std::set<Digest> RunMounts::cacheIdentities() {
  std::set<Digest> identities;
  for (PlannedMount& planned : mounts_) {
    if (planned.mount.type == Type::cache) identities.insert(identityOf(planned).digest());
  }
  return identities;
}

CacheIdentity RunMounts::identityOf(PlannedMount& planned) const {
  CacheIdentity identity;
  identity.nameSpace = cacheNamespace_;
  identity.id = planned.mount.id;
  identity.mode = planned.mount.mode;
  identity.uid = planned.mount.uid;
  identity.gid = planned.mount.gid;
  if (!planned.source) return identity;
  if (planned.source->isOfHost()) {
    identity.base = planned.content;
  } else {
    Hasher hasher;
    planned.source->addDefinition(hasher);
    identity.base = hasher.finish().hex();
  }
  return identity;
}

}  // namespace img::builder
