// COPY and ADD of local files: sources resolved and digested for the key, then copied by a worker
// straight into the fresh layer over the state below (dockerfile.md 3.8-3.10, 6.2).
#include <algorithm>
#include <tuple>

#include "base/sys.h"
#include "base/text.h"
#include "builder/content_digest.h"
#include "builder/copy_source.h"
#include "builder/copy_tree.h"
#include "builder/layer_step.h"
#include "parser/value_checks.h"
#include "runtime/security.h"
#include "store/tar.h"
#include "store/unpack.h"

namespace img::builder {
namespace {

// Everything about one COPY that does not depend on the state below it.
struct CopyJob {
  std::string keyword;
  std::vector<std::string> sources;  // expanded
  std::string destination;           // absolute, trailing '/' significant
  std::string writtenDestination;
  std::vector<std::pair<std::string, std::string>> inlineFiles;  // name, content
  std::string chown, chmod;                                      // expanded; empty: not given
  std::optional<parser::ModeChange> mode;
  parser::IgnorePatterns exclude;
  std::vector<std::string> excludeTexts;
  bool isAdd = false, link = false, parents = false, unpack = true;
  bool hasGitPermissions = false;  // the context's, --context-perms=git
  SourceRoot root;
  Fd rootFd;  // keeps root.fd for stages and images
};

// What the sources were when the key was made.
struct SeenSources {
  Seen tree;
  Digest digest;
};

// A source with --parents: its base, and the pattern that is kept (3.8).
struct ParentsSource {
  std::string base, kept;
};

ParentsSource splitPivot(const std::string& path) {
  const size_t pivot = path.find("/./");
  if (pivot == std::string::npos) {
    return {"", path.starts_with("./") ? path.substr(2) : joinPath("/", path).substr(1)};
  }
  return {path.substr(0, pivot), joinPath("/", path.substr(pivot + 3)).substr(1)};
}

bool isRemote(const std::string& source) {
  for (const std::string_view scheme : {"http://", "https://", "git://", "ssh://"}) {
    if (source.starts_with(scheme)) return true;
  }
  const size_t at = source.find('@');  // user@host:path
  return at != std::string::npos && at > 0 && source.find(':', at) != std::string::npos &&
         source.find('/') > at && source.substr(0, at).find_first_of("*?[") == std::string::npos;
}

std::string destinationPath(const store::ImageConfig& config, const std::string& written) {
  const std::string path = joinPath(config.workingDir.empty() ? "/" : config.workingDir, written);
  const bool isFolder =
      written.empty() || written == "." || written.ends_with('/') || written.ends_with("/.");
  return isFolder && path != "/" ? path + "/" : path;
}

class CopyPreparation {
 public:
  CopyPreparation(Workshop& shop, const PlannedStage& planned, const parser::Step& step,
                  const StageState& stage)
      : shop_(shop),
        planned_(planned),
        step_(step),
        stage_(stage),
        copy_(std::get<parser::CopyInstruction>(step.body)),
        expand_(shop.scope, step.syntax, stage.variables) {}

  LayerStep prepare() {
    auto job = std::make_shared<CopyJob>(expandJob());
    LayerStep result;
    result.createdBy = createdBy(*job);
    result.isIndependent = job->link;
    const bool isFromContext = !copy_.from;
    const auto seen = std::make_shared<SeenSources>();
    if (isFromContext) {
      job->root = SourceRoot{shop_.context.root(), true, &shop_.context, "the build context"};
      job->hasGitPermissions = shop_.scope.request->hasGitPermissions;
      result.key = contentKey(*job, seen.get());
    } else {
      const Snapshot source = sourceSnapshot();
      result.key = definitionKey(*job, source.key);
      // Content is looked at only when the definition is new: mounting the source costs more than a
      // lookup.
      result.contentKey = [self = *this, job, source, seen] {
        return self.keyByContent(*job, source, seen.get());
      };
    }
    result.execute = [self = *this, job, seen](Layer& layer, const Snapshot& below) {
      return self.execute(*job, seen->tree.files, layer, below);
    };
    result.inputs = [self = *this, job, seen](InputList& list) {
      self.addInputs(list, *job, *seen);
    };
    return result;
  }

 private:
  // For errors of the value checks, which know neither keyword nor place.
  template <class Work>
  auto located(Work&& work) const {
    try {
      return work();
    } catch (Error& error) {
      error.prefixCause(step_.syntax.keyword + ": ");
      error.at(positionOf(*shop_.scope.file, step_.syntax));
      throw;
    }
  }

