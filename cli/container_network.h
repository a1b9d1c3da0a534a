// The network of one container while its keeper runs: reserved before anything starts, laid while
// the container builds its root, and followed afterwards, so that /etc/hosts names the containers
// that come and go beside it. Every start makes it anew.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "base/fd.h"
#include "network/connection.h"
#include "network/names.h"
#include "runtime/monitor.h"
#include "runtime/spec.h"
#include "store/containers.h"
#include "store/layout.h"

namespace img::cli {

class ContainerNetwork {
 public:
  // Throws for what cannot be: the address is taken, the other container does not run.
  ContainerNetwork(const store::Layout& layout, const store::ContainerConfig& config,
                   const std::string& runRoot);

  // Which network namespace it gets, /etc/hosts and /etc/resolv.conf. After everything else of the
  // spec: what is mounted on these files wins.
  void prepare(runtime::Spec& spec);
  // Whether attach() has something to do once the namespace exists.
  [[nodiscard]] bool isAttached() const;
  void attach(int netns);
  // Addresses, for `inspect`.
  void record(store::ContainerState& state) const;
  // What the keeper has to look after besides its container.
  [[nodiscard]] std::optional<runtime::Watch> watch();
  // Another process carries it on, made by fork(2).
  void forget();

 private:
  // The container whose network this is.
  struct Owner {
    pid_t pid = 0;
    Fd process;  // tells whether the number is still its own
    std::string name;
    // A file of its folder in /proc. Throws when it has ended.
    [[nodiscard]] Fd open(const char* what, int flags) const;
  };

  [[nodiscard]] bool isAlone() const;  // loopback and nothing else
  void join(const store::Layout& layout);
  void addHosts(runtime::Spec& spec);
  void addResolver(runtime::Spec& spec);
  void addLiveHosts(runtime::Spec& spec, const std::string& text);
  void addSharedFiles(runtime::Spec& spec);

  const store::ContainerConfig& config_;
  std::optional<network::Settings> settings_;
  std::optional<network::Connection> connection_;
  Fd netns_;  // to join: somebody else's, or one that only we can make
  Owner owner_;
  std::optional<network::Lease> shared_;  // the owner's address
  std::optional<network::LiveHosts> live_;
};

// The new name of a running container, for the hosts files of the others.
void renameOnNetwork(const store::ContainerRecord& record, const std::string& runRoot);

// The id behind container:NAME, which may get another name, and that container's host name.
void settleNetwork(const store::Layout& layout, store::ContainerConfig& config);

}  // namespace img::cli
