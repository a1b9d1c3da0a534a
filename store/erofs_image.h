// An EROFS image (kernel Documentation/filesystems/erofs.rst, fs/erofs/erofs_fs.h) that has all of
// a layer but the data of its files, which lies in the layer's tar, the image's device 1. Files are
// contiguous there, so they are "flat" and need an address only; the addresses of the tar begin
// where the image's own end. Same tree, same bytes.
//   block 0..    superblock at 1024, device slot, blocks that were copied (ErofsTree)
//   then         inodes of 64 bytes with their attributes, breadth first, so that what one folder
//                holds lies together; the tail of a folder and short links behind their inode,
//                other blocks of folders in front of it (those of the root, whose number has 16
//                bits, behind it)
#pragma once

#include <string>

#include "base/stream.h"
#include "store/erofs_tree.h"
#include "store/unpack.h"

namespace img::store {

// The first block that ErofsTree may copy to.
std::uint64_t firstErofsBlock(ErofsFormat format = {});

// Writes everything else into `image`. The archive has `archiveBytes` bytes in all. Throws
// Kind::unsupported for what EROFS cannot hold. The kernel reads the file as it is: it must not
// change any more.
void writeErofs(ErofsTree& tree, int image, std::uint64_t archiveBytes, ErofsFormat format = {});

// The whole way: reads a layer's tar to its end and makes `image`, an empty file, its index. Errors
// are those of unpackLayer().
UnpackStats indexLayer(Source& tar, int image, const std::string& name, ErofsFormat format = {});
// The same index of a tar that is a file, whose bytes are known to be right: the data of its files
// is not read, except what has to be copied.
UnpackStats indexLayerFile(int tar, int image, const std::string& name, ErofsFormat format = {});

}  // namespace img::store
