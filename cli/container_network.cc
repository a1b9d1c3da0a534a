#include "cli/container_network.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>

#include <algorithm>

#include "base/fs.h"
#include "base/log.h"
#include "base/process.h"
#include "base/sys.h"
#include "base/text.h"
#include "cli/container_control.h"
#include "cli/container_spec.h"
#include "cli/network_options.h"
#include "network/namespace.h"
#include "network/resolver.h"
#include "runtime/mounts.h"

namespace img::cli {
namespace {

constexpr char kHosts[] = "/etc/hosts";
constexpr char kResolvConf[] = "/etc/resolv.conf";
constexpr size_t kShortId = 12;

network::Wanted wantedOf(NetworkMode mode) {
  if (mode == NetworkMode::bridge) return network::Wanted::bridge;
  if (mode == NetworkMode::isolated) return network::Wanted::isolated;
  return network::Wanted::automatic;
}

bool asksForHostGateway(const store::ContainerConfig& config) {
  return std::any_of(config.extraHosts.begin(), config.extraHosts.end(),
                     [](const auto& host) { return host.second == kHostGateway; });
}

network::Tenant tenantOf(const store::ContainerConfig& config) {
  network::Tenant tenant;
  tenant.id = config.id;
  tenant.names = {config.name, config.id.substr(0, kShortId)};
  const std::vector<std::string>& aliases = config.networkOptions.aliases;
  tenant.names.insert(tenant.names.end(), aliases.begin(), aliases.end());
  return tenant;
}

network::ConnectionRequest connectionRequest(const store::ContainerConfig& config,
                                             NetworkMode mode) {
  const store::NetworkRecord& options = config.networkOptions;
  network::ConnectionRequest request;
  request.wanted = wantedOf(mode);
  request.tenant = tenantOf(config);
  if (const auto address = network::Ipv4::parse(options.address)) {
    request.tenant.address = *address;
    request.hasAddress = true;
  }
  request.mac = network::parseMac(options.macAddress);
  request.reachesHostLoopback = asksForHostGateway(config);
  return request;
}

bool isMountedOver(const runtime::Spec& spec, const std::string& path) {
  return std::any_of(spec.mounts.begin(), spec.mounts.end(),
                     [&](const runtime::Mount& mount) { return mount.target == path; });
}

// open_tree(2) clones a mount only in the mount namespace it belongs to. The container may have
// changed its tree: nothing in it is followed, and only a regular file is taken.
Fd cloneFileOf(const Fd& mounts, const Fd& root, const std::string& path) {
  auto [ours, theirs] = sys::socketPair();
  Child child = Child::fork([&] {
    sys::setns(mounts.get(), CLONE_NEWNS, "the container's mounts");
    const Fd file = sys::openBeneath(root.get(), path.substr(1), O_PATH);
    if (!S_ISREG(sys::fstat(file.get()).st_mode)) {
      throw Error::make(Kind::failed, "{} of the other container is no file", path);
    }
    sys::sendFd(theirs.get(), runtime::cloneMount(file.get(), "").get());
    return std::string{};
  });
  child.finish();
  return sys::receiveFd(ours.get());
}

}  // namespace

ContainerNetwork::ContainerNetwork(const store::Layout& layout,
                                   const store::ContainerConfig& config, const std::string& runRoot)
    : config_(config) {
  const NetworkMode mode = networkMode(config.network);
  if (mode == NetworkMode::none || mode == NetworkMode::host) return;
  settings_ = network::Settings::fromEnvironment(runRoot);
  if (mode == NetworkMode::container) {
    join(layout);
  } else if (mode == NetworkMode::path) {
    netns_ = sys::openat(AT_FDCWD, networkTarget(config.network), O_RDONLY);
  } else {
    connection_ = network::Connection::open(*settings_, connectionRequest(config, mode));
  }
}

void ContainerNetwork::join(const store::Layout& layout) {
  const store::ContainerRecord other =
      store::Containers{layout}.get(networkTarget(config_.network));
  auto process = openProcess(other.state);
  if (!process) {
    const bool isBetween = other.state.isAlive();
    throw Error::make(Kind::failed, "cannot share the network of container {}: it {}",
                      other.config.name, isBetween ? "is restarting" : "does not run")
        .hint(isBetween ? "try again when it runs"
                        : fmt::format("start it first: img start {}", other.config.name));
  }
  owner_ = {other.state.pid, std::move(*process), other.config.name};
  netns_ = owner_.open("ns/net", O_RDONLY);
  const auto address = network::Ipv4::parse(other.state.address);
  if (!address) return;
  // Its address is in use for as long as this container is, whichever of the two ends first.
  const network::Subnet subnet = network::Subnet::of(*address, other.state.prefixLength);
  shared_ = network::Leases{settings_->folder().get(), subnet}.share(*address);
}

void ContainerNetwork::prepare(runtime::Spec& spec) {
  const NetworkMode mode = networkMode(config_.network);
  spec.network = mode == NetworkMode::host ? runtime::Network::host : runtime::Network::none;
  if (isAlone() && !network::canAdministerNetworks()) netns_ = network::makeNamespace();
  if (netns_) {
    spec.network = runtime::Network::join;
    spec.networkNamespace = netns_.get();
  }
  if (mode == NetworkMode::container) return addSharedFiles(spec);
  if (!config_.networkOptions.noHosts && !isMountedOver(spec, kHosts)) addHosts(spec);
  if (!isMountedOver(spec, kResolvConf)) addResolver(spec);
}

void ContainerNetwork::addSharedFiles(runtime::Spec& spec) {
  const Fd mounts = owner_.open("ns/mnt", O_RDONLY);
  const Fd root = owner_.open("root", O_PATH | O_DIRECTORY);
  for (const char* path : {kHosts, kResolvConf}) {
    if (isMountedOver(spec, path)) continue;
    runtime::Mount mount;
    mount.type = runtime::Mount::Type::detached;
    mount.source = cloneFileOf(mounts, root, path);
    mount.target = path;
    mount.readOnly = config_.readOnlyRoot;
    spec.mounts.push_back(std::move(mount));
  }
}

Fd ContainerNetwork::Owner::open(const char* what, int flags) const {
  auto file = sys::tryOpenat(AT_FDCWD, fmt::format("/proc/{}/{}", pid, what), flags);
  // Looked at after the open: the number may be another's by now, who is in the host's network.
  if (file && !waitForProcess(process, 0)) return std::move(*file);
  throw Error::make(Kind::failed, "container {}, whose network was to be shared, has just ended",
                    name);
}

void ContainerNetwork::addHosts(runtime::Spec& spec) {
  network::HostsOptions options;
  options.hostname = spec.hostname;
  options.domainname = spec.domainname;
  if (connection_ && connection_->type() == network::Connection::Type::bridge) {
    options.address = connection_->address();
  }
  for (const auto& [name, address] : config_.extraHosts) {
    const bool isGateway = address == kHostGateway;
    options.extra.emplace_back(name, !isGateway    ? address
                                     : connection_ ? connection_->hostGateway()
                                                   : "127.0.0.1");
  }
  if (options.address) return addLiveHosts(spec, network::hostsText(options));
  const bool isHost = spec.network == runtime::Network::host;
  const std::string host = isHost ? fs::tryReadFile(AT_FDCWD, kHosts).value_or("") : std::string{};
  spec.files.emplace_back(
      kHosts, host.empty() ? network::hostsText(options) : network::hostsText(host, options.extra));
}

// A file in a memory file system of its own: the container gets a mount of the file alone, and no
// path of the host; the keeper writes through the descriptor.
void ContainerNetwork::addLiveHosts(runtime::Spec& spec, const std::string& text) {
  constexpr unsigned kInert = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NODEV;
  runtime::Mount mount;
  mount.type = runtime::Mount::Type::detached;
  mount.source =
      runtime::makeMount("tmpfs", kInert, {{"source", "img"}, {"mode", "0755"}, {"size", "1m"}});
  mount.subpath = "hosts";
  mount.target = kHosts;
  mount.readOnly = config_.readOnlyRoot;
  Fd file = sys::openat(mount.source.get(), mount.subpath, O_RDWR | O_CREAT | O_EXCL, 0644);
  sys::fchmod(file.get(), 0644);  // whatever the umask is
  live_.emplace(settings_->folder(), connection_->bridge().subnet, std::move(file), text);
  spec.mounts.push_back(std::move(mount));
}

void ContainerNetwork::addResolver(runtime::Spec& spec) {
  const store::NetworkRecord& asked = config_.networkOptions;
  network::DnsReach reach;
  if (connection_) reach = connection_->dnsReach();
  if (spec.network == runtime::Network::host) reach.sharesLoopback = true;
  if (spec.network == runtime::Network::join) reach.hasIpv6 = true;
  // Without a network there is nobody to ask.
  const network::HostDns host = isAlone() ? network::HostDns{} : network::HostDns::read();
  network::ResolvConf text =
      network::resolvConf(host, {asked.dns, asked.dnsSearch, asked.dnsOptions}, reach);
  if (text.isWithoutServer) {
    log::info(
        "the container has no name server: the host's answer on its loopback address alone; --dns "
        "gives one");
  }
  spec.files.emplace_back(kResolvConf, std::move(text.text));
}

bool ContainerNetwork::isAlone() const {
  return networkMode(config_.network) == NetworkMode::none ||
         (connection_ && !connection_->isConnected());
}

bool ContainerNetwork::isAttached() const {
  return connection_ && connection_->type() != network::Connection::Type::none;
}

void ContainerNetwork::attach(int netns) {
  connection_->attach(netns);
}

void ContainerNetwork::record(store::ContainerState& state) const {
  if (!isAttached()) return;
  const auto text = [](const std::optional<network::Ipv4>& address) {
    return address ? address->str() : std::string{};
  };
  state.address = text(connection_->address());
  state.gateway = text(connection_->gateway());
  state.macAddress = connection_->mac();
  state.prefixLength = connection_->prefix();
}

std::optional<runtime::Watch> ContainerNetwork::watch() {
  if (!live_) return std::nullopt;
  return runtime::Watch{live_->fd(), [this] {
                          try {
                            live_->update();
                          } catch (const Error& error) {  // no reason to end the container
                            log::warn("/etc/hosts of {}: {}", config_.name, error.cause());
                          }
                        }};
}

void ContainerNetwork::forget() {
  if (connection_) connection_->forget();
  if (shared_) shared_->forget();
}

void settleNetwork(const store::Layout& layout, store::ContainerConfig& config) {
  if (networkMode(config.network) != NetworkMode::container) return;
  const store::ContainerRecord other = store::Containers{layout}.get(networkTarget(config.network));
  config.network = "container:" + other.config.id;
  config.hostname = hostnameOf(other.config);
}

void renameOnNetwork(const store::ContainerRecord& record, const std::string& runRoot) {
  const auto address = network::Ipv4::parse(record.state.address);
  if (!record.state.isAlive() || !address) return;
  const auto settings = network::Settings::fromEnvironment(runRoot);
  network::Tenant tenant = tenantOf(record.config);
  tenant.address = *address;
  const network::Subnet subnet = network::Subnet::of(*address, record.state.prefixLength);
  network::Leases{settings.folder().get(), subnet}.rename(tenant);
}

}  // namespace img::cli
