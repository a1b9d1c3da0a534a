#include <sys/stat.h>

#include <tuple>

#include "base/stream.h"
#include "base/sys.h"
#include "base/text.h"
#include "builder/copy_job.h"
#include "builder/copy_tree.h"
#include "builder/folder_destination.h"
#include "builder/plan_destination.h"
#include "builder/stage.h"
#include "runtime/security.h"
#include "store/tar.h"
#include "store/unpack.h"

namespace img::builder {
namespace {

std::optional<std::pair<uid_t, gid_t>> resolveOwner(const CopyJob& job, int root, bool hasUsers) {
  if (job.chown.empty()) return std::nullopt;
  std::string user = job.chown;
  const size_t colon = user.find(':');
  std::string group = colon == std::string::npos ? "" : user.substr(colon + 1);
  user = user.substr(0, colon);
  const auto uid = text::parseUnsigned(user);
  if (uid && group.empty() && colon == std::string::npos) group = user;  // a number alone is both
  if (user == "root") user = "0";
  if (group == "root") group = "0";
  const bool isNumeric =
      text::parseUnsigned(user) && text::parseUnsigned(group.empty() ? "0" : group);
  if (!isNumeric && !hasUsers) {
    throw Error::make(
        Kind::failed,
        "{}: --chown with a name needs /etc/passwd from the stage; use numeric ids here",
        job.keyword);
  }
  try {
    const runtime::Identity owner =
        runtime::resolveUser(root, group.empty() ? user : user + ":" + group, {});
    return std::pair{owner.uid, owner.gid};
  } catch (const Error& error) {
    const bool isUnknown = error.kind() == Kind::notFound;
    const bool isGroup = error.cause().starts_with("unable to find group");
    const std::string what =
        !isUnknown ? error.cause()
        : isGroup  ? fmt::format("group {} not in /etc/group of the stage", text::quote(group))
                   : fmt::format("user {} not in /etc/passwd of the stage", text::quote(user));
    Error shown{Kind::failed, fmt::format("{}: --chown: {}", job.keyword, what)};
    if (isUnknown) shown.why(error.cause());
    throw shown;
  }
}

// Whether a regular file holds a tar, plain or compressed, with at least one readable header
// (3.10).
bool isArchive(int handle) {
  if (!S_ISREG(sys::fstat(handle).st_mode)) return false;
  try {
    FdSource file{sys::reopen(handle, O_RDONLY), "archive"};
    const std::unique_ptr<Source> plain = decompress(file, "archive");
    store::TarReader reader{*plain, "archive"};
    return reader.next() != nullptr;
  } catch (const Error&) {
    return false;
  }
}

CopyOptions makeOptions(const CopyJob& job, int root, bool hasUsers) {
  CopyOptions options;
  options.owner = resolveOwner(job, root, hasUsers);
  options.mode = job.mode;
  options.isContext = job.root.isContext;
  options.hasGitPermissions = job.hasGitPermissions;
  return options;
}

class CopyWorker {
 public:
  // `target`: where archives are unpacked; null: nowhere, the copy is only planned.
  CopyWorker(const CopyJob& job, CopyDestination& to, CopyOptions options, const CopyTarget* target)
      : job_(job), options_(std::move(options)), target_(target), copier_(to, options_) {}

  // In a worker of its own: the umask is the process's.
  void run(const std::map<size_t, CopySource>& opened) {
    ::umask(0);
    for (size_t i = 0; i < job_.sources.size(); ++i) {
      const auto remote = opened.find(i);
      if (remote == opened.end()) {
        copySource(i);
      } else {
        copyOne(remote->second, i, SourceFilter{}, -1);
      }
    }
    for (const auto& [name, content] : job_.inlineFiles) {
      keyworded([&, &fileName = name, &text = content] {
        copier_.writeFile(fileName, text, job_.destination);
      });
    }
    keyworded([&] { copier_.throwIfCrowded(); });
  }

 private:
  template <class Work>
  void keyworded(Work&& work) const {
    try {
      work();
    } catch (Error& error) {
      if (!error.cause().starts_with(job_.keyword)) error.prefixCause(job_.keyword + ": ");
      throw;
    }
  }

  void copySource(size_t index) {
    const std::string& path = job_.sources[index];
    SourceFilter filter;
    filter.ignore = job_.root.ignore();
    if (job_.parents) return copyWithParents(path, filter);
    forEachSource(job_.root, path, job_.keyword,
                  [&](const CopySource& source) { copyOne(source, index, filter, job_.root.fd); });
  }

