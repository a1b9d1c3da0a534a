#include "builder/layer_step.h"

#include <tuple>

#include "base/log.h"
#include "base/process.h"
#include "base/sys.h"
#include "builder/root_path.h"
#include "runtime/security.h"
#include "store/overlay.h"

namespace img::builder {

Snapshot snapshotOf(const store::Image& image) {
  Snapshot snapshot;
  for (size_t i = 0; i < image.manifest.layers.size(); ++i) {
    auto layer = std::make_shared<Layer>();
    layer->descriptor = image.manifest.layers[i];
    layer->diffId = image.config.diffIds[i];
    layer->bytes = image.manifest.layers[i].size;
    snapshot.layers.push_back(std::move(layer));
  }
  snapshot.key = baseKey(image.config.diffIds);
  return snapshot;
}

Task<std::string> runWorker(Events& events, std::function<std::string()> work) {
  Child child = Child::fork(work);
  co_await events.readable(child.pidfd());
  co_return child.finish();
}

void sweepLitter(const store::Layout& layout) noexcept {
  try {
    layout.recover();
  } catch (const std::exception& error) {
    log::info("{}", error.what());  // the next command tries again
  }
}

namespace {

class LitterOfWorker {
 public:
  explicit LitterOfWorker(const store::Layout& layout) : layout_(layout) {}
  LitterOfWorker(const LitterOfWorker&) = delete;
  LitterOfWorker& operator=(const LitterOfWorker&) = delete;
  ~LitterOfWorker() {
    if (isLeft_) sweepLitter(layout_);
  }
  void isNone() { isLeft_ = false; }

 private:
  const store::Layout& layout_;
  bool isLeft_ = true;
};

}  // namespace

Task<std::string> runStoringWorker(Events& events, const store::Layout& layout,
                                   std::function<std::string()> work) {
  LitterOfWorker litter{layout};
  std::string answer = co_await runWorker(events, std::move(work));
  litter.isNone();
  co_return answer;
}

Task<> unpackMissing(Events& events, const store::Layout& layout, const Snapshot& snapshot) {
  co_await fetchMissing(events, snapshot);
  if (!isUnpackingNeeded(layout, snapshot)) co_return;
  co_await runStoringWorker(events, layout, [&] {
    std::ignore = openFolders(layout, snapshot);
    return std::string{};
  });
}

Fd mountForWriting(const store::Layout& layout, const Layer& layer, const Snapshot& below) {
  if (below.layers.empty()) return layer.folder.duplicate();
  store::OverlaySpec spec;
  spec.lowers = openFolders(layout, below);
  spec.upper = layer.folder.get();
  const Fd work = sys::openDirectory(layer.work->fd(), "work");
  spec.work = work.get();
  spec.isVolatile = true;  // sealed by hash; a crash throws it away
  return store::mountOverlay(spec);
}

Error stepError(const Error& error, std::string_view keyword) {
  Error shown = error.kind() == Kind::usage ? Error{Kind::failed, error.cause()} : error;
  shown.prefixCause(fmt::format("{}: ", keyword));
  const int exitCode = error.exitCode().value_or(1);
  shown.exitCode(exitCode == 126 || exitCode == 127 ? exitCode : 1);
  return shown;
}

std::optional<timespec> latestTime(const Scope& scope) {
  const auto epoch = scope.request->layerEpoch();
  return epoch ? std::optional{timespec{*epoch, 0}} : std::nullopt;
}

void addEpoch(Hasher& hasher, const Scope& scope) {
  const auto& epoch = scope.request->sourceDateEpoch;
  hasher.field(std::uint64_t{epoch ? 1U : 0U});
  hasher.field(static_cast<std::uint64_t>(epoch.value_or(0)));
  // --rewrite-timestamp=false: the epoch is there and leaves the layers alone.
  if (epoch && !scope.request->layerEpoch()) hasher.field("times kept");
}

namespace {

Task<> makeWorkdir(Workshop& shop, std::string path, std::string user, Layer& layer,
                   const Snapshot& below) {
  co_await fillLayer(shop, layer, below, [&](int root, int) {
    NewFolder folder;
    if (const auto& epoch = shop.scope.request->sourceDateEpoch) folder.mtime = timespec{*epoch, 0};
    try {
      const runtime::Identity owner = runtime::resolveUser(root, user, {});
      folder.uid = owner.uid;
      folder.gid = owner.gid;
      std::ignore = makeFolders(root, path, folder);
    } catch (const Error& error) {
      Error shown = stepError(error, "WORKDIR");
      // dockerfile.md 3.11: the sentence ends before what it is.
      const size_t detail = shown.cause().find(" (it is a ");
      if (detail == std::string::npos) throw shown;
      throw Error{shown.kind(), shown.cause().substr(0, detail)}.why(
          shown.cause().substr(detail + 2, shown.cause().size() - detail - 3));
    }
  });
}

}  // namespace

std::optional<LayerStep> prepareWorkdir(Workshop& shop, const parser::Step& step,
                                        StageState& stage) {
  const auto& workdir = std::get<parser::WorkdirInstruction>(step.body);
  const std::string written =
      WordExpander{shop.scope, step.syntax, stage.variables}.word(workdir.path);
  const std::string path = joinPath(stage.config.workingDir, written);
  stage.config.workingDir = path;
  if (path == "/") return std::nullopt;
  Hasher hasher = startKey("workdir", Digest{});
  hasher.field(path);
  hasher.field(stage.config.user);
  addEpoch(hasher, shop.scope);
  LayerStep job;
  job.key = hasher.finish();
  job.createdBy = "WORKDIR " + path;
  job.inputs = [path, user = stage.config.user](InputList& list) {
    list.add("workdir", "", path);
    list.add("user", "", user);
  };
  job.execute = [&shop, path, user = stage.config.user](Layer& layer, const Snapshot& below) {
    return makeWorkdir(shop, path, user, layer, below);
  };
  return job;
}

}  // namespace img::builder
