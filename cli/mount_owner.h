// The option U of a mount: all of its source is given to the user of the container (cli.md 10.3).
#pragma once

#include <sys/types.h>

#include "base/fd.h"

namespace img::cli {

// `source`: an O_PATH descriptor of a file or folder. Links are changed, never followed; what other
// file systems are mounted below is left alone; what vanishes meanwhile is left out. Throws
// Kind::denied for the folders that a host cannot do without, before anything is changed.
void giveMountSource(const Fd& source, uid_t uid, gid_t gid);

}  // namespace img::cli
