// volume create, ls, rm, and what inspect shows of a volume.
#include "store/volumes.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "cli/commands.h"
#include "cli/inspect.h"
#include "cli/lists.h"
#include "cli/options.h"
#include "cli/prune.h"
#include "cli/values.h"
#include "store/containers.h"
#include "store/usage.h"

namespace img::cli {
namespace {

constexpr char kDriver[] = "local";

// Names of the containers that mount the volume.
std::vector<std::string> usersOf(const std::vector<store::ContainerRecord>& containers,
                                 const std::string& volume) {
  std::vector<std::string> users;
  for (const store::ContainerRecord& record : containers) {
    const auto& mounts = record.config.mounts;
    if (std::any_of(mounts.begin(), mounts.end(), [&](const store::MountRecord& mount) {
          return mount.type == "volume" && mount.name == volume;
        })) {
      users.push_back(record.config.name);
    }
  }
  return users;
}

// What docker's local driver mounts; here it is a folder of the host or memory, which need no
// mount of ours that would outlive the command.
std::map<std::string, std::string> readDriverOptions(const std::vector<std::string>& texts) {
  std::map<std::string, std::string> options;
  for (const std::string& text : texts) {
    const auto [key, value] = splitAssignment(text);
    if (key != "type" && key != "device" && key != "o") {
      throw Error::make(Kind::usage, "unknown volume option {}", text::quote(text))
          .hint("the options are type, device and o");
    }
    options[key] = value;
  }
  if (options.empty() || options["type"] == "tmpfs") return options;
  const std::string& type = options["type"];
  const bool isFolder =
      (type == "none" || type == "bind" || type.empty()) && options["device"].starts_with('/');
  if (isFolder) return options;
  throw Error::make(Kind::unsupported, "volumes of type {} are not supported", text::quote(type))
      .hint("mount it on the host and use type=none, o=bind and device=DIR");
}

int runCreate(Context& context, const std::vector<std::string>& args) {
  std::string driver = kDriver;
  std::vector<std::string> labels;
  std::vector<std::string> driverOptions;
  bool ignoreExisting = false;
  Options options{context, "[NAME]", "Create a volume"};
  options.text("-d,--driver", driver, "DRIVER", "local is the only one")
      .list("-l,--label", labels, "KEY=VALUE", "Attach a label")
      .list("-o,--opt", driverOptions, "KEY=VALUE",
            "type=tmpfs,o=OPTIONS or type=none,o=bind,device=DIR")
      .flag("--ignore", ignoreExisting, "An existing name is no error (it never is)")
      .positionals(0, 1);
  if (!options.parse(args)) return 0;
  if (driver != kDriver) {
    throw Error::make(Kind::unsupported, "there is no volume driver {}", text::quote(driver))
        .hint("leave --driver out: local is the only one");
  }
  std::map<std::string, std::string> labelMap;
  for (const std::string& label : labels)
    labelMap.insert_or_assign(splitAssignment(label).first, splitAssignment(label).second);
  bool created = false;
  const std::string name = options.words().empty() ? "" : options.words().front();
  const store::Volumes volumes{context.store()};
  context.print(volumes.create(name, labelMap, created, readDriverOptions(driverOptions)).name +
                "\n");
  return 0;
}

struct Filters {
  std::optional<bool> dangling;
  std::vector<std::string> drivers, labels, names;
};

Filters readFilters(const std::vector<std::string>& texts) {
  Filters filters;
  for (const std::string& text : texts) {
    const auto [kind, value] = splitAssignment(text);
    if (kind == "dangling") {
      filters.dangling = parseBool(value, "--filter dangling");
    } else if (kind == "driver") {
      filters.drivers.push_back(value);
    } else if (kind == "label") {
      filters.labels.push_back(value);
    } else if (kind == "name") {
      filters.names.push_back(value);
    } else {
      throw Error::make(Kind::usage, "unknown filter {}", text::quote(text))
          .hint("filters are dangling, driver, label, name");
    }
  }
  return filters;
}

bool passes(const store::Volume& volume, const Filters& filters,
            const std::vector<store::ContainerRecord>& containers) {
  if (filters.dangling && *filters.dangling != usersOf(containers, volume.name).empty())
    return false;
  const auto any = [](const std::vector<std::string>& wanted, auto&& matches) {
    return wanted.empty() || std::any_of(wanted.begin(), wanted.end(), matches);
  };
  if (!any(filters.drivers, [](const std::string& driver) { return driver == kDriver; }))
    return false;
  if (!any(filters.names, [&](const std::string& name) {
        return volume.name.find(name) != std::string::npos;  // as docker: a part of it
      })) {
    return false;
  }
  return std::all_of(filters.labels.begin(), filters.labels.end(), [&](const std::string& wanted) {
    return matchesLabel(wanted, volume.labels);
  });
}

Json fieldsOf(const store::Volume& volume) {
  return {{"Availability", "N/A"},
          {"Driver", kDriver},
          {"Group", "N/A"},
          {"Labels", labelsText(volume.labels)},
          {"Links", "N/A"},
          {"Mountpoint", volume.mountpoint},
          {"Name", volume.name},
          {"Scope", "local"},
          {"Size", "N/A"},
          {"Status", "N/A"},
          {"Label", Json(volume.labels)}};
}

int runList(Context& context, const std::vector<std::string>& args) {
  bool quiet = false;
  std::string format;
  std::vector<std::string> filterTexts;
  Options options{context, "", "List volumes"};
  options.flag("-q,--quiet", quiet, "Print only names")
      .list("-f,--filter", filterTexts, "FILTER", "dangling, driver, label, name: KIND=VALUE")
      .text("--format", format, "FORMAT", "table, json, a template, or table TEMPLATE")
      .positionals(0, 0);
  if (!options.parse(args)) return 0;

  const Filters filters = readFilters(filterTexts);
  const std::vector<store::ContainerRecord> containers = store::Containers{context.store()}.list();
  std::vector<store::Volume> volumes = store::Volumes{context.store()}.list();
  std::erase_if(volumes, [&](const store::Volume& v) { return !passes(v, filters, containers); });
  std::sort(volumes.begin(), volumes.end(),
            [](const store::Volume& a, const store::Volume& b) { return a.name < b.name; });
  std::vector<Json> rows;
  std::string names;
  for (const store::Volume& volume : volumes) {
    rows.push_back(fieldsOf(volume));
    names += volume.name + "\n";
  }
  if (quiet && format.empty()) {
    context.print(names);
    return 0;
  }
  static const std::vector<ListField> kFields{{"Driver", "DRIVER"},         {"Name", "VOLUME NAME"},
                                              {"Labels", "LABELS"},         {"Scope", "SCOPE"},
                                              {"Mountpoint", "MOUNTPOINT"}, {"Size", "SIZE"}};
  printList(context, kFields, {format, {"Driver", "Name"}, false}, rows);
  return 0;
}

void removeVolume(const store::Layout& layout, const std::string& name, bool force) {
  const store::Volumes volumes{layout};
  if (!volumes.find(name)) {
    if (force) return;
    throw Error::make(Kind::notFound, "no such volume: {}", text::escape(name)).code("not-found");
  }
  const auto users = usersOf(store::Containers{layout}.list(), name);
  if (!users.empty()) {  // also with --force: the container would lose its files
    throw Error::make(Kind::busy, "volume {} is in use", text::escape(name))
        .code("volume-in-use")
        .why("it is mounted by " + text::join(users, ", "))
        .hint("remove the container first: img rm " + users.front());
  }
  volumes.remove(name);
}

int runRemove(Context& context, const std::vector<std::string>& args) {
  bool force = false;
  Options options{context, "NAME...", "Remove volumes"};
  options.flag("-f,--force", force, "A missing volume is no error").positionals(1, kAnyNumber);
  if (!options.parse(args)) return 0;
  for (const std::string& name : options.words()) {
    try {
      removeVolume(context.store(), name, force);
      context.print(name + "\n");
    } catch (const Error& error) {
      context.fail(error);
    }
  }
  return context.status();
}

// docker's rule: what nobody uses and nobody has named; with --all the named ones too.
int runPrune(Context& context, const std::vector<std::string>& args) {
  bool force = false;
  bool all = false;
  bool dryRun = false;
  std::vector<std::string> filterTexts;
  Options options{context, "", "Remove volumes that no container uses"};
  options.flag("-f,--force", force, "Do not ask")
      .flag("-a,--all", all, "Those with a name, too")
      .list("--filter", filterTexts, "FILTER", "Only those with label=KEY[=VALUE] or name=NAME")
      .flag("--dry-run", dryRun, "Only show what would go")
      .positionals(0, 0);
  if (!options.parse(args)) return 0;
  if (!force && !dryRun) {
    confirmPrune(context, all ? "This will remove all volumes that no container uses."
                              : "This will remove anonymous volumes that no container uses.");
  }
  for (const std::string& name : pruneUnusedVolumes(context, filterTexts, all, dryRun).lines)
    context.print(name + "\n");
  return 0;
}

}  // namespace

Pruned pruneUnusedVolumes(Context& context, const std::vector<std::string>& filterTexts, bool all,
                          bool isDryRun) {
  const store::Layout& layout = context.store();
  const Filters filters = readFilters(filterTexts);
  const std::vector<store::ContainerRecord> containers = store::Containers{layout}.list();
  Pruned pruned;
  for (const store::Volume& volume : store::Volumes{layout}.list()) {
    const bool isCandidate = all || volume.anonymous;
    if (!isCandidate || !passes(volume, filters, containers)) continue;
    if (!usersOf(containers, volume.name).empty()) continue;
    pruned.bytes += store::diskUsage(layout.fd(), "volumes/" + volume.name).bytes;
    if (!isDryRun) store::Volumes{layout}.remove(volume.name);
    pruned.lines.push_back(volume.name);
  }
  return pruned;
}

std::optional<Json> inspectVolume(Context& context, const std::string& name, bool /*withSize*/) {
  const auto volume = store::Volumes{context.store()}.find(name);
  if (!volume) return std::nullopt;
  return Json{{"CreatedAt", volume->createdAt},
              {"Driver", kDriver},
              {"Labels", volume->labels.empty() ? Json() : Json(volume->labels)},
              {"Mountpoint", volume->mountpoint},
              {"Name", volume->name},
              {"Options", volume->options.empty() ? Json() : Json(volume->options)},
              {"Scope", "local"}};
}

void addVolumeCommands(CommandTable& table) {
  table.add({"volume create", Group::volumes, "Create a volume", runCreate});
  table.add({"volume ls,volume list", Group::volumes, "List volumes", runList});
  table.add({"volume prune", Group::volumes, "Remove volumes that no container uses", runPrune});
  table.add({"volume rm,volume remove", Group::volumes, "Remove volumes", runRemove});
}

}  // namespace img::cli
