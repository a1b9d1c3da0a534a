// The user namespace of this process, asked of the kernel once: the answer takes two file names in
// /proc, and whoever opens a layer wants to know. Who enters another one says so; sys::unshare()
// and sys::setns() do it by themselves.
#pragma once

namespace img {

// In the machine's own one, where root is root. True as well where /proc does not tell.
bool isInMachineNamespace();

void userNamespaceChanged() noexcept;

}  // namespace img
