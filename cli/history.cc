// history: what each instruction of an image did, newest first. image tree: its layers, bottom
// first. image exists.

#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "base/text.h"
#include "cli/commands.h"
#include "cli/human.h"
#include "cli/image_facts.h"
#include "cli/lists.h"
#include "cli/options.h"
#include "cli/report.h"

namespace img::cli {
namespace {

constexpr size_t kCreatedByColumns = 45;
constexpr std::string_view kMissing = "<missing>";

struct Step {
  store::HistoryEntry entry;
  size_t layers = 0;       // of the image up to and with this step
  std::uint64_t size = 0;  // of its own layer
};

// Layers without a history entry (images of other tools) get an empty one.
std::vector<Step> stepsOf(const store::Layout& layout, const store::Image& image) {
  const std::vector<std::uint64_t> sizes = layerSizes(layout, image);
  std::vector<Step> steps;
  size_t layers = 0;
  for (const store::HistoryEntry& entry : image.config.history) {
    const bool hasLayer = !entry.emptyLayer && layers < sizes.size();
    const std::uint64_t size = hasLayer ? sizes[layers] : 0;
    layers += hasLayer ? 1 : 0;
    steps.push_back({entry, layers, size});
  }
  while (layers < sizes.size()) {
    const std::uint64_t size = sizes[layers++];
    steps.push_back({{}, layers, size});
  }
  return steps;
}

bool isSameEntry(const store::HistoryEntry& a, const store::HistoryEntry& b) {
  return a.created == b.created && a.createdBy == b.createdBy && a.emptyLayer == b.emptyLayer;
}

// Whether `base` is exactly the image after the first `count` steps.
bool isStateOf(const store::Image& base, const std::vector<Step>& steps, size_t count,
               const store::Image& image) {
  const auto& history = base.config.history;
  const auto& diffIds = base.config.diffIds;
  if (history.size() != count || diffIds.size() != steps[count - 1].layers) return false;
  for (size_t i = 0; i < count; ++i) {
    if (!isSameEntry(history[i], steps[i].entry)) return false;
  }
  return std::equal(diffIds.begin(), diffIds.end(), image.config.diffIds.begin());
}

std::vector<store::Image> otherImages(const store::Layout& layout, const store::Image& image) {
  const store::Images images{layout};
  std::vector<store::Image> others;
  for (const store::ImageRow& row : images.list()) {
    try {
      store::Image other = images.load(row.descriptor);
      if (other.id != image.id) others.push_back(std::move(other));
    } catch (const Error&) {
      // An image that cannot be read is the state of no step.
    }
  }
  return others;
}

std::string idOfState(const std::vector<Step>& steps, size_t count, const store::Image& image,
                      const std::vector<store::Image>& others, bool noTrunc) {
  const store::Image* found = count == steps.size() ? &image : nullptr;
  for (const store::Image& other : others) {
    if (found == nullptr && isStateOf(other, steps, count, image)) found = &other;
  }
  if (found == nullptr) return std::string{kMissing};
  return noTrunc ? found->id.str() : found->id.shortHex();
}

Json fieldsOf(const Step& step, std::string id, bool noTrunc, bool human) {
  std::string createdBy = step.entry.createdBy;
  for (char& c : createdBy) {
    if (c == '\t' || c == '\n') c = ' ';
  }
  const std::string& created = step.entry.created;
  return {{"ID", std::move(id)},
          {"CreatedAt", created.empty() ? "" : created},
          {"CreatedSince", formatCreated(created, nowSeconds())},
          {"CreatedBy", noTrunc ? createdBy : ellipsis(createdBy, kCreatedByColumns)},
          {"Size", human ? formatSize(step.size) : std::to_string(step.size)},
          {"Comment", step.entry.comment}};
}

int runHistory(Context& context, const std::vector<std::string>& args) {
  bool quiet = false;
  bool noTrunc = false;
  bool human = true;
  std::string format;
  Options options{context, "NAME", "Show the steps that made an image"};
  options.flag("-q,--quiet", quiet, "Print only ids")
      .flag("--no-trunc", noTrunc, "Full ids and commands")
      .flag("-H,--human", human, "Sizes and times for people (true)")
      .text("--format", format, "FORMAT", "table, json, a template, or table TEMPLATE")
      .positionals(1, 1);
  if (!options.parse(args)) return 0;

  const store::Layout& layout = context.store();
  const store::Image image = store::Images{layout}.get(options.words().front());
  const std::vector<Step> steps = stepsOf(layout, image);
  const std::vector<store::Image> others = otherImages(layout, image);
  std::vector<Json> rows;
  std::string ids;
  for (size_t count = steps.size(); count > 0; --count) {
    std::string id = idOfState(steps, count, image, others, noTrunc);
    ids += id + "\n";
    rows.push_back(fieldsOf(steps[count - 1], std::move(id), noTrunc, human));
  }
  if (quiet && format.empty()) {
    context.print(ids);
    return 0;
  }
  static const std::vector<ListField> kFields{{"ID", "IMAGE"},
                                              {"CreatedSince", "CREATED"},
                                              {"CreatedAt", "CREATED AT"},
                                              {"CreatedBy", "CREATED BY"},
                                              {"Size", "SIZE"},
                                              {"Comment", "COMMENT"}};
  const std::string_view created = human ? "CreatedSince" : "CreatedAt";
  printList(context, kFields, {format, {"ID", created, "CreatedBy", "Size", "Comment"}, false},
            rows);
  return 0;
}

// The instruction as one line: that of a layer of another tool may have any bytes.
std::string lineOf(const store::HistoryEntry& entry) {
  const std::string& text = entry.createdBy.empty() ? entry.comment : entry.createdBy;
  return printable(text::join(text::split(text, '\n'), " "));
}

int runTree(Context& context, const std::vector<std::string>& args) {
  bool noTrunc = false;
  Options options{context, "NAME", "Show the layers of an image and what made them"};
  options.flag("--no-trunc", noTrunc, "Full ids and commands").positionals(1, 1);
  if (!options.parse(args)) return 0;

  const store::Layout& layout = context.store();
  const store::Image image = store::Images{layout}.get(options.words().front());
  std::vector<std::string> names;
  for (const std::string& name : namesOf(layout, image)) names.push_back(familiarName(name));
  std::string out = noTrunc ? image.id.str() : image.id.shortHex();
  if (!names.empty()) out += "  " + text::join(names, ", ");
  out += fmt::format("  {}\n", formatSize(imageSize(layout, image)));
  const size_t last = image.config.diffIds.size();
  size_t below = 0;
  for (const Step& step : stepsOf(layout, image)) {
    if (step.layers == below) continue;  // a step without a layer
    const Digest& diffId = image.config.diffIds[below];
    below = step.layers;
    const std::string line = lineOf(step.entry);
    out += fmt::format("{}{}  {:>7}  {}\n", below == last ? "└── " : "├── ",
                       noTrunc ? diffId.str() : diffId.shortHex(), formatSize(step.size),
                       noTrunc ? line : ellipsis(line, kCreatedByColumns));
  }
  context.print(out);
  return 0;
}

int runExists(Context& context, const std::vector<std::string>& args) {
  Options options{context, "NAME", "Tell by the exit status whether an image is there: 0 or 1"};
  options.positionals(1, 1);
  if (!options.parse(args)) return 0;
  return store::Images{context.store()}.find(options.words().front()) ? 0 : 1;
}

}  // namespace

void addHistoryCommand(CommandTable& table) {
  table.add(
      {"history,image history", Group::images, "Show the steps that made an image", runHistory});
  table.add({"image tree", Group::images, "Show the layers of an image", runTree});
  table.add({"image exists", Group::images, "Tell whether an image is there", runExists});
}

}  // namespace img::cli
