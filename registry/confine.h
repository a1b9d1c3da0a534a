// Gives up what the reader of untrusted network input does not need (architecture.md 1.5): the user
// root, the way to new privileges, writing anywhere, and every descriptor but the ones it was
// given.
#pragma once

namespace img::registry {

// From here on this process can read what everybody can read, talk to the network, and write to its
// descriptors up to `lastFd`. Throws when a step is refused: there is no half of it.
void confine(int lastFd);

}  // namespace img::registry