  [[nodiscard]] CopyJob expandJob() const {
    CopyJob job;
    job.keyword = step_.syntax.keyword;
    job.isAdd = copy_.isAdd;
    for (const std::string& source : copy_.sources) job.sources.push_back(expand_.word(source));
    job.writtenDestination = expand_.word(copy_.destination);
    job.destination = destinationPath(stage_.config, job.writtenDestination);
    for (const auto& file : copy_.inlineFiles) {
      job.inlineFiles.emplace_back(file.name,
                                   file.expand ? expand_.heredoc(file.content) : file.content);
    }
    if (copy_.chown) job.chown = expand_.word(*copy_.chown);
    if (copy_.chmod) job.chmod = expand_.word(*copy_.chmod);
    if (!job.chmod.empty()) {
      job.mode = located([&] { return parser::ModeChange::parse(job.chmod); });
    }
    job.excludeTexts = copy_.excludes;
    if (!copy_.excludes.empty()) {
      job.exclude = located([&] { return parser::IgnorePatterns::compile(copy_.excludes); });
    }
    job.link = copy_.link;
    job.parents = copy_.parents;
    job.unpack = copy_.unpack.value_or(true);
    checkSources(job);
    return job;
  }

  void checkSources(const CopyJob& job) const {
    for (const std::string& source : job.sources) {
      if (!isRemote(source)) continue;
      throw instructionError(
          shop_.scope, step_.syntax,
          job.isAdd ? "remote sources are not available in this build"
                    : fmt::format("{} is a remote source; use ADD", text::quote(source)),
          source);
    }
    if (copy_.checksum) {
      throw instructionError(shop_.scope, step_.syntax,
                             "--checksum needs a single HTTP or git source", "--checksum");
    }
  }

  [[nodiscard]] Snapshot sourceSnapshot() const {
    const SourceRef& source = planned_.sources.at(*copy_.from);
    if (source.stage) return shop_.stages.at(*source.stage);
    if (!source.image) return Snapshot{};  // scratch
    const std::string id = source.image->manifestDescriptor.digest.hex();
    const auto known = shop_.images.find(id);
    if (known != shop_.images.end()) return known->second;
    return shop_.images.emplace(id, snapshotOf(*source.image)).first->second;
  }

  void openSource(CopyJob& job, const Snapshot& source) const {
    if (job.rootFd) return;
    const SourceRef& ref = planned_.sources.at(*copy_.from);
    job.rootFd = mountReadOnly(shop_.layout, source);
    job.root =
        SourceRoot{job.rootFd.get(), false, nullptr,
                   fmt::format("{} {}", ref.stage ? "stage" : "image", text::quote(ref.name))};
  }

  Task<Digest> keyByContent(CopyJob& job, const Snapshot& source, SeenSources* seen) const {
    co_await unpackMissing(shop_.events, shop_.layout, source);
    openSource(job, source);
    co_return contentKey(job, seen);
  }

  // `COPY [--parents ][--chown=X ][--chmod=Y ]src... dest` (7.4).
  [[nodiscard]] std::string createdBy(const CopyJob& job) const {
    std::string out = job.keyword + " ";
    if (job.parents) out += "--parents ";
    if (!job.chown.empty()) out += "--chown=" + job.chown + " ";
    if (!job.chmod.empty()) out += "--chmod=" + job.chmod + " ";
    for (const std::string& source : job.sources) out += source + " ";
    for (const auto& file : job.inlineFiles) out += "<<" + file.first + " ";
    return out + job.writtenDestination;
  }

  [[nodiscard]] Hasher startCopyKey(const CopyJob& job, std::string_view kind) const {
    Hasher hasher = startKey(kind, job.link ? Digest{} : stage_.snapshot.key);
    hasher.field(job.destination);
    hasher.field(job.chown);
    hasher.field(job.chmod);
    hasher.field(std::uint64_t{job.excludeTexts.size()});
    for (const std::string& pattern : job.excludeTexts) hasher.field(pattern);
    hasher.field(fmt::format("{}{}{}{}", job.isAdd, job.link, job.parents, job.unpack));
    hasher.field(std::uint64_t{job.inlineFiles.size()});
    for (const auto& [name, content] : job.inlineFiles) {
      hasher.field(name);
      hasher.field(content);
    }
    addEpoch(hasher, shop_.scope);
    return hasher;
  }

  [[nodiscard]] Digest definitionKey(const CopyJob& job, const Digest& source) const {
    Hasher hasher = startCopyKey(job, "copy-from");
    hasher.field(source.str());
    for (const std::string& path : job.sources) hasher.field(path);
    return hasher.finish();
  }