  // `root`: of the source, which outlives it; -1: the source itself stays open.
  void copyOne(const CopySource& source, size_t index, SourceFilter filter, int root) {
    if (job_.isUnpacked(index) && isArchive(source.handle.get())) {
      keyworded([&] { extract(source); });
      return;
    }
    if (!job_.exclude.empty()) {
      // A source that is a file has only its name to match (Q21).
      const bool isFolder = S_ISDIR(sys::fstat(source.handle.get()).st_mode);
      if (!isFolder && job_.exclude.isIgnored(source.name)) return;
      filter.exclude = &job_.exclude;
    }
    keyworded([&] {
      copier_.copy(
          {source.handle.get(), source.name, source.contextPath, job_.sources[index], root},
          job_.destination, filter);
    });
  }

  void copyWithParents(const std::string& path, SourceFilter filter) {
    const ParentsSource pivot = splitPivot(path);
    if (!job_.exclude.empty()) filter.exclude = &job_.exclude;
    const parser::IgnorePatterns kept = parser::IgnorePatterns::compile({pivot.kept});
    if (!pivot.kept.empty() && pivot.kept != ".") filter.include = &kept;
    if (!parser::hasWildcard(path))
      std::ignore = resolveSource(job_.root, path, job_.keyword);  // must exist
    forEachSource(job_.root, pivot.base, job_.keyword, [&](const CopySource& base) {
      keyworded([&] {
        copier_.copyWithParents(
            {base.handle.get(), base.name, base.contextPath, path, job_.root.fd}, job_.destination,
            filter);
      });
    });
  }

  void extract(const CopySource& source) const {
    if (target_ == nullptr) throw store::CannotPlan{source.name + " is an archive"};
    NewFolder folder;
    if (options_.owner) std::tie(folder.uid, folder.gid) = *options_.owner;
    std::ignore = makeFolders(target_->root, job_.destination, folder);
    FdSource file{sys::reopen(source.handle.get(), O_RDONLY), source.name};
    const std::unique_ptr<Source> plain = decompress(file, source.name);
    store::ArchiveOptions options;
    if (options_.owner) {
      options.uid = options_.owner->first;
      options.gid = options_.owner->second;
    }
    options.clampMtime = target_->epoch;
    store::unpackArchive(*plain, target_->root, job_.destination, options, source.name);
  }

  const CopyJob& job_;
  CopyOptions options_;
  const CopyTarget* target_;
  TreeCopier copier_;
};

}  // namespace

ParentsSource splitPivot(const std::string& path) {
  const size_t pivot = path.find("/./");
  if (pivot == std::string::npos) return {"", joinPath("/", path).substr(1)};
  return {path.substr(0, pivot), joinPath("/", path.substr(pivot + 3)).substr(1)};
}

void runCopy(const CopyJob& job, const CopyTarget& target,
             const std::map<size_t, CopySource>& opened) {
  FolderDestination folders{target.root, target.upper};
  CopyWorker{job, folders, makeOptions(job, target.root, target.hasUsers), &target}.run(opened);
}

namespace {

CopyOptions planOptions(const CopyJob& job, const PlanTarget& target) {
  return makeOptions(job, target.users, !target.layer.lowers().empty());
}

void planWith(const CopyOptions& options, const CopyJob& job, const PlanTarget& target,
              const std::map<size_t, CopySource>& opened) {
  PlanDestination plan{target.layer};
  CopyWorker{job, plan, options, nullptr}.run(opened);
  target.layer.closeFolders();
}

}  // namespace

void planCopy(const CopyJob& job, const PlanTarget& target,
              const std::map<size_t, CopySource>& opened) {
  planWith(planOptions(job, target), job, target, opened);
}

UnseenPlan planUnseen(const CopyJob& job, const PlanTarget& target) {
  UnseenPlan plan;
  CopyOptions options = planOptions(job, target);
  options.others = &plan.others;
  options.leavesFilesUnseen = true;
  planWith(options, job, target, {});
  options.others = nullptr;
  plan.asPlanned = [options](const struct stat& source) {
    const CopyMeta meta = options.metaOf(source);
    struct stat st = source;
    st.st_mode = (source.st_mode & S_IFMT) | meta.mode;
    st.st_uid = meta.uid;
    st.st_gid = meta.gid;
    st.st_mtim = meta.mtime;
    return st;
  };
  return plan;
}

}  // namespace img::builder
