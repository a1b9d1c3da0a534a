// why OBJECT: every chain of references that keeps a blob, a layer, an image, a step of the build
// cache or a volume, and when it would go.
#include "cli/why.h"

#include <fmt/core.h>

#include <algorithm>
#include <set>

#include "base/sys.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/human.h"
#include "cli/image_facts.h"
#include "cli/options.h"
#include "store/compressed_forms.h"
#include "store/containers.h"
#include "store/images.h"
#include "store/lease.h"
#include "store/references.h"
#include "store/volumes.h"

namespace img::cli {
namespace {

constexpr std::string_view kArrow = " → ";

// What the argument may mean.
struct Object {
  std::string kind;              // blob, layer, step, volume
  std::optional<Digest> digest;  // of a blob, or a layer's diff ID
  std::string name;              // a step's key, a volume's name
};

std::vector<Digest> digestsIn(int folder, std::string_view prefix) {
  std::vector<Digest> found;
  for (const fs::Entry& entry : fs::list(folder)) {
    if (!entry.name.starts_with(prefix)) continue;
    if (const auto digest = Digest::tryParseHex(entry.name)) found.push_back(*digest);
  }
  return found;
}

class Chains {
 public:
  explicit Chains(const store::Layout& layout)
      : layout_(layout), documents_(layout), roots_(layout) {
    roots_.refresh();
  }

  [[nodiscard]] std::vector<Object> objectsMeantBy(const std::string& argument) const;
  // One line for each way in which it is kept.
  std::vector<std::string> of(const Object& object);
  // When it goes, for something that nothing keeps or only the cache does.
  [[nodiscard]] std::string end(const Object& object, const std::vector<std::string>& chains) const;

 private:
  using Path = std::vector<std::string>;
  void follow(const Digest& document, const Digest& wanted, Path path);
  void add(Path path, const std::string& last);
  void ofImages(const Digest& wanted);
  void ofContainers(const Digest& wanted);
  void ofSteps(const Digest& wanted);
  void ofLeases(const Digest& wanted);