  // `seen` gets what was looked at.
  [[nodiscard]] Digest contentKey(const CopyJob& job, SeenSources* seen) const {
    Hasher hasher;
    if (!copy_.sources.empty() && job.root.fd < 0) throw noContext();
    ContentDigester digester{job.root.isContext, job.root.isContext ? shop_.statCache : nullptr,
                             ContentDigester::Reads::content,
                             [&] { shop_.events.throwIfInterrupted(); }};
    if (job.hasGitPermissions) digester.useGitPermissions();
    placed([&] {
      for (const std::string& path : job.sources) addSource(hasher, digester, job, path);
    });
    seen->tree = digester.takeSeen();
    seen->digest = hasher.finish();
    Hasher key = startCopyKey(job, "copy");
    key.field(seen->digest.str());
    return key.finish();
  }

  // The parts of the key by name (cli.md 9.3).
  void addInputs(InputList& list, const CopyJob& job, const SeenSources& seen) const {
    std::string text = createdBy(job);
    text.resize(text.size() - job.writtenDestination.size());  // where it leads counts
    text += job.destination;
    for (const std::string& pattern : job.excludeTexts) text += " --exclude=" + pattern;
    if (job.link) text += " --link";
    if (!job.unpack) text += " --unpack=false";
    list.add("instruction", job.keyword, std::move(text));
    for (const auto& [name, content] : job.inlineFiles) {
      const Digest digest = Digest::of(content);
      list.files.push_back({"<<" + name, S_IFREG | 0644, content.size(), digest, 0, {}});
    }
    if (!copy_.from) return list.addFiles(seen.tree);
    const SourceRef& source = planned_.sources.at(*copy_.from);
    list.add(source.image ? "base" : "stage", source.name, seen.digest.hex(),
             source.image ? source.image->manifestDescriptor.digest.str() : "");
  }

  // The key was made before the files were copied: if somebody has written to them in between, the
  // layer is not what the key says, and no later build may get it (security.md B1).
  void checkUnchanged(const CopyJob& job, const std::vector<SeenFile>& seen) const {
    ContentDigester digester{true, nullptr, ContentDigester::Reads::nothing};
    Hasher ignored;
    for (const std::string& path : job.sources) addSource(ignored, digester, job, path);
    const std::vector<SeenFile>& now = digester.seen();
    const auto [before, after] = std::mismatch(seen.begin(), seen.end(), now.begin(), now.end());
    if (before == seen.end() && after == now.end()) return;
    const std::string& path = before != seen.end() ? before->path : after->path;
    Error error = Error::make(Kind::failed, "{}: file {} changed while it was read", job.keyword,
                              text::quote(path));
    error.hint("build again when nothing writes to the context, or list the file in .dockerignore");
    throw error;
  }

  [[nodiscard]] Error noContext() const {
    return instructionError(shop_.scope, step_.syntax, "there is no build context to copy from");
  }

  // Errors of sources carry the keyword already; only the place is missing.
  template <class Work>
  void placed(Work&& work) const {
    try {
      work();
    } catch (Error& error) {
      error.at(positionOf(*shop_.scope.file, step_.syntax));
      throw;
    }
  }

  void addSource(Hasher& hasher, ContentDigester& digester, const CopyJob& job,
                 const std::string& path) const {
    SourceFilter filter;
    filter.ignore = job.root.ignore();
    if (!job.exclude.empty()) filter.exclude = &job.exclude;
    parser::IgnorePatterns kept;
    std::string base = path;
    if (job.parents) {
      ParentsSource pivot = splitPivot(path);
      base = pivot.base;
      hasher.field(pivot.kept);
      kept = parser::IgnorePatterns::compile({pivot.kept});
      if (!pivot.kept.empty() && pivot.kept != ".") filter.include = &kept;
    }
    const std::vector<CopySource> sources = resolveSources(job.root, base, job.keyword);
    hasher.field(std::uint64_t{sources.size()});
    for (const CopySource& source : sources) {
      hasher.field(source.matched);
      hasher.field(source.name);
      const auto digest = digester.digest(source.handle.get(), source.contextPath, filter);
      hasher.field(digest ? digest->hex() : "");
    }
  }

  Task<> execute(const CopyJob& job, const std::vector<SeenFile>& seen, Layer& layer,
                 const Snapshot& below) const;

  Workshop& shop_;
  const PlannedStage& planned_;
  const parser::Step& step_;
  const StageState& stage_;
  const parser::CopyInstruction& copy_;
  WordExpander expand_;
};

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
    Error shown{Kind::failed,
                isUnknown ? fmt::format("{}: --chown: user {} not in /etc/passwd of the stage",
                                        job.keyword, text::quote(job.chown))
                          : fmt::format("{}: --chown: {}", job.keyword, error.cause())};
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

class CopyWorker {
 public:
  // `upper`: of the union `root`; -1 when the root is the layer's folder itself, which has no
  // users.
  CopyWorker(const CopyJob& job, int root, int upper, std::optional<std::int64_t> epoch)
      : job_(job),
        root_(root),
        epoch_(epoch),
        options_(makeOptions(job, root, upper >= 0)),
        copier_(root, options_, upper) {}

