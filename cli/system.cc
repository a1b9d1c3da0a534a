// version and info: facts about this program, the kernel it runs on and the store.
#include <fmt/core.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <CLI/Version.hpp>
#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "base/fs.h"
#include "base/sys.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/human.h"
#include "cli/options.h"
#include "cli/rootless.h"
#include "cli/template.h"
#include "distribution/credentials.h"
#include "distribution/registries_conf.h"
#include "store/containers.h"
#include "store/images.h"
#include "store/layer_view.h"

namespace img::cli {
namespace {

// Facts in the order of the text form; names are the keys of JSON and templates, without blanks.
using Facts = std::vector<std::pair<std::string, Json>>;

void printFacts(Context& context, const Facts& facts, const std::string& format) {
  Json object = Json::object();
  std::string out;
  for (const auto& [label, value] : facts) {
    std::string key;
    for (const char c : label) {
      if (c != ' ' && c != '/') key += c;
    }
    object[key] = value;
    const std::string text = value.is_array()
                                 ? text::join(value.get<std::vector<std::string>>(), " ")
                             : value.is_string() ? value.get<std::string>()
                                                 : value.dump();
    out += fmt::format("{}: {}\n", label, text);
  }
  if (format == "json") {
    out = dumpJson(object) + "\n";
  } else if (!format.empty()) {
    out = Template{format}.run(object) + "\n";
  }
  context.print(out);
}

std::string platformName() {
  const store::Platform host = store::Platform::host();
  return host.os + "/" + host.architecture + (host.variant.empty() ? "" : "/" + host.variant);
}

int runVersion(Context& context, const std::vector<std::string>& args) {
  std::string format;
  Options options{context, "", "Show the version of this program"};
  options.text("-f,--format", format, "FORMAT", "json or a template").positionals(0, 0);
  if (!options.parse(args)) return 0;
  const std::vector<std::string> libraries{
      fmt::format("fmt-{}.{}.{}", FMT_VERSION / 10000, FMT_VERSION / 100 % 100, FMT_VERSION % 100),
      fmt::format("nlohmann_json-{}.{}.{}", NLOHMANN_JSON_VERSION_MAJOR,
                  NLOHMANN_JSON_VERSION_MINOR, NLOHMANN_JSON_VERSION_PATCH),
      fmt::format("CLI11-{}", CLI11_VERSION)};
  printFacts(context,
             {{"Version", IMG_VERSION},
              {"OS/Arch", platformName()},
              {"Compiler", "g++ " __VERSION__},
              {"Libraries", libraries}},
             format);
  return 0;
}

// statfs(2), f_type; those a store is likely to lie on.
std::string fileSystemName(int fd) {
  struct statfs status {};
  sys::check([&] { return ::fstatfs(fd, &status); }, "examine the file system of the store");
  static constexpr std::array<std::pair<long, std::string_view>, 7> kNames{
      {{0xEF53, "ext4"},
       {0x58465342, "xfs"},
       {0x9123683E, "btrfs"},
       {0x01021994, "tmpfs"},
       {0x794C7630, "overlayfs"},
       {0x2FC12FC1, "zfs"},
       {0x6969, "nfs"}}};
  for (const auto& [magic, name] : kNames) {
    if (static_cast<long>(status.f_type) == magic) return std::string{name};
  }
  return fmt::format("0x{:x}", static_cast<unsigned long>(status.f_type));
}

// cgroups(7): the unified hierarchy shows its controllers in a file of its root.
Facts cgroupFacts() {
  const auto controllers = fs::tryReadFile(AT_FDCWD, "/sys/fs/cgroup/cgroup.controllers");
  if (controllers) {
    return {{"Cgroup Version", "2"},
            {"Cgroup Controllers", text::split(text::trim(*controllers), ' ')}};
  }
  std::vector<std::string> names;
  const auto table = fs::tryReadFile(AT_FDCWD, "/proc/cgroups");
  for (const std::string& line : text::split(table.value_or(""), '\n')) {
    if (line.empty() || line.starts_with('#')) continue;
    names.push_back(line.substr(0, line.find('\t')));
  }
  return {{"Cgroup Version", names.empty() ? "none" : "1"}, {"Cgroup Controllers", names}};
}

Facts storeFacts(const store::Layout& layout) {
  const std::vector<store::ContainerRecord> containers = store::Containers{layout}.list();
  const auto running = std::count_if(containers.begin(), containers.end(),
                                     [](const auto& record) { return record.state.isAlive(); });
  const store::LayerViewChoice view = store::chooseLayerView(layout);
  return {{"Store", layout.root()},
          {"File System", fileSystemName(layout.fd())},
          {"Layer View", fmt::format("{} ({})", store::layerViewName(view.view), view.why)},
          {"Images", store::Images{layout}.list().size()},
          {"Containers", containers.size()},
          {"Containers Running", running}};
}

// After the store was opened: what it took to get the rights.
Facts privilegeFacts(Context& context) {
  const std::string method = isolationName();
  Facts facts{{"Privileges", method}, {"Run Root", context.runRoot()}};
  if (method == "root") return facts;
  facts.emplace_back("User IDs", runtime::contiguousIds(runtime::currentUidMap()));
  facts.emplace_back("Group IDs", runtime::contiguousIds(runtime::currentGidMap()));
  return facts;
}

// What registries.conf says, one text a table; without any, images come from where their names say.
Json registriesFact() try {
  std::vector<std::string> texts;
  for (const distribution::RegistryRule& rule : distribution::readRegistriesConf()) {
    std::vector<std::string> facts;
    if (rule.isBlocked) facts.emplace_back("blocked");
    if (rule.location != rule.prefix && !rule.location.empty())
      facts.push_back("at " + rule.location);
    for (const distribution::MirrorRule& mirror : rule.mirrors)
      facts.push_back("mirror " + mirror.location);
    facts.push_back(rule.origin);
    texts.push_back(text::escape(fmt::format("{} ({})", rule.prefix, text::join(facts, ", "))));
  }
  return texts;
} catch (const Error& error) {
  return Json::array({"unusable: " + text::escape(error.what())});
}

Facts registryFacts() {
  Facts facts{{"Registries", registriesFact()}};
  try {
    facts.emplace_back("Credentials File", distribution::loginFile({}));
  } catch (const Error& error) {
    facts.emplace_back("Credentials File", std::string{error.what()});
  }
  return facts;
}

int runInfo(Context& context, const std::vector<std::string>& args) {
  std::string format;
  Options options{context, "", "Show facts about this machine and the store"};
  options.text("-f,--format", format, "FORMAT", "json or a template").positionals(0, 0);
  if (!options.parse(args)) return 0;

  struct utsname kernel {};
  sys::check([&] { return ::uname(&kernel); }, "ask for the kernel's name");
  struct sysinfo memory {};
  sys::check([&] { return ::sysinfo(&memory); }, "ask for the size of the memory");
  Facts facts{{"Version", IMG_VERSION},
              {"OS/Arch", platformName()},
              {"Kernel Version", std::string{kernel.release}},
              {"CPUs", sysconf(_SC_NPROCESSORS_ONLN)},
              {"Total Memory", formatSize(std::uint64_t{memory.totalram} * memory.mem_unit, 4)}};
  for (auto& fact : storeFacts(context.store())) facts.push_back(std::move(fact));
  for (auto& fact : privilegeFacts(context)) facts.push_back(std::move(fact));
  for (auto& fact : registryFacts()) facts.push_back(std::move(fact));
  for (auto& fact : cgroupFacts()) facts.push_back(std::move(fact));
  printFacts(context, facts, format);
  return 0;
}

}  // namespace

void addSystemCommands(CommandTable& table) {
  table.add(
      {"info,system info", Group::system, "Show facts about this machine and the store", runInfo});
  table.add({"version", Group::system, "Show the version of this program", runVersion});
  addDoctorCommand(table);
}

}  // namespace img::cli
