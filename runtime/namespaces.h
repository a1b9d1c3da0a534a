// Which namespaces a container gets, and how its first process comes into them (namespaces(7),
// security.md N1, U). Most containers get all of theirs in one clone3. Two things need a process in
// between, the joiner, which ends as soon as it has cloned the container for the caller: a pid or
// time namespace is entered only by children (setns(2), time_namespaces(7)), and who is in a user
// namespace of the container may no longer join namespaces that belong to the host.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "base/fd.h"
#include "runtime/spec.h"

namespace img::runtime {

// Flags for the clone3 that makes the container's first process.
std::uint64_t namespaceFlags(const Spec& spec, bool hasCgroup);
bool needsJoiner(const Spec& spec);

// In the joiner: what must be done before the clone.
void joinBeforeClone(const Spec& spec);
// In the container's first process, without a joiner.
void joinAfterClone(const Spec& spec);

// In the caller: gives a process in a user namespace of its own the ids it was made for. Throws
// code "idmap".
void writeIdMaps(pid_t pid, const UserNamespace& user);
// In the process: root of the user namespace it is in, with its groups and no others.
void becomeNamespaceRoot();
// The ids that root of the namespace of process `pid` has in ours.
struct OutsideRoot {
  uid_t uid = 0;
  gid_t gid = 0;
};
OutsideRoot outsideRootOf(pid_t pid);

// A descriptor /proc/PID/ns/NAME.
Fd openNamespace(pid_t pid, const std::string& name);
// Whether process `pid` is in another namespace than this one.
bool isOtherNamespace(pid_t pid, const std::string& name);
// security.md U4: throws Kind::denied unless the user namespace was made by this user.
void checkOwner(int userNamespace);

// A clone of what is mounted on /dev/shm in the mount namespace of process `pid`: open_tree(2)
// clones only there.
Fd cloneSharedMemory(pid_t pid);

// An anonymous pipe of the caller belongs to the caller: a root with other ids could not open
// /dev/stdout anew. It gets the pipes that `spec` names; files and terminals keep their owner.
void giveStreams(const Spec& spec, const OutsideRoot& root);

}  // namespace img::runtime