  // In a worker of its own: the umask is the process's.
  void run() {
    ::umask(0);
    for (const std::string& path : job_.sources) copySource(path);
    for (const auto& [name, content] : job_.inlineFiles) {
      keyworded([&, &fileName = name, &text = content] {
        copier_.writeFile(fileName, text, job_.destination);
      });
    }
  }

 private:
  static CopyOptions makeOptions(const CopyJob& job, int root, bool hasUsers) {
    CopyOptions options;
    options.owner = resolveOwner(job, root, hasUsers);
    options.mode = job.mode;
    options.isContext = job.root.isContext;
    options.hasGitPermissions = job.hasGitPermissions;
    return options;
  }

  template <class Work>
  void keyworded(Work&& work) const {
    try {
      work();
    } catch (Error& error) {
      if (!error.cause().starts_with(job_.keyword)) error.prefixCause(job_.keyword + ": ");
      throw;
    }
  }

  void copySource(const std::string& path) {
    SourceFilter filter;
    filter.ignore = job_.root.ignore();
    if (job_.parents) return copyWithParents(path, filter);
    for (const CopySource& source : resolveSources(job_.root, path, job_.keyword)) {
      if (job_.isAdd && job_.unpack && isArchive(source.handle.get())) {
        keyworded([&] { extract(source); });
        continue;
      }
      filter.exclude = nullptr;
      if (!job_.exclude.empty()) {
        // A source that is a file has only its name to match (Q21).
        const bool isFolder = S_ISDIR(sys::fstat(source.handle.get()).st_mode);
        if (!isFolder && job_.exclude.isIgnored(source.name)) continue;
        filter.exclude = &job_.exclude;
      }
      keyworded([&] {
        copier_.copy({source.handle.get(), source.name, source.contextPath, path}, job_.destination,
                     filter);
      });
    }
  }

  void copyWithParents(const std::string& path, SourceFilter filter) {
    const ParentsSource pivot = splitPivot(path);
    if (!job_.exclude.empty()) filter.exclude = &job_.exclude;
    const parser::IgnorePatterns kept = parser::IgnorePatterns::compile({pivot.kept});
    if (!pivot.kept.empty() && pivot.kept != ".") filter.include = &kept;
    if (!parser::hasWildcard(path))
      std::ignore = resolveSources(job_.root, path, job_.keyword);  // must exist
    for (const CopySource& base : resolveSources(job_.root, pivot.base, job_.keyword)) {
      keyworded([&] {
        copier_.copyWithParents({base.handle.get(), base.name, base.contextPath, path},
                                job_.destination, filter);
      });
    }
  }

  void extract(const CopySource& source) const {
    NewFolder folder;
    if (options_.owner) std::tie(folder.uid, folder.gid) = *options_.owner;
    std::ignore = makeFolders(root_, job_.destination, folder);
    FdSource file{sys::reopen(source.handle.get(), O_RDONLY), source.name};
    const std::unique_ptr<Source> plain = decompress(file, source.name);
    store::ArchiveOptions options;
    if (options_.owner) {
      options.uid = options_.owner->first;
      options.gid = options_.owner->second;
    }
    options.clampMtime = epoch_;
    store::unpackArchive(*plain, root_, job_.destination, options, source.name);
  }

  const CopyJob& job_;
  int root_;
  std::optional<std::int64_t> epoch_;
  CopyOptions options_;
  TreeCopier copier_;
};

Task<> CopyPreparation::execute(const CopyJob& job, const std::vector<SeenFile>& seen, Layer& layer,
                                const Snapshot& below) const {
  const Snapshot nothing;
  const Snapshot& base = job.link ? nothing : below;
  // The parent opens the layers' folders, so that it can give them to the sealer.
  std::ignore = openFolders(shop_.layout, base);
  co_await runWorker(shop_.events, [&] {
    const Fd root = mountForWriting(shop_.layout, layer, base);
    const int upper = base.layers.empty() ? -1 : layer.folder.get();
    CopyWorker{job, root.get(), upper, shop_.scope.request->sourceDateEpoch}.run();
    return std::string{};
  });
  if (job.root.isContext) checkUnchanged(job, seen);
}

}  // namespace

LayerStep prepareCopy(Workshop& shop, const PlannedStage& planned, const parser::Step& step,
                      const StageState& stage) {
  return CopyPreparation{shop, planned, step, stage}.prepare();
}

}  // namespace img::builder
