// COPY and ADD: sources resolved and digested for the key, then copied by a worker straight into
// the fresh layer over the state below (dockerfile.md 3.8-3.10, 6.2).
#include <malloc.h>

#include <algorithm>
#include <tuple>

#include "base/log.h"
#include "base/sys.h"
#include "base/text.h"
#include "builder/content_digest.h"
#include "builder/copy_ahead.h"
#include "builder/copy_job.h"
#include "builder/copy_key.h"
#include "builder/first_time.h"
#include "builder/layer_step.h"
#include "builder/seal_outcome.h"
#include "store/layer_view.h"
#include "store/layers.h"
#include "store/planned_seal.h"

namespace img::builder {
namespace {

std::string destinationPath(const store::ImageConfig& config, const std::string& written) {
  const std::string path = joinPath(config.workingDir.empty() ? "/" : config.workingDir, written);
  const bool isFolder =
      written.empty() || written == "." || written.ends_with('/') || written.ends_with("/.");
  return isFolder && path != "/" ? path + "/" : path;
}

// For errors that do not know the keyword.
template <class Work>
auto keyworded(const CopyJob& job, Work&& work) {
  try {
    return work();
  } catch (Error& error) {
    // A secret in the layer is no fault of the instruction alone.
    const bool isToldAlready =
        error.cause().starts_with(job.keyword + ": ") || error.code() == "secret-leak";
    if (!isToldAlready) error.prefixCause(job.keyword + ": ");
    throw;
  }
}

constexpr size_t kManyFiles = 20'000;

// What the sources were when the key was made.
struct SeenSources {
  Seen tree;
  Digest digest;
  std::unique_ptr<CopyAhead> ahead;  // the layer, made with the key
};

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
    const auto seen = std::make_shared<SeenSources>();
    if (const Context* context = sourceContext()) {
      job->root = SourceRoot{context->root(), true, context, contextLabel()};
      job->hasGitPermissions = shop_.scope.request->hasGitPermissions;
      if (isAheadWorthwhile(*job)) {
        result.lateKey = [self = *this, job, seen] { return self.keyAhead(*job, *seen); };
      } else if (job->remote.empty()) {
        result.key = contentKey(*job, seen.get());
      } else {
        result.lateKey = [self = *this, job, seen] { return self.keyByLooking(*job, *seen); };
      }
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
      return self.execute(*job, *seen, layer, below);
    };
    result.inputs = [self = *this, job, seen](InputList& list) {
      self.addInputs(list, *job, *seen);
    };
    return result;
  }

 private:
  using RemoteWork = std::map<size_t, store::IngestDir>;  // by index of the source

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

  // The context, or the folder that --from names; null for a stage or image.
  [[nodiscard]] const Context* sourceContext() const {
    return copy_.from ? planned_.sources.at(*copy_.from).folder.get() : &shop_.context;
  }

