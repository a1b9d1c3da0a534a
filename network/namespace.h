// Network namespaces as descriptors: entered for a moment, made and kept without a process.
#pragma once

#include <sys/types.h>

#include <functional>

#include "base/fd.h"

namespace img::network {

// Runs `work` in another network namespace: by a visit of the calling thread where it may come
// back, else by a thread that ends there (an ordinary user's network is the machine's, which
// setns(2) does not let it enter). What cannot come back ends the process: nothing of ours may go
// on in a container's network by mistake. Sockets stay in the namespace they were made in.
void inNamespace(int netns, const std::function<void()>& work);

Fd openNamespace(pid_t pid);  // of a process
Fd ownNamespace();            // of the calling thread
// A new one with loopback up and the settings that a container's own gets (runtime/rootfs.cc). It
// lives as long as the descriptor, or a process in it. Without CAP_NET_ADMIN it belongs to a user
// namespace of its own. The calling process is single-threaded.
Fd makeNamespace();
// CAP_NET_ADMIN: without it the runtime cannot make a namespace with loopback up.
bool canAdministerNetworks();
// Whether this process's user namespace owns the network it is in, so that capabilities count
// there.
bool ownsNamespace();

void bringLoopbackUp();
// A setting below /proc/sys/net of the calling thread's network namespace; false: the kernel has no
// such setting, or the folder is read-only.
bool trySetSysctl(const char* path, const char* value);

}  // namespace img::network
