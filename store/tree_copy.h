// A folder's content copied with everything that makes it up: type, mode, owner, times, xattrs,
// hard links within the folder, holes. By descriptors only: a link in the source is copied, never
// followed. Sockets are left out, as a socket without its process is of no use.
#pragma once

namespace img::store {

// `to` is an existing folder; it gets the metadata of `from` too. Both are opened for reading.
void copyTree(int from, int to);

}  // namespace img::store
