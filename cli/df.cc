// system df (df): where the room of the store goes. The rows add up to what du says of the store.
#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "builder/failed_step.h"
#include "cli/commands.h"
#include "cli/container_facts.h"
#include "cli/human.h"
#include "cli/image_facts.h"
#include "cli/lists.h"
#include "cli/options.h"
#include "cli/table.h"
#include "cli/why.h"
#include "store/eviction.h"
#include "store/images.h"
#include "store/inventory.h"

namespace img::cli {
namespace {

constexpr int kDigits = 4;

std::string sizeText(std::uint64_t bytes) {
  return formatSize(bytes, kDigits);
}

// "800MB (66%)"
std::string reclaimableText(const store::InventoryRow& row) {
  const std::uint64_t percent = row.size.bytes == 0 ? 0 : row.reclaimable * 100 / row.size.bytes;
  return fmt::format("{} ({}%)", sizeText(row.reclaimable), percent);
}

Json rowOf(std::string_view type, const store::InventoryRow& row) {
  return {{"Type", type},
          {"TotalCount", std::to_string(row.total)},
          {"Active", std::to_string(row.active)},
          {"Size", sizeText(row.size.bytes)},
          {"SizeBytes", std::to_string(row.size.bytes)},
          {"Reclaimable", reclaimableText(row)}};
}

void printSummary(Context& context, const store::Inventory& inventory, const std::string& format) {
  static const std::vector<ListField> kFields{
      {"Type", "TYPE"}, {"TotalCount", "TOTAL"}, {"Active", "ACTIVE"},
      {"Size", "SIZE"}, {"SizeBytes", "BYTES"},  {"Reclaimable", "RECLAIMABLE"}};
  const std::vector<Json> rows{
      rowOf("Images", inventory.images),         rowOf("Containers", inventory.containers),
      rowOf("Local Volumes", inventory.volumes), rowOf("Build Cache", inventory.cache),
      rowOf("Cache Mounts", inventory.mounts),   rowOf("Failed Steps", inventory.failedSteps),
      rowOf("Staging", inventory.staging)};
  printList(context, kFields,
            {format, {"Type", "TotalCount", "Active", "Size", "Reclaimable"}, false}, rows);
}

using Cells = std::vector<std::vector<std::string>>;

std::string titled(std::string_view title, const Cells& cells) {
  return fmt::format("{}\n\n{}\n", title, layoutTable(cells));
}

std::string imageTable(Context& context, const store::Inventory& inventory) {
  const store::Images images{context.store()};
  Cells cells{{"REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE", "SHARED SIZE", "UNIQUE SIZE",
               "CONTAINERS"}};
  for (const store::ImageRow& row : images.list()) {
    const auto room = inventory.imageRooms.find(row.descriptor.digest);
    if (room == inventory.imageRooms.end()) continue;  // it has come meanwhile
    std::string id = row.descriptor.digest.shortHex();
    std::string created;
    try {
      const store::Image image = images.load(row.descriptor);
      id = image.id.shortHex();
      created = formatCreated(createdTime(context.store(), image), nowSeconds());
    } catch (const Error& error) {
      context.warn(error);
    }
    std::string repository = "<none>";
    std::string tag = "<none>";
    if (row.name) {
      const store::Reference name = store::Reference::parse(*row.name);
      repository = name.familiarRepository();
      if (!name.tag.empty()) tag = name.tag;
    }
    const store::ImageRoom& size = room->second;
    cells.push_back({repository, tag, id, created, sizeText(size.size.bytes),
                     sizeText(size.size.bytes - size.unique.bytes), sizeText(size.unique.bytes),
                     std::to_string(size.containers)});
  }
  return titled("Images space usage:", cells);
}

std::string containerTable(Context& context, const store::Inventory& inventory) {
  Cells cells{{"CONTAINER ID", "IMAGE", "COMMAND", "SIZE", "CREATED", "STATUS", "NAMES"}};
  const long long now = nowSeconds();
  for (const store::ContainerRecord& record : store::Containers{context.store()}.list()) {
    const auto& rooms = inventory.containerRooms;
    const auto room = std::find_if(rooms.begin(), rooms.end(), [&](const store::NamedRoom& r) {
      return r.name == record.config.id;
    });
    if (room == rooms.end()) continue;
    cells.push_back({record.config.id.substr(0, 12), record.config.imageName,
                     commandText(record.config.argv, false), sizeText(room->size.bytes),
                     formatCreated(record.config.createdAt, now), statusText(record.state, now),
                     record.config.name});
  }
  return titled("Containers space usage:", cells);
}

std::string volumeTable(const store::Inventory& inventory) {
  Cells cells{{"VOLUME NAME", "LINKS", "SIZE"}};
  for (const store::NamedRoom& room : inventory.volumeRooms)
    cells.push_back({room.name, std::to_string(room.users), sizeText(room.size.bytes)});
  return titled("Local Volumes space usage:", cells);
}

std::string cacheTable(Context& context, const store::Inventory& inventory) {
  Cells cells{{"CACHE ID", "STEP", "SIZE", "LAST USED", "SHARED"}};
  const long long now = nowSeconds();
  for (const store::CachedStep& step :
       store::listCachedSteps(context.store(), [](const auto&) { return true; })) {
    cells.push_back({step.key.substr(0, 12), ellipsis(step.instruction, 40),
                     sizeText(step.size.bytes), formatAge(now - step.lastUse) + " ago",
                     step.keepsOnly ? "false" : "true"});
  }
  for (const store::NamedRoom& room : inventory.mountRooms)
    cells.push_back({room.name.substr(0, 12), "cache mount", sizeText(room.size.bytes),
                     room.isActive ? "now" : "", "false"});
  return titled(fmt::format("Build cache usage: {}", sizeText(inventory.cache.size.bytes)), cells);
}

int runDf(Context& context, const std::vector<std::string>& args) {
  bool isVerbose = false;
  std::string format;
  Options options{context, "", "Show how much room images, containers and caches take"};
  options.flag("-v,--verbose", isVerbose, "Every image, container, volume and cached step")
      .text("--format", format, "FORMAT", "table, json, a template, or table TEMPLATE")
      .positionals(0, 0);
  if (!options.parse(args)) return 0;
  if (isVerbose && !format.empty()) throw Error{Kind::usage, "--format does not go with --verbose"};
  const store::Inventory inventory = store::takeInventory(
      context.store(),
      [](const store::ContainerConfig& config) { return builder::isFailedStep(config); });
  if (!isVerbose) {
    printSummary(context, inventory, format);
    return 0;
  }
  context.print(imageTable(context, inventory) + containerTable(context, inventory) +
                volumeTable(inventory) + cacheTable(context, inventory));
  return 0;
}

}  // namespace

void addDiskCommands(CommandTable& table) {
  table.add({"df,system df", Group::system, "Show what takes room in the store", runDf});
  addWhyCommand(table);
}

}  // namespace img::cli
