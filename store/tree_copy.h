// A folder's content copied with everything that makes it up: type, mode, owner, times, xattrs,
// hard links within the folder, holes. By descriptors only: a link in the source is copied, never
// followed. Sockets are left out, as a socket without its process is of no use.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <string>

namespace img::store {

// `to` is an existing folder; it gets the metadata of `from` too. Both are opened for reading.
void copyTree(int from, int to);

// Owner, mode, xattrs but overlay's own, times. `st` is fstat(2) of `from`; both are opened for
// reading.
void copyMetadata(int from, int to, const struct stat& st);

// A file, link or node, with all that makes it up, under a name that is not there yet.
void copyObject(int from, const std::string& name, int to, const std::string& newName);

// The first `size` bytes of a file into an empty one: holes stay holes, and a file system that can
// share the blocks does (copy_file_range(2)).
void copyFileData(int from, int to, off_t size);

}  // namespace img::store
