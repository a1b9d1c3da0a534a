// `img export`: the files of a container as one tar, whiteouts applied, volumes left out.
#include <unistd.h>

#include "base/error.h"
#include "base/stream.h"
#include "base/sys.h"
#include "cli/container_commands.h"
#include "cli/container_spec.h"
#include "cli/options.h"
#include "cli/output_file.h"
#include "cli/shifted_rootfs.h"
#include "store/containers.h"
#include "store/layers.h"
#include "store/seal.h"

namespace img::cli {
namespace {

void writeTree(const store::Layout& layout, const store::ContainerConfig& config, Sink& sink) {
  ensureLayers(layout, config);
  std::vector<Fd> open;
  std::vector<int> folders;
  const auto add = [&](Fd folder) {
    folders.push_back(folder.get());
    open.push_back(std::move(folder));
  };
  // The layers as they lie on disk and no mount: nothing that is mounted over them is in the way,
  // and a running container is not disturbed.
  add(sys::openDirectory(store::Containers{layout}.folder(config.id).get(), "upper"));
  auto init = sys::tryOpenat(layout.fd(), initPath(layout, config), O_RDONLY | O_DIRECTORY);
  if (init) add(std::move(*init));
  const store::Layers layers{layout};
  for (auto diffId = config.diffIds.rbegin(); diffId != config.diffIds.rend(); ++diffId) {
    add(layers.open(*diffId));
  }
  store::SealOptions options;
  options.isBottom = true;
  options.isLive = true;
  store::writeLayerTar(folders, sink, options);
}

int exportCommand(Context& context, const std::vector<std::string>& args) {
  std::string file;
  Options options{context, "CONTAINER", "Write the files of a container to a tar archive"};
  options.text("-o,--output", file, "FILE", "Write to FILE instead of stdout").positionals(1, 1);
  if (!options.parse(args)) return 0;
  const store::Layout& layout = context.store();
  const store::StoreUse use{layout};
  const store::ContainerRecord record = store::Containers{layout}.get(options.words().front());
  requireOwnIds(layout, record);
  writeOutput(context, file, [&](Sink& sink) { writeTree(layout, record.config, sink); });
  return 0;
}

}  // namespace

void addExportCommand(CommandTable& table) {
  table.add({"export,container export", Group::containers,
             "Write the files of a container to a tar archive", exportCommand});
}

}  // namespace img::cli
