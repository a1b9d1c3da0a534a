// The namespaces of one container while its keeper runs: those of other containers opened, a range
// of ids leased, devices looked up. Every start does it anew.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/fd.h"
#include "cli/user_ranges.h"
#include "runtime/spec.h"
#include "store/containers.h"
#include "store/layout.h"

namespace img::cli {

class ContainerNamespaces {
 public:
  // Throws when a container to join does not run, and when ids cannot be had.
  ContainerNamespaces(const store::Layout& layout, const store::ContainerConfig& config,
                      const std::string& runRoot);

  // The descriptors in `spec` are this object's.
  void prepare(runtime::Spec& spec) const;

 private:
  runtime::Namespace open(const store::Layout& layout, const std::string& mode,
                          const std::string& name);
  void openIpc(const store::Layout& layout);
  void openUser(const store::Layout& layout, const std::string& runRoot);

  const store::ContainerConfig& config_;
  std::vector<Fd> opened_;
  runtime::Namespace pid_, ipc_, uts_, cgroup_;
  runtime::UserNamespace user_;
  bool hasOtherIds_ = false;  // files have to be mapped
  Fd sharedMemory_;
  std::optional<UserRange> range_;
};

// The ids of --uidmap, keep-id and nomap, which are the same at every start; else none.
runtime::UserNamespace ownIds(const store::NamespaceRecord& names);

// At `create`: containers to join by their ids, since they may get other names, and the host name
// that comes with the namespace of another. Throws Kind::notFound.
void settleNamespaces(const store::Layout& layout, store::ContainerConfig& config);

// --device: nodes of the host, folders with all that are in them.
void addDevices(const store::ContainerConfig& config, runtime::Spec& spec);

}  // namespace img::cli
