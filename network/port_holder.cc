// Who holds a port: /proc/net tells the inode of the socket, /proc/PID/fd whose it is.
#include <algorithm>
#include <set>

#include "base/error.h"
#include "base/fs.h"
#include "base/sys.h"
#include "base/text.h"
#include "network/ports.h"

namespace img::network {
namespace {

constexpr std::string_view kListening = "0A";  // TCP_LISTEN, include/net/tcp_states.h

// The fields of a line of /proc/net/tcp: "sl local remote state queues timer retransmits uid
// timeout inode ..." (proc(5)).
constexpr size_t kLocal = 1, kState = 3, kInode = 9;

std::vector<std::string> fieldsOf(std::string_view line) {
  std::vector<std::string> fields = text::split(line, ' ');
  std::erase(fields, "");
  return fields;
}

std::set<std::string> socketsOn(std::uint16_t port, Protocol protocol) {
  const std::string suffix = fmt::format(":{:04X}", port);
  std::set<std::string> links;
  for (const char* family : {"", "6"}) {
    const std::string path = fmt::format("/proc/net/{}{}", protocolName(protocol), family);
    for (const std::string& line :
         text::split(fs::tryReadFile(AT_FDCWD, path).value_or(""), '\n')) {
      const std::vector<std::string> fields = fieldsOf(line);
      if (fields.size() <= kInode || !fields[kLocal].ends_with(suffix)) continue;
      if (protocol == Protocol::tcp && fields[kState] != kListening) continue;
      links.insert("socket:[" + fields[kInode] + "]");
    }
  }
  return links;
}

bool holdsOneOf(const std::set<std::string>& links, const std::string& process) {
  const auto folder = sys::tryOpenat(AT_FDCWD, process + "/fd", O_RDONLY | O_DIRECTORY);
  if (!folder) return false;
  const std::vector<fs::Entry> entries = fs::list(folder->get());
  return std::any_of(entries.begin(), entries.end(), [&](const fs::Entry& entry) {
    return links.contains(sys::readlinkat(folder->get(), entry.name));
  });
}

}  // namespace

std::optional<PortHolder> findPortHolder(std::uint16_t port, Protocol protocol) {
  const std::set<std::string> links = socketsOn(port, protocol);
  if (links.empty()) return std::nullopt;
  for (const fs::Entry& entry : fs::list(sys::openDirectory(AT_FDCWD, "/proc").get())) {
    const auto pid = text::parseUnsigned(entry.name);
    if (!pid) continue;
    const std::string process = "/proc/" + entry.name;
    try {
      if (!holdsOneOf(links, process)) continue;
      const std::string command = fs::tryReadFile(AT_FDCWD, process + "/comm").value_or("");
      return PortHolder{static_cast<pid_t>(*pid), std::string{text::trim(command)}};
    } catch (const Error&) {  // gone meanwhile, or not ours to look at
      continue;
    }
  }
  return std::nullopt;
}

}  // namespace img::network
