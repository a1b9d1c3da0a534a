// `img cp`: files between a container and the host, or a tar stream, by docker's rules (cli.md 11).
#include <unistd.h>

#include "base/error.h"
#include "base/stream.h"
#include "base/sys.h"
#include "base/text.h"
#include "cli/container_commands.h"
#include "cli/container_root.h"
#include "cli/copy_place.h"
#include "cli/options.h"
#include "store/containers.h"
#include "store/seal.h"
#include "store/tree_merge.h"
#include "store/unpack.h"

namespace img::cli {
namespace {

struct CopyRequest {
  bool archive = false, followLink = false, quiet = false, overwrite = false;
  CopyArgument source, target;
};

Fd standardStream(int fd, std::string_view name) {
  return Fd{sys::check([&] { return ::fcntl(fd, F_DUPFD_CLOEXEC, 3); }, "duplicate {}", name)};
}

store::MergeOptions optionsOf(const CopyRequest& request, bool fromContainer) {
  store::MergeOptions options;
  options.isUntrusted = fromContainer;
  options.overwrite = request.overwrite;
  // Root in the container, the caller here.
  const std::pair<uid_t, gid_t> root{0, 0};
  const std::pair<uid_t, gid_t> caller{::geteuid(), ::getegid()};
  if (!request.archive) options.owner = fromContainer ? caller : root;
  return options;
}

void copyTo(Context& context, const CopySource& source, const CopyTarget& target,
            const store::MergeOptions& options) {
  const Fd folder = sys::openDirectory(target.folder.get(), ".");
  store::TreeMerger merger{folder.get(), options};
  target.isFilled ? merger.copyContent(source.handle.get())
                  : merger.copy(source.handle.get(), target.name);
  for (const std::string& text : merger.skipped()) {
    context.notice(fmt::format("not copied: {}\n", text::escape(text, 500)));
  }
}

void writeArchive(Context& context, const CopySource& source) {
  if (context.outIsTerminal()) {
    throw Error{Kind::failed, "refusing to write an archive to a terminal"}.hint(
        "redirect the output to a file, or give a destination");
  }
  FdSink sink{standardStream(context.out(), "stdout"), "stdout"};
  if (S_ISDIR(source.st.st_mode)) {
    // Opened already: whatever the path leads to by now.
    const std::vector<store::TarTree> trees{
        {source.isContent ? "" : source.name, {source.handle.get()}}};
    store::SealOptions options;
    options.isLive = true;
    store::writeTreesTar(trees, sink, options);
    return;
  }
  store::writeObjectTar(source.handle.get(), source.name, sink);
}

void copyOut(Context& context, const store::ContainerRecord& record, const CopyRequest& request) {
  const ContainerRoot root{context.store(), record, RootAccess::read};
  const CopyTree tree = CopyTree::ofContainer(root.fd());
  const CopySource source = findSource(tree, request.source.path, request.followLink);
  if (request.target.path == "-") return writeArchive(context, source);
  const CopyTarget target = findTarget(CopyTree::ofHost(), request.target.path, source);
  copyTo(context, source, target, optionsOf(request, true));
}

void unpackInto(const ContainerRoot& root, const CopyRequest& request) {
  const Fd folder = findFolder(CopyTree::ofContainer(root.fd()), request.target.path);
  const Fd top = sys::openDirectory(folder.get(), ".");
  FdSource input{standardStream(STDIN_FILENO, "stdin"), "stdin"};
  const std::unique_ptr<Source> tar = decompress(input, "stdin");
  store::ArchiveOptions options;
  options.isTree = true;
  if (!request.archive) options.uid = options.gid = 0;
  store::unpackArchive(*tar, top.get(), "/", options, "stdin");
}

void copyIn(Context& context, const store::ContainerRecord& record, const CopyRequest& request) {
  if (request.source.path == "-") {
    if (::isatty(STDIN_FILENO) == 1) {
      throw Error{Kind::failed, "refusing to read an archive from a terminal"};
    }
    return unpackInto(ContainerRoot{context.store(), record, RootAccess::write}, request);
  }
  // Before the container is looked at: a source that is not there is the first thing to say.
  const CopySource source = findSource(CopyTree::ofHost(), request.source.path, request.followLink);
  const ContainerRoot root{context.store(), record, RootAccess::write};
  const CopyTarget target =
      findTarget(CopyTree::ofContainer(root.fd()), request.target.path, source);
  copyTo(context, source, target, optionsOf(request, false));
}

int copyFiles(Context& context, const std::vector<std::string>& args) {
  CopyRequest request;
  Options options{context, "CONTAINER:PATH PATH|- | PATH|- CONTAINER:PATH",
                  "Copy files between a container and the host"};
  options.flag("-a,--archive", request.archive, "Keep the owners of the source")
      .flag("-L,--follow-link", request.followLink, "Follow a symbolic link in SRC")
      .flag("-q,--quiet", request.quiet, "No progress (there is none)")
      .flag("--overwrite", request.overwrite, "Directories may replace files and files directories")
      .positionals(2, 2);
  if (!options.parse(args)) return 0;
  request.source = parseCopyArgument(options.words()[0]);
  request.target = parseCopyArgument(options.words()[1]);
  const bool isOut = !request.source.container.empty();
  if (isOut == !request.target.container.empty()) {
    throw Error{Kind::usage, isOut ? "copying between containers is not supported"
                                   : "one side must be CONTAINER:PATH"}
        .exitCode(1);
  }
  if (request.source.path.empty() || request.target.path.empty()) {
    throw Error{Kind::usage, "the path is empty"}.exitCode(1);
  }
  const store::Containers containers{context.store()};
  const store::ContainerRecord record =
      containers.get(isOut ? request.source.container : request.target.container);
  try {
    isOut ? copyOut(context, record, request) : copyIn(context, record, request);
  } catch (Error& error) {
    if (error.errnum() == EROFS) {
      error.hint("the place in the container is read-only");
    }
    throw;
  }
  return 0;
}

}  // namespace

void addCopyCommand(CommandTable& table) {
  table.add({"cp,container cp", Group::containers, "Copy files between a container and the host",
             copyFiles});
}

}  // namespace img::cli