  [[nodiscard]] std::string contextLabel() const {
    return copy_.from ? "the context " + text::quote(*copy_.from) : "the build context";
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
    job.unpack = copy_.unpack;
    const std::string checksum = copy_.checksum ? expand_.word(*copy_.checksum) : std::string{};
    job.remote = remoteSourcesOf(shop_.scope, step_.syntax, copy_, job.sources, checksum);
    return job;
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

  Task<> openSource(CopyJob& job, const Snapshot& source) const {
    if (job.rootFd) co_return;
    const SourceRef& ref = planned_.sources.at(*copy_.from);
    job.rootFd = co_await openView(shop_, source);
    job.root =
        SourceRoot{job.rootFd.get(), false, nullptr,
                   fmt::format("{} {}", ref.stage ? "stage" : "image", text::quote(ref.name))};
  }

  // The remote sources are looked at side by side with other steps, each in a worker.
  Task<Digest> keyByLooking(CopyJob& job, SeenSources& seen) const {
    for (auto& [index, source] : job.remote) {
      const RemoteSource& remote = source;
      const store::IngestDir work{shop_.layout};
      const std::string answer = co_await runWorker(shop_.events, [this, &job, &remote, &work] {
        return keyworded(job, [&] { return remote.look({shop_.layout, work}, shop_.access); });
      });
      source.take(answer);
    }
    co_return contentKey(job, &seen);
  }

  Task<Digest> keyByContent(CopyJob& job, const Snapshot& source, SeenSources* seen) const {
    co_await unpackMissing(shop_.events, shop_.layout, source);
    co_await openSource(job, source);
    co_return contentKey(job, seen);
  }

  [[nodiscard]] Digest definitionKey(const CopyJob& job, const Digest& source) const {
    Hasher hasher = startCopyKey(shop_.scope, job, "copy-from");
    hasher.field(source.str());
    for (const std::string& path : job.sources) hasher.field(path);
    return hasher.finish();
  }

  // `seen` gets what was looked at.
  [[nodiscard]] Digest contentKey(const CopyJob& job, SeenSources* seen) const {
    Hasher hasher;
    if (job.sources.size() > job.remote.size() && job.root.fd < 0) throw noContext();
    const bool isBuildContext = job.root.context == &shop_.context;
    ContentDigester digester{job.root.isContext, isBuildContext ? shop_.statCache : nullptr,
                             ContentDigester::Reads::content,
                             [&] { shop_.events.throwIfInterrupted(); }};
    if (job.hasGitPermissions) digester.useGitPermissions();
    placed([&] {
      for (size_t i = 0; i < job.sources.size(); ++i) {
        const auto remote = job.remote.find(i);
        if (remote == job.remote.end()) {
          addSource(hasher, digester, job, job.sources[i]);
        } else {
          remote->second.addToKey(hasher);
          hasher.field(std::uint64_t{job.isUnpacked(i)});
        }
      }
    });
    seen->tree = digester.takeSeen();
    seen->digest = hasher.finish();
    Hasher key = startCopyKey(shop_.scope, job, "copy");
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
    if (job.unpack) text += fmt::format(" --unpack={}", *job.unpack);
    list.add("instruction", job.keyword, std::move(text));
    for (const auto& [name, content] : job.inlineFiles) {
      const Digest digest = Digest::of(content);
      list.files.push_back({"<<" + name, S_IFREG | 0644, content.size(), digest, 0, {}});
    }
    for (const auto& [index, remote] : job.remote) {
      Hasher hasher;
      remote.addToKey(hasher);
      list.add("url", job.sources[index], hasher.finish().hex(), remote.shown());
    }
    if (sourceContext() != nullptr) return list.addFiles(seen.tree);
    const SourceRef& source = planned_.sources.at(*copy_.from);
    list.add(source.image ? "base" : "stage", source.name, seen.digest.hex(),
             source.image ? source.image->manifestDescriptor.digest.str() : "");
  }

  // The key was made before the files were copied: if somebody has written to them in between, the
  // layer is not what the key says, and no later build may get it (security.md B1).
  void checkUnchanged(const CopyJob& job, const Seen& seen) const {
    ContentDigester digester{true, nullptr, ContentDigester::Reads::nothing};
    if (job.hasGitPermissions) digester.useGitPermissions();
    Hasher ignored;
    for (size_t i = 0; i < job.sources.size(); ++i) {
      if (job.remote.count(i) == 0) addSource(ignored, digester, job, job.sources[i]);
    }
    const auto path = seen.firstChange(digester.seen());
    if (!path) return;
    Error error = Error::make(Kind::failed, "{}: file {} changed while it was read", job.keyword,
                              text::quote(*path));
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

  [[nodiscard]] bool isAheadWorthwhile(const CopyJob& job) const;
  Task<Digest> keyAhead(const CopyJob& job, SeenSources& seen) const;
  Task<std::unique_ptr<CopyAhead>> writeAhead(const CopyJob& job) const;
  Task<> keepAhead(std::unique_ptr<CopyAhead> ahead, Layer& layer) const;
  void describe(Layer& layer, const SealOutcome& outcome) const;
  [[nodiscard]] store::PlanOptions planOptions() const;

  Task<> execute(const CopyJob& job, SeenSources& seen, Layer& layer, const Snapshot& below) const;
  [[nodiscard]] bool mayPlan(const CopyJob& job) const;
  Task<bool> plan(const CopyJob& job, const Seen& seen, Layer& layer, const Snapshot& base) const;
  [[nodiscard]] std::string planInWorker(const CopyJob& job, const Seen& seen,
                                         const PlanTarget& target, const RemoteWork& work) const;
  void makeView(store::LayerIndexer& indexer, const store::SealedLayer& layer) const;
  [[nodiscard]] RemoteWork newWork(const CopyJob& job) const;
  [[nodiscard]] std::map<size_t, CopySource> openRemote(const CopyJob& job,
                                                        const RemoteWork& work) const;

  Workshop& shop_;
  const PlannedStage& planned_;
  const parser::Step& step_;
  const StageState& stage_;
  const parser::CopyInstruction& copy_;
  WordExpander expand_;
};

// The parent owns what git checks out, so that it goes when the worker dies.
CopyPreparation::RemoteWork CopyPreparation::newWork(const CopyJob& job) const {
  RemoteWork work;
  for (const auto& [index, source] : job.remote) work.emplace(index, shop_.layout);
  return work;
}

std::map<size_t, CopySource> CopyPreparation::openRemote(const CopyJob& job,
                                                         const RemoteWork& work) const {
  std::map<size_t, CopySource> opened;
  for (const auto& [index, source] : job.remote) {
    keyworded(job, [&, &from = source, i = index] {
      opened.emplace(i, from.open({shop_.layout, work.at(i)}, shop_.access));
    });
  }
  return opened;
}

Task<> CopyPreparation::execute(const CopyJob& job, SeenSources& seen, Layer& layer,
                                const Snapshot& below) const {
  if (seen.ahead) {
    co_await keepAhead(std::move(seen.ahead), layer);
    co_return;
  }
  const Snapshot nothing;
  const Snapshot& base = job.link ? nothing : below;
  if (mayPlan(job)) {
    const bool isPlanned = co_await plan(job, seen.tree, layer, base);
    if (isPlanned) co_return;
  }
  const RemoteWork work = newWork(job);
  co_await fillLayer(shop_, layer, base, [&](int root, int upper) {
    const CopyTarget target{root, upper, shop_.scope.request->sourceDateEpoch,
                            !base.layers.empty()};
    runCopy(job, target, openRemote(job, work));
  });
  if (job.root.isContext) checkUnchanged(job, seen.tree);
}

// Only where the files are likely to be read in vain by nobody: this store has not made the step
// before, no other one's cache is asked, and no file of the sources was read yet.
bool CopyPreparation::isAheadWorthwhile(const CopyJob& job) const {
  const Request& request = *shop_.scope.request;
  const bool isPossible = job.root.context == &shop_.context && shop_.statCache != nullptr &&
                          job.remote.empty() && !request.isDryRun && mayPlan(job);
  if (!isPossible || !request.cacheFrom.empty() || !isUnread(job, *shop_.statCache)) return false;
  const Snapshot& below = stage_.snapshot;
  const auto isAway = [](const LayerRef& layer) { return layer->source != nullptr; };
  if (!job.link && (std::any_of(below.layers.begin(), below.layers.end(), isAway) ||
                    isUnpackingNeeded(shop_.layout, below)))
    return false;
  Hasher what = startCopyKey(shop_.scope, job, "copy-ahead");
  what.field(job.link ? "" : below.key.str());
  for (const std::string& path : job.sources) what.field(path);
  return isFirstTime(shop_.layout, what.finish()) || request.noCache;
}

Task<Digest> CopyPreparation::keyAhead(const CopyJob& job, SeenSources& seen) const {
  std::unique_ptr<CopyAhead> ahead = co_await writeAhead(job);
  const Digest key = contentKey(job, &seen);
  if (seen.tree.size() > kManyFiles) ::malloc_trim(0);  // a walk by several threads leaves much
  if (ahead && ahead->isWhatWasSeen(seen.tree)) seen.ahead = std::move(ahead);
  co_return key;
}

// Null: what went wrong shows when the copy is made the usual way, or does not matter there.
Task<std::unique_ptr<CopyAhead>> CopyPreparation::writeAhead(const CopyJob& job) const {
  const Snapshot nothing;
  const Snapshot& base = job.link ? nothing : stage_.snapshot;
  const std::vector<int> lowers = openFolders(shop_.layout, base);
  std::unique_ptr<CopyAhead> ahead = CopyAhead::tryMake(shop_.layout);
  if (!ahead) co_return nullptr;
  const std::string answer = co_await runWorker(shop_.events, [&]() -> std::string {
    try {
      store::PlannedLayer planned{lowers};
      const Fd users =
          job.chown.empty() || lowers.empty() ? Fd{} : mountReadOnly(shop_.layout, base);
      ContentDigester digester{true, nullptr};
      if (job.hasGitPermissions) digester.useGitPermissions();
      return ahead->write(job, {planned, users ? users.get() : shop_.layout.fd()}, digester,
                          shop_.scope.request->step, planOptions());
    } catch (const store::CannotPlan& reason) {
      log::info("{}: nothing is made ahead: {}", job.keyword, reason.why);
    } catch (const Error& error) {
      log::info("{}: nothing is made ahead: {}", job.keyword, error.what());
    }
    return {};
  });
  if (answer.empty()) co_return nullptr;
  ahead->written(answer, *shop_.statCache);
  co_return ahead;
}

Task<> CopyPreparation::keepAhead(std::unique_ptr<CopyAhead> ahead, Layer& layer) const {
  co_await runStoringWorker(shop_.events, shop_.layout, [&] {
    ahead->publish();
    return std::string{};
  });
  describe(layer, ahead->outcome());
}

// Where layers are indexes over their tars, the tar is written at once and no file is made. Not for
// what is fetched and unpacked: it would be fetched twice.
bool CopyPreparation::mayPlan(const CopyJob& job) const {
  for (const auto& [index, source] : job.remote) {
    if (job.isUnpacked(index)) return false;
  }
  return store::chooseLayerView(shop_.layout).view == store::LayerView::erofs;
}

// False: it has to be made on disk, and nothing has been written yet.
Task<bool> CopyPreparation::plan(const CopyJob& job, const Seen& seen, Layer& layer,
                                 const Snapshot& base) const {
  const std::vector<int> lowers = openFolders(shop_.layout, base);
  const RemoteWork work = newWork(job);
  const std::string answer = co_await runStoringWorker(shop_.events, shop_.layout, [&] {
    store::PlannedLayer planned{lowers};
    Fd users;  // the layer's folder is empty
    if (!job.chown.empty() && !lowers.empty()) users = mountReadOnly(shop_.layout, base);
    const PlanTarget target{planned, users ? users.get() : layer.folder.get()};
    return planInWorker(job, seen, target, work);
  });
  if (answer.empty()) co_return false;
  describe(layer, SealOutcome::decode(answer));
  co_return true;
}

// The layer is in the store.
void CopyPreparation::describe(Layer& layer, const SealOutcome& outcome) const {
  if (outcome.leak) reportLeak(*outcome.leak, shop_.scope.request->step, shop_.progress);
  outcome.describe(layer);
  layer.folder = store::Layers{shop_.layout}.open(*layer.diffId);
}

store::PlanOptions CopyPreparation::planOptions() const {
  store::PlanOptions options;
  options.seal.clampMtime = shop_.scope.request->layerEpoch();
  options.takesXattr = isCopiedXattr;
  return options;
}

void CopyPreparation::makeView(store::LayerIndexer& indexer,
                               const store::SealedLayer& layer) const {
  const store::Layers layers{shop_.layout};
  const store::Descriptor& blob = layer.descriptor;
  if (indexer.finish()) {
    store::IngestDir view{shop_.layout};
    if (indexer.write(view, blob.size))
      return layers.adopt(view, blob.digest, layer.stats.entries, layer.stats.bytes);
  }
  layers.ensureFromVerified(blob.digest);
}

std::string CopyPreparation::planInWorker(const CopyJob& job, const Seen& seen,
                                          const PlanTarget& target, const RemoteWork& work) const {
  const std::map<size_t, CopySource> opened = openRemote(job, work);
  try {
    planCopy(job, target, opened);
  } catch (const store::CannotPlan& reason) {
    log::info("{}: the layer is made on disk: {}", job.keyword, reason.why);
    return {};
  }
  LeakWatch watch{shop_.scope.request->step};
  store::PlanOptions options = planOptions();
  options.check = [&] {
    if (job.root.isContext) checkUnchanged(job, seen);
  };
  watch.join(options.seal);
  store::LayerIndexer indexer;
  options.indexer = &indexer;
  SealOutcome outcome;
  outcome.tar = keyworded(job, [&] {
    return store::sealPlan(shop_.layout, target.layer, options,
                           store::BlobWriter::Durability::withName);
  });
  outcome.leak = watch.hit();
  makeView(indexer, outcome.tar);
  return outcome.encode();
}

}  // namespace

LayerStep prepareCopy(Workshop& shop, const PlannedStage& planned, const parser::Step& step,
                      const StageState& stage) {
  return CopyPreparation{shop, planned, step, stage}.prepare();
}

}  // namespace img::builder
