#include "builder/failed_step.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>

#include "base/fs.h"
#include "base/log.h"
#include "base/sys.h"
#include "base/text.h"
#include "builder/copy_source.h"
#include "builder/copy_tree.h"
#include "builder/folder_destination.h"
#include "builder/source_filter.h"

namespace img::builder {
namespace {

constexpr char kPrefix[] = "failed-";
constexpr char kOriginLabel[] = "img.failed.origin";
constexpr char kBuildLabel[] = "img.failed.build";
constexpr char kStepLabel[] = "img.failed.step";
constexpr size_t kKept = 3;
constexpr std::time_t kMaxAge = std::time_t{24} * 60 * 60;

const std::string& labelOf(const store::ContainerConfig& config, const char* name) {
  static const std::string kNone;
  const auto found = config.labels.find(name);
  return found == config.labels.end() ? kNone : found->second;
}

// One that somebody is looking around in stays.
void drop(const store::Layout& layout, const store::ContainerConfig& config) {
  const store::Containers containers{layout};
  const auto lock = containers.tryHold(config.id);
  if (!lock) return;
  containers.remove(config.id);
  const store::Images images{layout};
  if (const auto image = images.find(config.imageId.str())) {
    const std::vector<store::ImageRow> rows = images.list();
    const bool isNamed = std::any_of(rows.begin(), rows.end(), [&](const store::ImageRow& row) {
      return row.name && row.descriptor.digest == image->manifestDescriptor.digest;
    });
    if (!isNamed) images.remove(image->manifestDescriptor.digest);
  }
}

bool isOld(const store::ContainerConfig& config) {
  return store::sortableTime(config.createdAt) <
         store::sortableTime(text::formatTime(std::time(nullptr) - kMaxAge));
}

store::ContainerConfig recordOf(const FailedStep& step) {
  store::ContainerConfig config;
  config.name = fmt::format("{}{}-{}", kPrefix, step.buildId, step.label.number);
  config.imageName = step.base.id.str();
  config.imageId = step.base.id;
  config.diffIds = step.base.config.diffIds;
  config.argv = config.command = step.command.argv;
  config.env = step.command.env;
  config.cwd = step.command.cwd;
  config.user = step.command.user;
  config.hostname = step.command.hostname;
  config.network = step.command.network;
  config.privileged = step.command.isPrivileged;
  config.labels = step.base.config.labels;
  config.labels[kOriginLabel] = step.origin;
  config.labels[kBuildLabel] = step.buildId;
  config.labels[kStepLabel] = fmt::format("[{}] {}", step.label.stage, step.label.text);
  config.image = step.base.config;
  return config;
}

}  // namespace

void copyFromFailedStep(const store::Layout& layout, const Snapshot& below, const LayerRef& layer,
                        const std::vector<std::pair<std::string, std::string>>& copies) {
  Snapshot all = below;
  all.layers.push_back(layer);
  const Fd root = mountReadOnly(layout, all);
  const Fd host = sys::openDirectory(AT_FDCWD, "/");
  CopyOptions options;
  options.owner = {::geteuid(), ::getegid()};
  for (const auto& [from, to] : copies) {
    FolderDestination target{host.get()};
    TreeCopier copier{target, options};
    const SourceRoot source{root.get(), false, nullptr, "the failed step"};
    forEachSource(source, from, "--on-fail-copy", [&, &shown = from, &into = to](const auto& one) {
      copier.copy({one.handle.get(), one.name, one.contextPath, shown}, into, SourceFilter{});
    });
    copier.throwIfCrowded();
  }
}

std::string stepOrigin(const std::string& contextDir, const StepLabel& label) {
  Hasher hasher;
  for (const std::string& part : {contextDir, label.fileName, label.stageName, label.stage})
    hasher.field(part);
  return hasher.finish().shortHex();
}

std::string keepFailedStep(const store::Layout& layout, const FailedStep& step) {
  // Nameless: only the record refers to it.
  store::Images{layout}.publish(step.base.manifestDescriptor, {});
  const store::Containers containers{layout};
  store::Containers::Held held = containers.createHeld(recordOf(step));
  const std::string& id = held.config.id;
  const std::string folder = "containers/" + id + "/upper";
  try {
    sys::renameat(layout.fd(), step.layer->work->path() + "/fs", layout.fd(), folder);
    store::ContainerState state;
    state.status = store::ContainerState::Status::exited;
    state.exitCode = step.exitCode;
    state.error = step.error;
    state.finishedAt = store::timestampNow();
    containers.setState(id, state);
  } catch (...) {
    containers.remove(id);
    throw;
  }
  size_t kept = 0;
  for (const store::ContainerRecord& record : listFailedSteps(layout)) {
    const bool isSame =
        record.config.id != id && labelOf(record.config, kOriginLabel) == step.origin;
    if (isSame || isOld(record.config) || ++kept > kKept) drop(layout, record.config);
  }
  return held.config.name;
}

void dropFailedSteps(const store::Layout& layout, const std::set<std::string>& origins) {
  for (const store::ContainerRecord& record : listFailedSteps(layout)) {
    if (origins.count(labelOf(record.config, kOriginLabel)) != 0 || isOld(record.config))
      drop(layout, record.config);
  }
}

const std::string& failedStepText(const store::ContainerConfig& config) {
  return labelOf(config, kStepLabel);
}

bool isFailedStep(const store::ContainerConfig& config) {
  return config.name.starts_with(kPrefix) && !labelOf(config, kOriginLabel).empty();
}

std::vector<store::ContainerRecord> listFailedSteps(const store::Layout& layout) {
  // The names alone cost one folder to read; a store with many containers has many records.
  const auto names = sys::tryOpenat(layout.fd(), "containers/.names", O_RDONLY | O_DIRECTORY);
  if (!names) return {};
  const std::vector<fs::Entry> entries = fs::list(names->get());
  const bool isAny = std::any_of(entries.begin(), entries.end(), [](const fs::Entry& entry) {
    return entry.name.starts_with(kPrefix);
  });
  if (!isAny) return {};
  std::vector<store::ContainerRecord> found = store::Containers{layout}.list();
  std::erase_if(found, [](const auto& record) { return !isFailedStep(record.config); });
  return found;
}

store::ContainerRecord findFailedStep(const store::Layout& layout, const std::string& which) {
  const std::vector<store::ContainerRecord> steps = listFailedSteps(layout);
  const size_t colon = which.find(':');
  const std::string build = which.substr(0, colon);
  const std::string suffix = colon == std::string::npos ? "" : "-" + which.substr(colon + 1);
  for (const store::ContainerRecord& record : steps) {
    const store::ContainerConfig& config = record.config;
    const bool isBuild =
        labelOf(config, kBuildLabel).starts_with(build) && config.name.ends_with(suffix);
    const bool isNamed = config.name == which || config.id.starts_with(which);
    if (which == "last" || isNamed || (!build.empty() && isBuild)) return record;
  }
  Error error = Error::make(Kind::notFound, "no failed step {}", text::quote(which));
  if (steps.empty()) throw error.hint("nothing is kept: no RUN has failed in the last 24 hours");
  throw error.hint("`img debug --list` shows what is kept");
}

}  // namespace img::builder
