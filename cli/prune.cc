// image prune, builder prune, system prune (prune): what nobody needs goes, listed per kind, with
// the room it gave back.
#include "cli/prune.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "base/fs.h"
#include "base/sys.h"
#include "base/text.h"
#include "builder/prune_cache.h"
#include "cli/commands.h"
#include "cli/human.h"
#include "cli/image_facts.h"
#include "cli/lists.h"
#include "cli/options.h"
#include "cli/values.h"
#include "store/containers.h"
#include "store/gc.h"
#include "store/images.h"
#include "store/usage.h"

namespace img::cli {
namespace {

struct PruneRequest {
  bool all = false, force = false, isDryRun = false, volumes = false, buildCache = false;
  std::optional<long long> keepStorage;
  std::vector<std::string> filters;
};

constexpr int kTotalDigits = 4;

std::string totalLine(std::uint64_t bytes) {
  return fmt::format("Total reclaimed space: {}\n", formatSize(bytes, kTotalDigits));
}

std::string section(std::string_view title, const std::vector<std::string>& lines) {
  if (lines.empty()) return {};
  return fmt::format("{}\n{}\n\n", title, text::join(lines, "\n"));
}

// Of images: label=K[=V], label!=K[=V], until=TIME, dangling=BOOL.
struct ImageFilters {
  std::vector<std::string> labels, labelsNot;
  std::optional<long long> until;
  std::optional<bool> dangling;
};

ImageFilters readImageFilters(const std::vector<std::string>& texts) {
  ImageFilters filters;
  for (const std::string& text : texts) {
    const auto [kind, value] = splitAssignment(text);
    if (kind == "label") {
      filters.labels.push_back(value);
    } else if (kind == "label!") {
      filters.labelsNot.push_back(value);
    } else if (kind == "until") {
      filters.until = parseTime(value, nowSeconds(), "--filter until");
    } else if (kind == "dangling") {
      filters.dangling = parseBool(value, "--filter dangling");
    } else {
      throw Error::make(Kind::usage, "unknown filter {}", text::quote(text))
          .hint("filters are dangling, label, label!, until");
    }
  }
  return filters;
}

bool passes(const store::Layout& layout, const store::Image& image, const ImageFilters& filters) {
  const auto& labels = image.config.labels;
  const auto matches = [&](const std::string& wanted) { return matchesLabel(wanted, labels); };
  if (!std::all_of(filters.labels.begin(), filters.labels.end(), matches)) return false;
  if (std::any_of(filters.labelsNot.begin(), filters.labelsNot.end(), matches)) return false;
  if (!filters.until) return true;
  const auto created = text::parseTimeSeconds(createdTime(layout, image));
  return created && *created < *filters.until;
}

// An image that may go, with all its entries of index.json.
struct Candidate {
  std::vector<std::string> names;  // full form
  Digest manifest;
  std::string id;
};

// The image that an entry stands for; its manifest tells, where it is not an index.
Digest idOf(const store::Layout& layout, store::Documents& documents,
            const store::Descriptor& entry) {
  const store::Targets* manifest = documents.find(entry.digest);
  if (manifest != nullptr && manifest->config) return *manifest->config;
  return store::Images{layout}.load(entry).id;
}

std::vector<Candidate> findCandidates(const store::Layout& layout, store::Documents& documents,
                                      const PruneRequest& request) {
  const store::Images images{layout};
  const ImageFilters filters = readImageFilters(request.filters);
  const bool all = request.all || filters.dangling == false;
  const std::vector<store::ImageRow> rows = images.list();
  std::map<Digest, Candidate> byManifest;
  for (const store::ImageRow& row : rows) {
    Candidate& candidate = byManifest[row.descriptor.digest];
    candidate.manifest = row.descriptor.digest;
    if (row.name) candidate.names.push_back(*row.name);
  }
  std::vector<Digest> wanted;
  for (const auto& [manifest, candidate] : byManifest) {
    if (all || candidate.names.empty()) wanted.push_back(manifest);
  }
  documents.prefetch(wanted);
  const store::ContainerUse use = store::readContainerUse(layout);
  const std::set<Digest> used{use.imageIds.begin(), use.imageIds.end()};
  std::vector<Candidate> found;
  std::set<Digest> seen;
  for (const store::ImageRow& row : rows) {
    Candidate& candidate = byManifest[row.descriptor.digest];
    if (!seen.insert(row.descriptor.digest).second) continue;
    if (!all && !candidate.names.empty()) continue;
    try {
      const Digest id = idOf(layout, documents, row.descriptor);
      candidate.id = id.str();
      if (used.contains(id)) continue;
      if (!request.filters.empty() && !passes(layout, images.load(row.descriptor), filters))
        continue;
    } catch (const Error& error) {  // it serves nobody
      candidate.id = row.descriptor.digest.str();
      if (!request.filters.empty()) continue;
    }
    found.push_back(std::move(candidate));
  }
  return found;
}

Pruned pruneImages(Context& context, const PruneRequest& request) {
  const store::Layout& layout = context.store();
  store::Collector collector{layout};
  collector.measure();
  std::vector<Candidate> candidates = findCandidates(layout, collector.documents(), request);
  std::set<Digest> manifests;
  for (const Candidate& candidate : candidates) manifests.insert(candidate.manifest);
  Pruned pruned;
  if (request.isDryRun) {
    collector.ignore(manifests, {});
    collector.survey();
    store::UsageCounter counter;
    for (const store::DeadObject& object : collector.dead())
      pruned.bytes += counter.count(layout.fd(), object.path()).bytes;
  } else {
    const auto gone = store::Images{layout}.removeUnused(manifests, request.all);
    std::erase_if(candidates, [&](const Candidate& c) { return !gone.contains(c.manifest); });
    pruned.bytes = collector.collect().bytes;
  }
  for (const Candidate& candidate : candidates) {
    for (const std::string& name : candidate.names)
      pruned.lines.push_back("untagged: " + familiarName(name));
    pruned.lines.push_back("deleted: " + candidate.id);
  }
  return pruned;
}

int runImagePrune(Context& context, const std::vector<std::string>& args) {
  PruneRequest request;
  Options options{context, "", "Remove images without a name"};
  options.flag("-a,--all", request.all, "All images that no container uses")
      .flag("-f,--force", request.force, "Do not ask")
      .list("--filter", request.filters, "FILTER", "dangling, label, label!, until: KIND=VALUE")
      .flag("--dry-run", request.isDryRun, "Only show what would go")
      .positionals(0, 0);
  if (!options.parse(args)) return 0;
  std::ignore = readImageFilters(request.filters);
  if (!request.force && !request.isDryRun) {
    confirmPrune(context, request.all ? "This will remove all images that no container uses."
                                      : "This will remove all images without a name.");
  }
  const Pruned pruned = pruneImages(context, request);
  context.print(section("Deleted Images:", pruned.lines) + totalLine(pruned.bytes));
  return 0;
}

builder::CachePrune cachePruneOf(const PruneRequest& request) {
  builder::CachePrune prune;
  prune.all = request.all;
  prune.isDryRun = request.isDryRun;
  if (request.keepStorage) prune.keepBytes = static_cast<std::uint64_t>(*request.keepStorage);
  for (const std::string& text : request.filters) {
    const auto [kind, value] = splitAssignment(text);
    if (kind == "until") {
      prune.before = parseTime(value, nowSeconds(), "--filter until");
    } else if (kind == "id") {
      prune.ids.push_back(value);
    } else {
      throw Error::make(Kind::usage, "unknown filter {}", text::quote(text))
          .hint("filters are id, until");
    }
  }
  return prune;
}

constexpr char kCacheTitle[] = "Deleted build cache objects:";

int runBuilderPrune(Context& context, const std::vector<std::string>& args) {
  PruneRequest request;
  Options options{context, "", "Remove the build cache that no image needs"};
  options
      .flag("-a,--all", request.all,
            "All of it: also what images have, downloads, logs, cache mounts")
      .flag("-f,--force", request.force, "Do not ask")
      .size("--keep-storage", request.keepStorage, "Keep the newest of this size")
      .list("--filter", request.filters, "FILTER", "id, until: KIND=VALUE")
      .flag("--dry-run", request.isDryRun, "Only show what would go")
      .positionals(0, 0);
  if (!options.parse(args)) return 0;
  const builder::CachePrune prune = cachePruneOf(request);
  if (!request.force && !request.isDryRun) {
    confirmPrune(context, request.all ? "This will remove all build cache."
                                      : "This will remove the build cache that no image needs.");
  }
  const builder::PrunedCache pruned = builder::pruneCache(context.store(), prune);
  context.print(section(kCacheTitle, pruned.removed) + totalLine(pruned.bytes));
  return 0;
}

std::string systemWarning(const PruneRequest& request) {
  std::string text = "This will remove:\n  - all stopped containers\n";
  if (request.volumes) text += "  - all anonymous volumes that no container uses\n";
  text +=
      request.all ? "  - all images that no container uses\n" : "  - all images without a name\n";
  text +=
      request.buildCache ? "  - all build cache\n" : "  - the build cache that no image needs\n";
  return text;
}

void checkSystemFilters(const PruneRequest& request) {
  for (const std::string& text : request.filters) {
    const std::string kind = splitAssignment(text).first;
    if (kind != "until" && kind != "label" && kind != "label!") {
      throw Error::make(Kind::usage, "unknown filter {}", text::quote(text))
          .hint("filters are label, label!, until");
    }
    if (kind == "until" && request.volumes)
      throw Error{Kind::usage, "--filter until does not go with --volumes"};
  }
}

// Labels are of containers, images and volumes; a step of the cache has a time only.
builder::CachePrune systemCachePrune(const PruneRequest& request) {
  PruneRequest cache = request;
  cache.all = request.buildCache;
  std::erase_if(cache.filters,
                [](const std::string& text) { return splitAssignment(text).first != "until"; });
  return cachePruneOf(cache);
}

// Leftovers of killed processes: unlocked ones were removed when the store was opened; what is left
// of downloads goes without waiting for its day.
std::uint64_t pruneStaging(const store::Layout& layout, bool isDryRun) {
  std::uint64_t bytes = 0;
  const auto partial = sys::tryOpenat(layout.fd(), "ingest/partial", O_RDONLY | O_DIRECTORY);
  if (!partial) return 0;
  for (const fs::Entry& entry : fs::list(partial->get())) {
    const auto file = sys::tryOpenat(partial->get(), entry.name, O_RDONLY | O_NOFOLLOW);
    if (!file || !sys::tryFlock(file->get(), true)) continue;  // a download under way
    bytes += store::diskUsage(partial->get(), entry.name).bytes;
    if (!isDryRun) fs::removeTree(partial->get(), entry.name);
  }
  return bytes;
}

int runSystemPrune(Context& context, const std::vector<std::string>& args) {
  PruneRequest request;
  Options options{context, "", "Remove what nobody uses"};
  options.flag("-a,--all", request.all, "All images that no container uses, not only nameless ones")
      .flag("--volumes", request.volumes, "Anonymous volumes, too")
      .flag("--build-cache", request.buildCache, "All of the build cache")
      .flag("-f,--force", request.force, "Do not ask")
      .size("--keep-storage", request.keepStorage, "Keep the newest build cache of this size")
      .list("--filter", request.filters, "FILTER", "label, label!, until: KIND=VALUE")
      .flag("--dry-run", request.isDryRun, "Only show what would go")
      .positionals(0, 0);
  if (!options.parse(args)) return 0;
  checkSystemFilters(request);
  const builder::CachePrune cachePrune = systemCachePrune(request);
  if (!request.force && !request.isDryRun) confirmPrune(context, systemWarning(request));
  const bool isDryRun = request.isDryRun;
  const Pruned containers = pruneStoppedContainers(context, request.filters, isDryRun);
  context.print(section("Deleted Containers:", containers.lines));
  Pruned volumes;
  if (request.volumes) volumes = pruneUnusedVolumes(context, request.filters, false, isDryRun);
  context.print(section("Deleted Volumes:", volumes.lines));
  const Pruned images = pruneImages(context, request);
  context.print(section("Deleted Images:", images.lines));
  const builder::PrunedCache cache = builder::pruneCache(context.store(), cachePrune);
  context.print(section(kCacheTitle, cache.removed));
  context.print(totalLine(containers.bytes + volumes.bytes + images.bytes + cache.bytes +
                          pruneStaging(context.store(), isDryRun)));
  return 0;
}

// One line of stdin; nullopt at its end.
std::optional<std::string> readAnswer() {
  std::string line;
  for (char c = 0; ::read(0, &c, 1) == 1;) {
    if (c == '\n') return line;
    line += c;
  }
  return line.empty() ? std::nullopt : std::optional{line};
}

}  // namespace

void confirmPrune(Context& context, std::string_view warning) {
  context.notice(fmt::format("WARNING! {}{}Are you sure you want to continue? [y/N] ", warning,
                             warning.ends_with('\n') ? "" : "\n"));
  const auto answer = readAnswer();
  if (!answer) {
    context.notice("\n");
    throw Error{Kind::failed, "refusing to prune without confirmation"}.hint("pass --force");
  }
  const std::string word = text::lower(text::trim(*answer));
  if (word != "y" && word != "yes") throw Error{Kind::failed, "nothing was removed"};
}

void addPruneCommands(CommandTable& table) {
  table.add({"image prune", Group::images, "Remove images without a name", runImagePrune});
  table.add({"builder prune", Group::build, "Remove the build cache that no image needs",
             runBuilderPrune});
  table.add({"prune,system prune", Group::system, "Remove what nobody uses", runSystemPrune});
}

}  // namespace img::cli
