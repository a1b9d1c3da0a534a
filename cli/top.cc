// `img top`: the processes of a container as the host sees them.
#include <algorithm>
#include <map>

#include "base/error.h"
#include "base/fs.h"
#include "base/sys.h"
#include "base/text.h"
#include "cli/container_commands.h"
#include "cli/container_control.h"
#include "cli/container_group.h"
#include "cli/options.h"
#include "cli/process_table.h"
#include "cli/table.h"
#include "store/containers.h"

namespace img::cli {
namespace {

std::string pidNamespaceOf(pid_t pid) {
  try {
    return sys::readlinkat(AT_FDCWD, fmt::format("/proc/{}/ns/pid", pid));
  } catch (const Error&) {
    return "";  // gone, or not ours to look at
  }
}

// Where there is no cgroup of ours: everybody in the pid namespace of the container's first
// process.
std::vector<pid_t> processesInNamespaceOf(pid_t first) {
  const std::string wanted = pidNamespaceOf(first);
  std::vector<pid_t> pids;
  for (const fs::Entry& entry : fs::list(sys::openDirectory(AT_FDCWD, "/proc").get())) {
    const auto pid = text::parseUnsigned(entry.name);
    if (pid && pidNamespaceOf(static_cast<pid_t>(*pid)) == wanted)
      pids.push_back(static_cast<pid_t>(*pid));
  }
  return pids;
}

std::vector<pid_t> processesOf(const store::ContainerRecord& record) {
  std::vector<pid_t> pids = groupOf(record).processes();
  if (pids.empty()) pids = processesInNamespaceOf(record.state.pid);
  std::sort(pids.begin(), pids.end());
  return pids;
}

// Numbers as the container's first process sees them; 0 for a parent outside.
void showInnerPids(std::vector<ProcessFacts>& processes, pid_t first) {
  const auto one = readProcess(first);
  const size_t depth = one ? one->pids.size() : 0;
  std::map<pid_t, pid_t> inner;
  for (const ProcessFacts& process : processes) {
    const bool isKnown = depth > 0 && process.pids.size() >= depth;
    inner[process.pid] = isKnown ? process.pids[depth - 1] : 0;
  }
  const auto innerOf = [&](pid_t pid) {
    const auto found = inner.find(pid);
    return found == inner.end() ? 0 : found->second;
  };
  for (ProcessFacts& process : processes) {
    process.ppid = innerOf(process.ppid);
    process.pid = innerOf(process.pid);
  }
}

int showProcesses(Context& context, const std::vector<std::string>& args) {
  bool containerPids = false;
  Options options{context, "CONTAINER [PS OPTIONS]", "Show the processes of a container"};
  options.flag("--container-pids", containerPids, "The container's own numbers of processes")
      .stopAtPositional()
      .positionals(1, kAnyNumber);
  if (!options.parse(args)) return 0;
  std::vector<std::string> psOptions{options.words().begin() + 1, options.words().end()};
  containerPids = std::erase(psOptions, "--container-pids") > 0 || containerPids;
  const std::vector<ProcessColumn> columns = parseColumns(psOptions);
  const store::ContainerRecord record =
      store::Containers{context.store()}.get(options.words().front());
  if (!openProcess(record.state)) {
    throw Error::make(Kind::failed, "container {} is not running", record.config.name);
  }
  std::vector<std::vector<std::string>> rows(1);
  for (const ProcessColumn& column : columns) rows[0].push_back(column.heading);
  const SystemFacts system = SystemFacts::read();
  std::vector<ProcessFacts> processes;
  for (const pid_t pid : processesOf(record)) {
    if (auto process = readProcess(pid)) processes.push_back(std::move(*process));
  }
  if (containerPids) showInnerPids(processes, record.state.pid);
  for (const ProcessFacts& process : processes) {
    std::vector<std::string>& row = rows.emplace_back();
    for (const ProcessColumn& column : columns) row.push_back(column.cell(process, system));
  }
  context.print(layoutTable(rows));
  return 0;
}

}  // namespace

void addTopCommand(CommandTable& table) {
  table.add(
      {"top,container top", Group::containers, "Show the processes of a container", showProcesses});
}

}  // namespace img::cli
