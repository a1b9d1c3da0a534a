// `img commit`: the read-write layer of a container becomes the top layer of a new image.
#include "store/commit.h"

#include <fcntl.h>

#include "base/error.h"
#include "base/fd.h"
#include "base/interruption.h"
#include "base/sys.h"
#include "base/text.h"
#include "builder/config_step.h"
#include "cli/container_commands.h"
#include "cli/container_spec.h"
#include "cli/frozen.h"
#include "cli/options.h"
#include "cli/shifted_rootfs.h"
#include "cli/values.h"
#include "store/reference.h"

namespace img::cli {
namespace {

struct Request {
  std::string author, message;
  std::vector<std::string> changes;
  std::string format, idFile;
  bool pause = true, noPause = false, quiet = false, squash = false;
  std::vector<std::string> words;
};

// The new image starts as the container did: docker and podman, too, take over what `run` changed.
store::ImageConfig configOf(const store::ContainerConfig& container) {
  const auto orNothing = [](const std::vector<std::string>& words) {
    return words.empty() ? std::optional<std::vector<std::string>>{} : words;
  };
  store::ImageConfig config = container.image;
  config.entrypoint = orNothing(container.entrypoint);
  config.cmd = orNothing(container.command);
  config.env = container.env;
  config.user = container.user;
  if (!config.workingDir.empty() || container.cwd != "/") config.workingDir = container.cwd;
  config.labels = container.labels;
  for (const std::string& port : container.exposedPorts) config.exposedPorts[port] = true;
  return config;
}

store::Image commit(Context& context, const Request& request) {
  const store::Layout& layout = context.store();
  const store::StoreUse use{layout};
  // A container is thawed again, whatever comes.
  const InterruptionScope scope;
  const store::Containers containers{layout};
  const store::ContainerRecord record = containers.get(request.words.front());
  requireOwnIds(layout, record);
  store::CommitRequest commit;
  if (request.words.size() > 1) {
    commit.names.push_back(store::Reference::parse(request.words[1]).full());
  }
  commit.author = request.author;
  commit.message = request.message;
  commit.squash = request.squash;
  commit.epoch = sourceDateEpoch();
  commit.config = configOf(record.config);
  for (const std::string& change : request.changes) builder::applyChange(commit.config, change);
  ensureLayers(layout, record.config);  // they are made again after a boot
  std::optional<Frozen> frozen;
  if (request.pause && !request.noPause) frozen.emplace(containers, record);
  return store::commitContainer(layout, record, commit);
}

void writeIdFile(const std::string& path, const std::string& id) {
  Fd file = sys::openat(AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
  writeAll(file.get(), id, path);
  file.close(path);
}

int commitCommand(Context& context, const std::vector<std::string>& args) {
  Request request;
  Options options{context, "CONTAINER [NAME[:TAG]]", "Make an image of a container's changes"};
  options.text("-a,--author", request.author, "AUTHOR", "Author of the image")
      .text("-m,--message", request.message, "TEXT", "Comment in the history")
      .list("-c,--change", request.changes, "INSTRUCTION", "Apply a Dockerfile instruction")
      .flag("-p,--pause", request.pause, "Pause the container meanwhile (true)")
      .flag("--no-pause", request.noPause, "Do not pause the container")
      .flag("--squash", request.squash, "One layer with all files, those of the image as well")
      .text("-f,--format", request.format, "oci|docker", "Kept alike; push and save choose")
      .text("--iidfile", request.idFile, "FILE", "Write the image's id to a file")
      .flag("-q,--quiet", request.quiet, "Print only the id")
      .positionals(1, 2);
  if (!options.parse(args)) return 0;
  if (!request.format.empty() && request.format != "oci" && request.format != "docker") {
    throw Error::make(Kind::usage, "--format: {} is neither oci nor docker",
                      text::quote(request.format));
  }
  request.words = options.words();
  const std::string id = commit(context, request).id.str();
  if (!request.idFile.empty()) writeIdFile(request.idFile, id);
  context.print(id + "\n");
  return 0;
}

}  // namespace

void addCommitCommand(CommandTable& table) {
  table.add({"commit,container commit", Group::containers, "Make an image of a container's changes",
             commitCommand});
}

}  // namespace img::cli
