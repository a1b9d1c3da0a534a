// `img ps`: the table of containers, its filters and forms.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/text.h"
#include "cli/container_commands.h"
#include "cli/container_control.h"
#include "cli/container_facts.h"
#include "cli/container_ports.h"
#include "cli/container_size.h"
#include "cli/human.h"
#include "cli/lists.h"
#include "cli/network_options.h"
#include "cli/options.h"
#include "store/containers.h"

namespace img::cli {
namespace {

struct PsRequest {
  bool all = false, quiet = false, latest = false, noTrunc = false, size = false, noHeading = false;
  std::optional<long long> last;
  std::string format;
  std::vector<std::string> filters;
};

const std::vector<ListField>& containerFields() {
  static const std::vector<ListField> kFields{
      {"ID", "CONTAINER ID"},      {"Image", "IMAGE"},
      {"Command", "COMMAND"},      {"RunningFor", "CREATED"},
      {"CreatedAt", "CREATED AT"}, {"Status", "STATUS"},
      {"State", "STATE"},          {"Ports", "PORTS"},
      {"Names", "NAMES"},          {"Size", "SIZE"},
      {"Labels", "LABELS"},        {"Mounts", "MOUNTS"},
      {"Networks", "NETWORKS"},    {"LocalVolumes", "LOCAL VOLUMES"},
      {"HealthStatus", "HEALTH"},  {"Platform", "PLATFORM"}};
  return kFields;
}

std::string mountsText(const std::vector<store::MountRecord>& mounts, bool noTrunc) {
  std::vector<std::string> parts;
  for (const store::MountRecord& mount : mounts) {
    if (mount.type == "tmpfs") continue;
    const std::string& name = mount.type == "volume" ? mount.name : mount.source;
    parts.push_back(noTrunc ? name : ellipsis(name, 15));
  }
  return text::join(parts, ",");
}

std::string sizeText(const store::Layout& layout, const store::ContainerConfig& config) {
  const ContainerSize size = containerSize(layout, config);
  return fmt::format("{} (virtual {})", formatSize(size.own), formatSize(size.own + size.image));
}

Json fieldsOf(const store::Layout& layout, const store::ContainerRecord& record,
              const PsRequest& request) {
  const store::ContainerConfig& config = record.config;
  const auto volumes =
      std::count_if(config.mounts.begin(), config.mounts.end(),
                    [](const store::MountRecord& mount) { return mount.type == "volume"; });
  const bool wantsSize = request.size || request.format.find(".Size") != std::string::npos;
  return {{"ID", request.noTrunc ? config.id : config.id.substr(0, 12)},
          {"Image", config.imageName},
          {"Command", commandText(config.argv, request.noTrunc)},
          {"CreatedAt", formatLocalTime(config.createdAt)},
          {"RunningFor", formatCreated(config.createdAt, nowSeconds())},
          {"Status", statusText(record.state, nowSeconds())},
          {"State", std::string{store::statusName(record.state.status)}},
          {"Ports", portsText(record)},
          {"Names", config.name},
          {"Size", wantsSize ? sizeText(layout, config) : "0B"},
          {"Labels", labelsText(config.labels)},
          {"Mounts", mountsText(config.mounts, request.noTrunc)},
          {"Networks", networkName(config)},
          {"LocalVolumes", std::to_string(volumes)},
          {"HealthStatus", record.state.healthStatus},
          {"Platform", "linux"},
          {"Label", Json(config.labels)}};
}

ContainerFilter readFilters(const store::Containers& containers,
                            const std::vector<std::string>& texts) {
  ContainerFilter filter;
  for (const std::string& text : texts) filter.add(text);
  for (const char* kind : {"before", "since"}) {
    std::vector<std::string> times;
    for (const std::string& name : filter.wanted(kind)) {
      times.push_back(store::sortableTime(containers.get(name).config.createdAt));
    }
    if (!times.empty()) filter.resolve(kind, std::move(times));
  }
  return filter;
}

std::vector<store::ContainerRecord> select(const store::Containers& containers,
                                           const PsRequest& request) {
  const ContainerFilter filter = readFilters(containers, request.filters);
  // A filter by state, or a number of newest ones, speaks about all of them (docker).
  const bool all = request.all || request.last || filter.hasStatus();
  std::vector<store::ContainerRecord> records = containers.list();
  std::erase_if(records, [&](const store::ContainerRecord& record) {
    return (!all && !record.state.isAlive()) || !filter.passes(record);
  });
  if (request.last && *request.last >= 0 && records.size() > static_cast<size_t>(*request.last)) {
    records.resize(static_cast<size_t>(*request.last));
  }
  return records;
}

int listContainers(Context& context, const std::vector<std::string>& args) {
  PsRequest request;
  Options options{context, "", "List containers"};
  options.flag("-a,--all", request.all, "Those that do not run, too")
      .flag("-q,--quiet", request.quiet, "Print only ids")
      .flag("-l,--latest", request.latest, "The newest one, whatever its state")
      .number("-n,--last", request.last, "NUMBER", "The newest ones, whatever their state")
      .flag("--no-trunc", request.noTrunc, "Full ids and commands")
      .flag("-s,--size", request.size, "Show sizes")
      .list("-f,--filter", request.filters, "KIND=VALUE", "Only those that match")
      .text("--format", request.format, "FORMAT", "table, json or a template")
      .flag("--noheading", request.noHeading, "No heading")
      .positionals(0, 0);
  if (!options.parse(args)) return 0;
  if (request.latest) request.last = 1;
  const store::Layout& layout = context.store();
  recoverContainers(layout);  // nobody is told of a --rm container that is dead
  const auto records = select(store::Containers{layout}, request);
  if (request.quiet) {
    std::string ids;
    for (const auto& record : records) {
      ids += (request.noTrunc ? record.config.id : record.config.id.substr(0, 12)) + "\n";
    }
    context.print(ids);
    return 0;
  }
  ListStyle style{request.format,
                  {"ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names"},
                  request.noHeading};
  if (request.size) style.columns.push_back("Size");
  std::vector<Json> rows;
  rows.reserve(records.size());
  for (const auto& record : records) rows.push_back(fieldsOf(layout, record, request));
  printList(context, containerFields(), style, rows);
  return 0;
}

}  // namespace

void addPsCommand(CommandTable& table) {
  table.add(
      {"ps,container ls,container ps,list", Group::containers, "List containers", listContainers});
}

}  // namespace img::cli
