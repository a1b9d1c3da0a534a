// `img diff`: what a container has changed, or what differs between two images or containers
// (cli.md 11).
#include <nlohmann/json.hpp>
#include <optional>

#include "base/error.h"
#include "base/json.h"
#include "base/sys.h"
#include "base/text.h"
#include "cli/config_diff.h"
#include "cli/container_commands.h"
#include "cli/container_spec.h"
#include "cli/human.h"
#include "cli/options.h"
#include "store/containers.h"
#include "store/images.h"
#include "store/layers.h"
#include "store/tree_diff.h"

namespace img::cli {
namespace {

struct DiffRequest {
  bool stat = false;
  std::string format;
};

// The folders that a container or an image is made of, topmost first.
class Side {
 public:
  Side(const store::Layout& layout, const std::string& name) : layout_(layout) {
    const auto record = store::Containers{layout}.find(name);
    if (record) {
      openContainer(*record);
      return;
    }
    const auto image = store::Images{layout}.find(name);
    if (!image) {
      throw Error::make(Kind::notFound, "no such container or image: {}", text::escape(name))
          .code("container-not-found");
    }
    config_ = image->config;
    store::Layers{layout}.ensureAll(image->config.diffIds, image->manifest.layers);
    openLayers(image->config.diffIds);
  }

  [[nodiscard]] const std::vector<int>& folders() const { return folders_; }
  // Without the topmost folder: what a container or the last step of an image began with.
  [[nodiscard]] std::vector<int> origin() const {
    return {folders_.begin() + (folders_.empty() ? 0 : 1), folders_.end()};
  }
  [[nodiscard]] const store::ImageConfig& config() const { return config_; }

 private:
  void openContainer(const store::ContainerRecord& record) {
    config_ = record.config.image;
    ensureLayers(layout_, record.config);
    add(sys::openDirectory(store::Containers{layout_}.folder(record.config.id).get(), "upper"));
    openLayers(record.config.diffIds);
  }
  void openLayers(const std::vector<Digest>& diffIds) {
    const store::Layers layers{layout_};
    for (auto diffId = diffIds.rbegin(); diffId != diffIds.rend(); ++diffId) {
      add(layers.open(*diffId));
    }
  }
  void add(Fd folder) {
    folders_.push_back(folder.get());
    open_.push_back(std::move(folder));
  }

  const store::Layout& layout_;
  std::vector<Fd> open_;
  std::vector<int> folders_;
  store::ImageConfig config_;
};

std::string sizeChange(const store::TreeChange& change) {
  if (change.bytesAfter >= change.bytesBefore) {
    return "+" + formatSize(change.bytesAfter - change.bytesBefore);
  }
  return "-" + formatSize(change.bytesBefore - change.bytesAfter);
}

std::string lineOf(const Context& context, const store::TreeChange& change, bool stat) {
  // Names may hold anything; what a terminal gets must not steer it.
  const std::string path =
      context.outIsTerminal() ? text::escape(change.path, change.path.size()) : change.path;
  std::string line = fmt::format("{} {}", store::changeLetter(change.kind), path);
  if (stat) line += " " + sizeChange(change);
  return line + "\n";
}

std::string jsonOf(const store::TreeChange& change, bool stat) {
  Json line = {{"kind", std::string(1, store::changeLetter(change.kind))}, {"path", change.path}};
  if (stat) {
    line["bytesBefore"] = change.bytesBefore;
    line["bytesAfter"] = change.bytesAfter;
  }
  return line.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string configLine(const ConfigChange& change, bool asJson) {
  if (!asJson) {
    return fmt::format("{}: {} → {}\n", text::escape(change.key, 1000),
                       text::escape(change.before, 1000), text::escape(change.after, 1000));
  }
  const Json line = {{"config", change.key}, {"before", change.before}, {"after", change.after}};
  return line.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

void show(Context& context, const std::vector<store::TreeChange>& changes,
          const DiffRequest& request) {
  std::string text;
  for (const store::TreeChange& change : changes) {
    text += request.format == "json" ? jsonOf(change, request.stat)
                                     : lineOf(context, change, request.stat);
  }
  context.print(text);
}

int diffCommand(Context& context, const std::vector<std::string>& args) {
  DiffRequest request;
  Options options{context, "CONTAINER|IMAGE [CONTAINER|IMAGE]",
                  "Show what a container has changed, or what differs between two images"};
  options.flag("--stat", request.stat, "Show by how much files grow or shrink")
      .text("--format", request.format, "json", "One JSON object per line")
      .positionals(1, 2);
  if (!options.parse(args)) return 0;
  if (!request.format.empty() && request.format != "json") {
    throw Error::make(Kind::usage, "--format: {} is not json", text::quote(request.format));
  }
  const store::Layout& layout = context.store();
  const store::StoreUse use{layout};
  const Side first{layout, options.words().front()};
  if (options.words().size() == 1) {
    show(context, store::diffTrees(first.origin(), first.folders()), request);
    return 0;
  }
  const Side second{layout, options.words().back()};
  show(context, store::diffTrees(first.folders(), second.folders()), request);
  std::string text;
  for (const ConfigChange& change : diffConfigs(first.config(), second.config())) {
    text += configLine(change, request.format == "json");
  }
  context.print(text);
  return 0;
}

}  // namespace

void addDiffCommand(CommandTable& table) {
  table.add({"diff,container diff,image diff", Group::containers,
             "Show what a container has changed", diffCommand});
}

}  // namespace img::cli
