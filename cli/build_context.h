// Where the files and the Dockerfile of a build come from: a folder, stdin, a URL or a git
// repository, and -f (dockerfile.md 9, cli.md 9).
#pragma once

#include <memory>
#include <string>

#include "builder/context.h"
#include "builder/remote_context.h"
#include "builder/request.h"
#include "cli/command.h"

namespace img::cli {

struct BuildPlaces {
  std::string context = ".";
  std::string file;        // -f
  std::string ignoreFile;  // --ignorefile
};

// Sets context, Dockerfile and ignore file of a request that has its secrets, agents and build
// arguments already. The result holds the files of a context that is no folder, for as long as the
// build.
std::unique_ptr<builder::RemoteTree> openBuildContext(Context& context, const BuildPlaces& places,
                                                      builder::Request& request);

struct DockerfileText {
  std::string path;  // on the host; empty for stdin
  std::string shown, text;
};
// -f, else the usual names in a context that is a folder.
DockerfileText findDockerfile(const BuildPlaces& places);
// The ignore file of a context that is a folder, for the Dockerfile that would be taken.
builder::IgnoreFile findIgnoreFile(const BuildPlaces& places);

}  // namespace img::cli
