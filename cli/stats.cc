// `img stats`: what running containers use, again and again or once. Docker's columns.
#include <fcntl.h>

#include <chrono>
#include <ctime>
#include <map>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/error.h"
#include "base/fs.h"
#include "base/text.h"
#include "cli/container_commands.h"
#include "cli/container_control.h"
#include "cli/container_group.h"
#include "cli/human.h"
#include "cli/lists.h"
#include "cli/options.h"
#include "runtime/cgroup_usage.h"
#include "store/containers.h"

namespace img::cli {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Clock = std::chrono::steady_clock;

// Long enough for the 100 ms in which a quota is counted to even out.
constexpr auto kFirstInterval = milliseconds{500};
constexpr auto kInterval = seconds{1};

struct StatsRequest {
  bool all = false, once = false, noTrunc = false;
  std::string format;
  std::vector<std::string> names;
};

struct Sample {
  Clock::time_point time;
  runtime::Usage usage;
  std::uint64_t received = 0, sent = 0;
};
using Samples = std::map<std::string, Sample>;  // by container id

const std::vector<ListField>& statsFields() {
  static const std::vector<ListField> kFields{
      {"ID", "CONTAINER ID"}, {"Container", "CONTAINER"},        {"Name", "NAME"},
      {"CPUPerc", "CPU %"},   {"MemUsage", "MEM USAGE / LIMIT"}, {"MemPerc", "MEM %"},
      {"NetIO", "NET I/O"},   {"BlockIO", "BLOCK I/O"},          {"PIDs", "PIDS"}};
  return kFields;
}

// Lines "eth0: received ... sent ..." (proc_pid_net(5)); loopback goes nowhere.
void readNetwork(const store::ContainerRecord& record, Sample& sample) {
  if (record.config.network == "host") return;
  const auto table = fs::tryReadFile(AT_FDCWD, fmt::format("/proc/{}/net/dev", record.state.pid));
  for (const std::string& line : text::split(table.value_or(""), '\n')) {
    const size_t colon = line.find(':');
    if (colon == std::string::npos) continue;
    if (text::trim(std::string_view{line}.substr(0, colon)) == "lo") continue;
    std::vector<std::string> words = text::split(line.substr(colon + 1), ' ');
    std::erase(words, "");
    if (words.size() < 9) continue;
    sample.received += text::parseUnsigned(words[0]).value_or(0);
    sample.sent += text::parseUnsigned(words[8]).value_or(0);
  }
}

std::optional<Sample> takeSample(const store::ContainerRecord& record) {
  if (!openProcess(record.state)) return std::nullopt;
  Sample sample;
  const runtime::Cgroup group = groupOf(record);
  sample.time = Clock::now();
  sample.usage = group.folders.empty() ? runtime::readUsage(std::vector<pid_t>{record.state.pid})
                                       : runtime::readUsage(group);
  readNetwork(record, sample);
  return sample;
}

std::uint64_t hostMemory() {
  const std::string text = fs::tryReadFile(AT_FDCWD, "/proc/meminfo").value_or("");
  const size_t at = text.find("MemTotal:");
  if (at == std::string::npos) return 0;
  std::string_view rest = text::trim(std::string_view{text}.substr(at + 9));
  return text::parseUnsigned(rest.substr(0, rest.find(' '))).value_or(0) * 1024;
}

double cpuPercent(const Sample& before, const Sample& now) {
  const auto wall = std::chrono::duration<double, std::nano>(now.time - before.time).count();
  const bool isCounted = now.usage.cpuNanoseconds > before.usage.cpuNanoseconds;
  if (wall <= 0 || !isCounted) return 0;
  return static_cast<double>(now.usage.cpuNanoseconds - before.usage.cpuNanoseconds) / wall * 100;
}

Json fieldsOf(const store::ContainerRecord& record, const Sample* before, const Sample* now,
              bool noTrunc) {
  const std::string id = noTrunc ? record.config.id : record.config.id.substr(0, 12);
  Json fields = {{"ID", id}, {"Container", id}, {"Name", record.config.name}};
  if (now == nullptr) {
    const Json nothing = {{"CPUPerc", "0.00%"}, {"MemUsage", "0B / 0B"}, {"MemPerc", "0.00%"},
                          {"NetIO", "0B / 0B"}, {"BlockIO", "0B / 0B"},  {"PIDs", "0"}};
    fields.update(nothing);
    return fields;
  }
  const runtime::Usage& usage = now->usage;
  static const std::uint64_t kHostMemory = hostMemory();
  const std::uint64_t limit = std::min(usage.memoryLimit.value_or(kHostMemory), kHostMemory);
  const double share =
      limit == 0 ? 0 : static_cast<double>(usage.memory) / static_cast<double>(limit) * 100;
  fields["CPUPerc"] = fmt::format("{:.2f}%", before == nullptr ? 0 : cpuPercent(*before, *now));
  fields["MemUsage"] =
      fmt::format("{} / {}", formatBinarySize(usage.memory), formatBinarySize(limit));
  fields["MemPerc"] = fmt::format("{:.2f}%", share);
  fields["NetIO"] = fmt::format("{} / {}", formatSize(now->received), formatSize(now->sent));
  fields["BlockIO"] =
      fmt::format("{} / {}", formatSize(usage.bytesRead), formatSize(usage.bytesWritten));
  fields["PIDs"] = std::to_string(usage.processes);
  return fields;
}

std::vector<store::ContainerRecord> select(const store::Containers& containers,
                                           const StatsRequest& request) {
  std::vector<store::ContainerRecord> records;
  for (const std::string& name : request.names) records.push_back(containers.get(name));
  if (!request.names.empty()) return records;
  records = containers.list();
  std::erase_if(records, [&](const store::ContainerRecord& record) {
    return !request.all && !record.state.isAlive();
  });
  return records;
}

Samples sampleAll(const std::vector<store::ContainerRecord>& records) {
  Samples samples;
  for (const auto& record : records) {
    if (auto sample = takeSample(record)) samples.emplace(record.config.id, *sample);
  }
  return samples;
}

const Sample* findSample(const Samples& samples, const std::string& id) {
  const auto found = samples.find(id);
  return found == samples.end() ? nullptr : &found->second;
}

void printAll(Context& context, const StatsRequest& request,
              const std::vector<store::ContainerRecord>& records, const Samples& before,
              const Samples& now) {
  std::vector<Json> rows;
  for (const auto& record : records) {
    const std::string& id = record.config.id;
    rows.push_back(fieldsOf(record, findSample(before, id), findSample(now, id), request.noTrunc));
  }
  const ListStyle style{
      request.format,
      {"ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs"},
      false};
  printList(context, statsFields(), style, rows);
}

int showStats(Context& context, const std::vector<std::string>& args) {
  StatsRequest request;
  Options options{context, "[CONTAINER...]", "Show what containers use"};
  options.flag("-a,--all", request.all, "Those that do not run, too")
      .flag("--no-stream", request.once, "Show it once")
      .flag("--no-trunc", request.noTrunc, "Full ids")
      .text("--format", request.format, "FORMAT", "table, json or a template")
      .positionals(0, kAnyNumber);
  if (!options.parse(args)) return 0;
  request.names = options.words();
  const store::Containers containers{context.store()};
  std::vector<store::ContainerRecord> records = select(containers, request);
  Samples before = sampleAll(records);
  std::this_thread::sleep_for(kFirstInterval);
  for (;;) {
    const Samples now = sampleAll(records);
    // Each picture over the last one.
    if (!request.once && context.outIsTerminal()) context.print("\033[H\033[2J");
    printAll(context, request, records, before, now);
    if (request.once) return 0;
    before = now;
    std::this_thread::sleep_for(kInterval);
    records = select(containers, request);
  }
}

}  // namespace

void addStatsCommand(CommandTable& table) {
  table.add({"stats,container stats", Group::containers, "Show what containers use", showStats});
}

}  // namespace img::cli
