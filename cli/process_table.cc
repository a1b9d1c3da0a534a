#include "cli/process_table.h"

#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <ctime>

#include "base/error.h"
#include "base/fs.h"
#include "base/sys.h"
#include "base/text.h"
#include "cli/human.h"

namespace img::cli {
namespace {

std::uint64_t number(std::string_view text) {
  return text::parseUnsigned(text).value_or(0);
}

long signedNumber(std::string_view text) {
  const bool isNegative = text.starts_with('-');
  const auto magnitude = static_cast<long>(number(isNegative ? text.substr(1) : text));
  return isNegative ? -magnitude : magnitude;
}

// "Uid:\t0\t0\t0\t0": the effective one, the second.
std::string statusField(std::string_view status, std::string_view key, size_t index) {
  for (const std::string& line : text::split(status, '\n')) {
    if (!line.starts_with(key)) continue;
    const std::vector<std::string> parts = text::split(line, '\t');
    return index < parts.size() ? parts[index] : "";
  }
  return "";
}

// "NSpid:\t4711\t1"
std::vector<pid_t> namespacePids(std::string_view status) {
  constexpr std::string_view kKey = "NSpid:";
  std::vector<pid_t> pids;
  for (const std::string& line : text::split(status, '\n')) {
    if (!line.starts_with(kKey)) continue;
    for (const std::string& part : text::split(line.substr(kKey.size()), '\t')) {
      if (!part.empty()) pids.push_back(static_cast<pid_t>(number(part)));
    }
  }
  return pids;
}

// Seconds as ps(1) writes CPU time: [DD-]HH:MM:SS.
std::string clockText(std::uint64_t seconds) {
  const std::uint64_t days = seconds / 86400;
  const std::string rest =
      fmt::format("{:02}:{:02}:{:02}", seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
  return days == 0 ? rest : fmt::format("{}-{}", days, rest);
}

// [[DD-]HH:]MM:SS
std::string elapsedText(std::uint64_t seconds) {
  if (seconds < 3600) return fmt::format("{:02}:{:02}", seconds / 60, seconds % 60);
  return clockText(seconds);
}

std::uint64_t ageTicks(const ProcessFacts& process, const SystemFacts& system) {
  return system.uptimeTicks > process.start ? system.uptimeTicks - process.start : 0;
}

double cpuShare(const ProcessFacts& process, const SystemFacts& system) {
  const auto age = static_cast<double>(ageTicks(process, system));
  return age < 1 ? 0 : 100.0 * static_cast<double>(process.utime + process.stime) / age;
}

std::string startText(const ProcessFacts& process, const SystemFacts& system) {
  const auto age = static_cast<long long>(ageTicks(process, system)) / system.ticksPerSecond;
  const auto started = static_cast<time_t>(system.now - age);
  tm parts{};
  ::localtime_r(&started, &parts);
  char text[16];
  std::strftime(text, sizeof text, age < 86400 ? "%H:%M" : "%b%d", &parts);
  return text;
}

// pty(4), tty(4): the names of the device numbers that terminals have.
std::string ttyText(int device) {
  if (device == 0) return "?";
  const unsigned majorNumber = major(static_cast<dev_t>(device));
  const unsigned minorNumber = minor(static_cast<dev_t>(device));
  if (majorNumber >= 136 && majorNumber <= 143) {
    return fmt::format("pts/{}", (majorNumber - 136) * 256 + minorNumber);
  }
  if (majorNumber == 4)
    return minorNumber < 64 ? fmt::format("tty{}", minorNumber)
                            : fmt::format("ttyS{}", minorNumber - 64);
  return "?";
}

std::string commandLine(const ProcessFacts& process) {
  return process.args.empty() ? "[" + process.comm + "]" : process.args;
}

std::string stateFlags(const ProcessFacts& process) {
  std::string flags = process.state;
  if (process.nice < 0) flags += '<';
  if (process.nice > 0) flags += 'N';
  if (process.hasLockedPages) flags += 'L';
  if (process.isSessionLeader) flags += 's';
  if (process.threads > 1) flags += 'l';
  if (process.isForeground) flags += '+';
  return flags;
}

// The name of a number in a file of the form of passwd(5) and group(5); the number itself when it
// has none.
std::string nameInFile(std::string_view file, std::uint64_t id) {
  std::string digits = std::to_string(id);
  for (const std::string& line : text::split(file, '\n')) {
    const std::vector<std::string> fields = text::split(line, ':');
    if (fields.size() > 2 && fields[2] == digits) return fields[0];
  }
  return digits;
}

struct Known {
  std::string_view name, heading;
  std::string (*cell)(const ProcessFacts&, const SystemFacts&);
};

using P = const ProcessFacts&;
using S = const SystemFacts&;
const std::array kColumns = std::to_array<Known>({
    {"pid", "PID", [](P p, S) { return std::to_string(p.pid); }},
    {"ppid", "PPID", [](P p, S) { return std::to_string(p.ppid); }},
    {"uid", "UID", [](P p, S) { return std::to_string(p.uid); }},
    {"gid", "GID", [](P p, S) { return std::to_string(p.gid); }},
    {"user", "USER", [](P p, S s) { return s.userName(p.uid); }},
    {"group", "GROUP", [](P p, S s) { return s.groupName(p.gid); }},
    {"comm", "COMMAND", [](P p, S) { return p.comm; }},
    {"args", "COMMAND", [](P p, S) { return commandLine(p); }},
    {"cmd", "CMD", [](P p, S) { return commandLine(p); }},
    {"stat", "STAT", [](P p, S) { return stateFlags(p); }},
    {"state", "S", [](P p, S) { return p.state; }},
    {"tty", "TTY", [](P p, S) { return ttyText(p.tty); }},
    {"time", "TIME",
     [](P p, S s) { return clockText((p.utime + p.stime) / static_cast<std::uint64_t>(s.ticksPerSecond)); }},
    {"etime", "ELAPSED",
     [](P p, S s) { return elapsedText(ageTicks(p, s) / static_cast<std::uint64_t>(s.ticksPerSecond)); }},
    {"rss", "RSS", [](P p, S s) { return std::to_string(p.rssPages * static_cast<std::uint64_t>(s.pageSize) / 1024); }},
    {"vsz", "VSZ", [](P p, S) { return std::to_string(p.vszBytes / 1024); }},
    {"nlwp", "NLWP", [](P p, S) { return std::to_string(p.threads); }},
    {"pcpu", "%CPU", [](P p, S s) { return fmt::format("{:.1f}", cpuShare(p, s)); }},
    {"pmem", "%MEM",
     [](P p, S s) {
       const auto bytes = static_cast<double>(p.rssPages * static_cast<std::uint64_t>(s.pageSize));
       return fmt::format("{:.1f}", s.memoryBytes == 0 ? 0 : 100 * bytes / static_cast<double>(s.memoryBytes));
     }},
    {"c", "C", [](P p, S s) { return std::to_string(std::min(99, static_cast<int>(cpuShare(p, s)))); }},
    {"stime", "STIME", [](P p, S s) { return startText(p, s); }},
    {"start", "START", [](P p, S s) { return startText(p, s); }},
    {"psr", "PSR", [](P p, S) { return std::to_string(p.processor); }},
    {"nice", "NI", [](P p, S) { return std::to_string(p.nice); }},
    {"pri", "PRI", [](P p, S) { return std::to_string(39 - p.priority); }},
});

std::string_view canonical(std::string_view name) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 8> kAliases = {
      {{"%cpu", "pcpu"},
       {"%mem", "pmem"},
       {"ni", "nice"},
       {"command", "args"},
       {"tt", "tty"},
       {"s", "state"},
       {"euser", "user"},
       {"vsize", "vsz"}}};
  for (const auto& [alias, meant] : kAliases) {
    if (alias == name) return meant;
  }
  return name;
}

// "pid,args" or "pid=Heading".
void addColumns(std::vector<ProcessColumn>& columns, std::string_view list) {
  for (const std::string& item : text::split(list, ',')) {
    const size_t equals = item.find('=');
    const std::string name = text::lower(text::trim(item.substr(0, equals)));
    const auto known = std::find_if(kColumns.begin(), kColumns.end(), [&](const Known& column) {
      return column.name == canonical(name);
    });
    if (known == kColumns.end()) {
      throw Error::make(Kind::usage, "unknown column {}", text::quote(name))
          .hint(
              "columns are pid ppid uid user gid group comm args cmd stat state tty time etime rss "
              "vsz nlwp "
              "pcpu pmem c stime start psr nice pri");
    }
    const std::string heading{
        equals == std::string::npos ? known->heading : std::string_view{item}.substr(equals + 1)};
    columns.push_back({heading, known->cell});
  }
}

}  // namespace

std::optional<ProcessFacts> parseProcess(std::string_view stat, std::string_view status,
                                         std::string_view cmdline) {
  // The name may hold blanks and parentheses: it ends at the last one (proc(5)).
  const size_t open = stat.find('(');
  const size_t close = stat.rfind(')');
  if (open == std::string_view::npos || close == std::string_view::npos || close < open)
    return std::nullopt;
  const std::vector<std::string> fields = text::split(stat.substr(close + 2), ' ');
  if (fields.size() < 37) return std::nullopt;
  ProcessFacts facts;
  facts.pid = static_cast<pid_t>(number(text::trim(stat.substr(0, open))));
  facts.comm = stat.substr(open + 1, close - open - 1);
  facts.state = fields[0];
  facts.ppid = static_cast<pid_t>(number(fields[1]));
  facts.isSessionLeader = fields[3] == std::to_string(facts.pid);
  facts.tty = static_cast<int>(signedNumber(fields[4]));
  facts.isForeground = facts.tty != 0 && fields[5] == fields[2];
  facts.utime = number(fields[11]);
  facts.stime = number(fields[12]);
  facts.priority = signedNumber(fields[15]);
  facts.nice = signedNumber(fields[16]);
  facts.threads = signedNumber(fields[17]);
  facts.start = number(fields[19]);
  facts.vszBytes = number(fields[20]);
  facts.rssPages = number(fields[21]);
  facts.processor = static_cast<int>(number(fields[36]));
  facts.uid = static_cast<uid_t>(number(statusField(status, "Uid:", 2)));
  facts.gid = static_cast<gid_t>(number(statusField(status, "Gid:", 2)));
  facts.pids = namespacePids(status);
  const std::string locked = statusField(status, "VmLck:", 1);
  facts.hasLockedPages = !locked.empty() && text::trim(locked) != "0 kB";
  facts.args = cmdline;
  while (facts.args.ends_with('\0')) facts.args.pop_back();
  std::replace(facts.args.begin(), facts.args.end(), '\0', ' ');
  return facts;
}

std::optional<ProcessFacts> readProcess(pid_t pid) {
  const auto read = [&](const char* file) {
    try {
      return fs::tryReadFile(AT_FDCWD, fmt::format("/proc/{}/{}", pid, file));
    } catch (const Error& error) {
      if (error.errnum() != ESRCH) throw;
      return std::optional<std::string>{};
    }
  };
  const auto stat = read("stat");
  const auto status = read("status");
  const auto cmdline = read("cmdline");
  if (!stat || !status || !cmdline) return std::nullopt;
  return parseProcess(*stat, *status, *cmdline);
}

SystemFacts SystemFacts::read() {
  SystemFacts facts;
  facts.ticksPerSecond = ::sysconf(_SC_CLK_TCK);
  facts.pageSize = ::sysconf(_SC_PAGESIZE);
  timespec up{};
  ::clock_gettime(CLOCK_BOOTTIME, &up);
  facts.uptimeTicks = static_cast<std::uint64_t>(
      up.tv_sec * facts.ticksPerSecond + up.tv_nsec / (1'000'000'000 / facts.ticksPerSecond));
  facts.memoryBytes = static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES)) *
                      static_cast<std::uint64_t>(facts.pageSize);
  facts.now = nowSeconds();
  // The host's names, as docker's `top` shows them: the pids are the host's too.
  facts.userName = [passwd = fs::tryReadFile(AT_FDCWD, "/etc/passwd").value_or("")](uid_t uid) {
    return nameInFile(passwd, uid);
  };
  facts.groupName = [group = fs::tryReadFile(AT_FDCWD, "/etc/group").value_or("")](gid_t gid) {
    return nameInFile(group, gid);
  };
  return facts;
}

std::vector<ProcessColumn> parseColumns(const std::vector<std::string>& options) {
  std::vector<ProcessColumn> columns;
  bool isUserFormat = false;
  for (size_t i = 0; i < options.size(); ++i) {
    std::string word = options[i];
    const bool dashed = word.starts_with('-');
    if (dashed) word.erase(0, 1);
    const size_t list = word.find('o');
    if (list != std::string::npos) {
      std::string names = word.substr(list + 1);
      if (names.empty() && ++i < options.size()) names = options[i];
      if (names.empty()) throw Error{Kind::usage, "-o needs a list of columns"};
      addColumns(columns, names);
      word.resize(list);
    }
    if (word.find_first_not_of("eAfauxw") != std::string::npos) {
      throw Error::make(Kind::usage, "unknown ps option {}", text::quote(options[i]))
          .hint("-e, -f, -ef, aux and -o LIST are understood");
    }
    isUserFormat = isUserFormat || (!dashed && word.find('u') != std::string::npos);
  }
  if (!columns.empty()) return columns;
  if (isUserFormat) {
    addColumns(columns, "user,pid,pcpu,pmem,vsz,rss,tty,stat,start,time,args");
  } else {
    addColumns(columns, "user=UID,pid,ppid,c,stime,tty,time,cmd");
  }
  return columns;
}

}  // namespace img::cli
