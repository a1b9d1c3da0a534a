#include "network/names.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/sys.h"
#include "base/text.h"

namespace img::network {
namespace {

constexpr std::string_view kBegin = "# containers on this network, kept up to date:\n";
constexpr std::string_view kEnd = "# end of containers on this network\n";
// Long enough for what starts or ends at the same time, and for the lock of a lease to follow the
// close(2) that was seen.
constexpr long kSettleNs = 20'000'000;
constexpr size_t kLargestHosts = size_t{1} << 20;

std::string nameLine(const std::string& address, const std::vector<std::string>& names) {
  return fmt::format("{}\t{}\n", address, text::join(names, " "));
}

Fd makePoll(int changes, int timer) {
  Fd poll{sys::check([] { return ::epoll_create1(EPOLL_CLOEXEC); }, "epoll_create1")};
  for (const int fd : {changes, timer}) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = fd;
    sys::check([&] { return ::epoll_ctl(poll.get(), EPOLL_CTL_ADD, fd, &event); }, "epoll_ctl");
  }
  return poll;
}

Fd watchFolder(int folder) {
  Fd changes{sys::check([] { return ::inotify_init1(IN_CLOEXEC | IN_NONBLOCK); }, "inotify_init1")};
  // A killed holder's descriptor is closed by the kernel, which tells as well.
  sys::check(
      [&] {
        return ::inotify_add_watch(changes.get(), sys::procPath(folder).c_str(),
                                   IN_MODIFY | IN_CLOSE_WRITE);
      },
      "watch the leases");
  return changes;
}

bool drain(int fd) {
  alignas(inotify_event) char buffer[4096];
  bool any = false;
  while (::read(fd, buffer, sizeof buffer) > 0) any = true;
  return any;
}

}  // namespace

std::string hostsText(const HostsOptions& options) {
  std::string text =
      "127.0.0.1\tlocalhost\n"
      "::1\tlocalhost ip6-localhost ip6-loopback\n";
  std::vector<std::string> own;
  if (!options.domainname.empty()) own.push_back(options.hostname + "." + options.domainname);
  own.push_back(options.hostname);
  text += nameLine(options.address ? options.address->str() : "127.0.0.1", own);
  return hostsText(std::move(text), options.extra);
}

std::string hostsText(std::string host,
                      const std::vector<std::pair<std::string, std::string>>& extra) {
  if (!host.empty() && !host.ends_with('\n')) host += '\n';
  for (const auto& [name, address] : extra) host += nameLine(address, {name});
  return host;
}

std::string neighboursText(const std::vector<Tenant>& tenants) {
  std::string text;
  for (const Tenant& tenant : tenants) {
    if (!tenant.names.empty()) text += nameLine(tenant.address.str(), tenant.names);
  }
  if (text.empty()) return text;
  return std::string{kBegin} + text + std::string{kEnd};
}

std::optional<std::string> replaceNeighbours(const std::string& hosts,
                                             const std::string& neighbours) {
  const size_t begin = hosts.find(kBegin);
  const size_t end = begin == std::string::npos ? begin : hosts.find(kEnd, begin);
  if (end == std::string::npos) return std::nullopt;
  return hosts.substr(0, begin) + neighbours + hosts.substr(end + kEnd.size());
}

LiveHosts::LiveHosts(Fd folder, const Subnet& subnet, Fd file, const std::string& text)
    : folder_(std::move(folder)),
      subnet_(subnet),
      file_(std::move(file)),
      changes_(watchFolder(folder_.get())),
      timer_(
          sys::check([] { return ::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK); },
                     "timerfd_create")),
      poll_(makePoll(changes_.get(), timer_.get())) {
  const std::string whole = text + neighboursText(Leases{folder_.get(), subnet_}.list());
  writeAll(file_.get(), whole, "the hosts file");
}

void LiveHosts::update() {
  if (drain(changes_.get())) {
    itimerspec when{};
    when.it_value.tv_nsec = kSettleNs;
    sys::check([&] { return ::timerfd_settime(timer_.get(), 0, &when, nullptr); },
               "timerfd_settime");
  }
  if (drain(timer_.get())) rewrite();
}

void LiveHosts::rewrite() {
  std::string now(kLargestHosts, '\0');
  now.resize(preadFull(file_.get(), std::as_writable_bytes(std::span{now}), 0, "the hosts file"));
  const std::string neighbours = neighboursText(Leases{folder_.get(), subnet_}.list());
  const auto next = replaceNeighbours(now, neighbours);
  if (!next || *next == now || now.size() == kLargestHosts) return;
  sys::check([&] { return ::pwrite(file_.get(), next->data(), next->size(), 0); },
             "write the hosts file");
  sys::ftruncate(file_.get(), static_cast<off_t>(next->size()));
}

}  // namespace img::network