  const store::Layout& layout_;
  store::Documents documents_;
  store::Roots roots_;
  std::vector<std::string> chains_;
  std::set<Digest> seen_;
};

std::vector<Object> Chains::objectsMeantBy(const std::string& argument) const {
  std::vector<Object> found;
  const bool isHex = argument.find_first_not_of("0123456789abcdef") == std::string::npos;
  const std::string hex = argument.starts_with("sha256:") ? argument.substr(7) : argument;
  if (argument.starts_with("sha256:") || (isHex && argument.size() >= 4)) {
    for (const Digest& digest : digestsIn(layout_.blobs(), hex))
      found.push_back({"blob", digest, {}});
    for (const Digest& digest : digestsIn(layout_.layers(), hex))
      found.push_back({"layer", digest, {}});
    for (const auto& [key, step] : roots_.steps()) {
      if (key.starts_with(hex)) found.push_back({"step", {}, key});
    }
  }
  if (store::Volumes{layout_}.find(argument)) found.push_back({"volume", {}, argument});
  if (!found.empty()) return found;
  if (const auto image = store::Images{layout_}.find(argument))
    found.push_back({"blob", image->manifestDescriptor.digest, {}});
  return found;
}

void Chains::add(Path path, const std::string& last) {
  path.push_back(last);
  chains_.push_back(text::join(path, kArrow));
}

void Chains::follow(const Digest& document, const Digest& wanted, Path path) {
  if (!seen_.insert(document).second) return;
  if (document == wanted) add(path, "document " + document.shortHex());
  const store::Targets* known = documents_.tryFind(document);
  if (known == nullptr) return;
  const store::Targets targets = *known;  // the table of documents may move while we go on
  path.push_back("document " + document.shortHex());
  for (const Digest& layer : targets.layers) {
    if (layer == wanted) add(path, "layer " + wanted.shortHex());
  }
  for (const Digest& diffId : targets.diffIds) {
    if (diffId == wanted) add(path, "unpacked layer " + wanted.shortHex());
  }
  for (const Digest& next : targets.documents) follow(next, wanted, path);
}

void Chains::ofImages(const Digest& wanted) {
  for (const store::ImageRow& row : store::Images{layout_}.list()) {
    seen_.clear();
    follow(row.descriptor.digest, wanted,
           {row.name ? "image " + familiarName(*row.name) : "image without a name"});
  }
}

void Chains::ofContainers(const Digest& wanted) {
  for (const store::ContainerRecord& record : store::Containers{layout_}.list()) {
    const auto& diffIds = record.config.diffIds;
    const bool isLayer = std::find(diffIds.begin(), diffIds.end(), wanted) != diffIds.end();
    if (isLayer) add({"container " + record.config.name}, "layer " + wanted.shortHex());
  }
}

void Chains::ofSteps(const Digest& wanted) {
  for (const auto& [key, step] : roots_.steps()) {
    if (step.blob != wanted && step.diffId != wanted) continue;
    add({fmt::format("cached step {} ({}, last used {} ago)", key.substr(0, 12),
                     text::escape(ellipsis(step.instruction, 60)),
                     text::lower(formatAge(nowSeconds() - step.lastUse)))},
        "layer " + wanted.shortHex());
  }
  for (const auto& [diffId, blob] : store::compressedForms(layout_)) {
    if (blob == wanted)
      add({"layer " + diffId.shortHex()}, "its compressed form " + wanted.shortHex());
  }
}

void Chains::ofLeases(const Digest& wanted) {
  if (store::readLeases(layout_).contains(wanted))
    chains_.push_back("a running command has found or made it");
}

std::vector<std::string> Chains::of(const Object& object) {
  chains_.clear();
  if (object.digest) {
    ofImages(*object.digest);
    ofContainers(*object.digest);
    ofSteps(*object.digest);
    ofLeases(*object.digest);
  } else if (object.kind == "volume") {
    for (const store::ContainerRecord& record : store::Containers{layout_}.list()) {
      for (const store::MountRecord& mount : record.config.mounts) {
        if (mount.type == "volume" && mount.name == object.name)
          chains_.push_back(
              fmt::format("container {}{}{}", record.config.name, kArrow, mount.destination));
      }
    }
  }
  return chains_;
}

std::string Chains::end(const Object& object, const std::vector<std::string>& chains) const {
  if (object.kind == "step") {
    const auto& step = roots_.steps().at(object.name);
    return fmt::format(
        "of the build cache, last used {} ago: goes with 'img builder prune -a', or "
        "when room is needed",
        text::lower(formatAge(nowSeconds() - step.lastUse)));
  }
  if (object.kind == "volume") {
    const auto volume = store::Volumes{layout_}.find(object.name);
    if (!chains.empty()) return "stays as long as one of them does";
    return volume && volume->anonymous ? "goes with 'img volume prune'"
                                       : "stays until 'img volume rm' or 'img volume prune -a'";
  }
  if (chains.empty()) return "nothing needs it: goes with the next 'img rmi' or 'img prune'";
  const bool isOnlyCached = std::all_of(chains.begin(), chains.end(), [](const std::string& chain) {
    return chain.starts_with("cached step");
  });
  return isOnlyCached ? "goes with 'img builder prune', or when room is needed"
                      : "stays as long as one of them does";
}

int runWhy(Context& context, const std::vector<std::string>& args) {
  Options options{context, "OBJECT...",
                  "Show what keeps a blob, layer, image, cached step or volume"};
  options.positionals(1, kAnyNumber);
  if (!options.parse(args)) return 0;
  Chains chains{context.store()};
  for (const std::string& argument : options.words()) {
    const std::vector<Object> objects = chains.objectsMeantBy(argument);
    if (objects.empty()) {
      context.fail(
          Error::make(Kind::notFound, "nothing in the store is called {}", text::quote(argument))
              .code("not-found"));
      continue;
    }
    for (const Object& object : objects) {
      const std::vector<std::string> found = chains.of(object);
      std::string out =
          fmt::format("{} {}\n", object.kind, object.digest ? object.digest->str() : object.name);
      for (const std::string& chain : found) out += "  " + chain + "\n";
      context.print(out + "  " + chains.end(object, found) + "\n");
    }
  }
  return context.status();
}

}  // namespace

void addWhyCommand(CommandTable& table) {
  table.add({"why", Group::system, "Show what keeps an object of the store", runWhy});
}

}  // namespace img::cli
