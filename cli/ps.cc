// `img ps`: the table of containers, its filters and forms.
#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <map>
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
  std::optional<long long> last, watch;
  std::string format, sort;
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

// What --sort compares; the newest first without it, and among equals.
const std::map<std::string_view,
               std::string (*)(const store::Layout&, const store::ContainerRecord&)>&
sortKeys() {
  using L = const store::Layout&;
  using R = const store::ContainerRecord&;
  static const std::map<std::string_view, std::string (*)(L, R)> kKeys{
      {"command", [](L, R record) { return commandText(record.config.argv, true); }},
      {"created", [](L, R record) { return store::sortableTime(record.config.createdAt); }},
      {"id", [](L, R record) { return record.config.id; }},
      {"image", [](L, R record) { return record.config.imageName; }},
      {"names", [](L, R record) { return record.config.name; }},
      {"runningfor", [](L, R record) { return store::sortableTime(record.state.startedAt); }},
      {"size",
       [](L layout, R record) {
         return fmt::format("{:020}", containerSize(layout, record.config).own);
       }},
      {"status", [](L, R record) { return std::string{store::statusName(record.state.status)}; }}};
  return kKeys;
}

void sortRecords(const store::Layout& layout, const std::string& by,
                 std::vector<store::ContainerRecord>& records) {
  if (by.empty()) return;
  const auto key = sortKeys().at(by);
  std::vector<std::pair<std::string, store::ContainerRecord>> keyed;
  keyed.reserve(records.size());
  for (auto& record : records) keyed.emplace_back(key(layout, record), std::move(record));
  std::stable_sort(keyed.begin(), keyed.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  records.clear();
  for (auto& [unused, record] : keyed) records.push_back(std::move(record));
}

std::vector<store::ContainerRecord> select(const store::Containers& containers,
                                           const PsRequest& request) {
  const ContainerFilter filter = readContainerFilter(containers, request.filters);
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

void show(Context& context, const PsRequest& request) {
  const store::Layout& layout = context.store();
  recoverEverything(layout);  // nobody is told of a --rm container that is dead
  auto records = select(store::Containers{layout}, request);
  sortRecords(layout, request.sort, records);
  if (request.quiet) {
    std::string ids;
    for (const auto& record : records) {
      ids += (request.noTrunc ? record.config.id : record.config.id.substr(0, 12)) + "\n";
    }
    context.print(ids);
    return;
  }
  ListStyle style{request.format,
                  {"ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names"},
                  request.noHeading};
  if (request.size) style.columns.push_back("Size");
  std::vector<Json> rows;
  rows.reserve(records.size());
  for (const auto& record : records) rows.push_back(fieldsOf(layout, record, request));
  printList(context, containerFields(), style, rows);
}

void checkRequest(const PsRequest& request) {
  if (!request.sort.empty() && !sortKeys().contains(request.sort)) {
    std::vector<std::string> known;
    for (const auto& [name, unused] : sortKeys()) known.emplace_back(name);
    throw Error::make(Kind::usage, "--sort: unknown field {}", text::quote(request.sort))
        .hint("fields are " + text::join(known, ", "));
  }
  if (request.watch && *request.watch < 1) {
    throw Error{Kind::usage, "--watch: the time between two looks is at least a second"};
  }
}

int listContainers(Context& context, const std::vector<std::string>& args) {
  constexpr std::string_view kClear = "\x1b[H\x1b[2J";
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
      .text("--sort", request.sort, "FIELD",
            "command, created, id, image, names, runningfor, size or status")
      .number("-w,--watch", request.watch, "SECONDS", "Again and again, with this time between")
      .positionals(0, 0);
  if (!options.parse(args)) return 0;
  if (request.latest) request.last = 1;
  checkRequest(request);
  show(context, request);
  while (request.watch) {
    const timespec pause{*request.watch, 0};
    ::nanosleep(&pause, nullptr);
    if (::isatty(STDOUT_FILENO) != 0) context.print(kClear);
    show(context, request);
  }
  return 0;
}

}  // namespace

void addPsCommand(CommandTable& table) {
  table.add(
      {"ps,container ls,container ps,list", Group::containers, "List containers", listContainers});
}

}  // namespace img::cli
