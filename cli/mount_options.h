// What `-v`, `--mount` and `--tmpfs` ask for (cli.md 10.3), as values. Nothing is looked up or
// created here.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace img::cli {

struct MountRequest {
  enum class Type { bind, volume, tmpfs, image };
  Type type = Type::bind;
  std::string source;       // host path as given, or volume name; empty: anonymous volume
  std::string destination;  // absolute, without "." and ".." and doubled or trailing slashes
  std::string mode;         // options as given, for inspect
  bool readOnly = false;
  bool noCopy = false;  // a new volume stays empty
  bool noExec = false, noSuid = false, noDev = false;
  std::string tmpfsOptions;  // size=,mode= for the kernel
  std::string subpath;       // of a volume or image
  std::string propagation;   // of a bind mount; empty: rprivate
  bool nonRecursive = false;
  bool chown = false;    // the source is given to the container's user
  bool overlay = false;  // changes are thrown away
  std::string option;    // that asked for it: volume, mount or tmpfs
};

// HOST:CTR[:OPTS], NAME:CTR[:OPTS] or CTR.
MountRequest parseVolume(std::string_view spec);
// type=bind|volume|tmpfs|image,src=,dst=,...
MountRequest parseMount(std::string_view spec);
// CTR[:OPTS]
MountRequest parseTmpfs(std::string_view spec);

// "/a//b/../c/" is "/a/c". Throws Kind::usage when `path` is not absolute; `what` names it in the
// message.
std::string cleanDestination(std::string_view path, std::string_view what);

// A later request for the same destination replaces the earlier one; parents come before what lies
// below them.
std::vector<MountRequest> orderMounts(std::vector<MountRequest> requests);

}  // namespace img::cli
