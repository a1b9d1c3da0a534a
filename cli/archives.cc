// save, load and import: images to and from files.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>

#include "base/sys.h"
#include "base/text.h"
#include "builder/config_step.h"
#include "cli/commands.h"
#include "cli/image_facts.h"
#include "cli/options.h"
#include "cli/output_file.h"
#include "cli/values.h"
#include "store/archive.h"

namespace img::cli {
namespace {

// Images in the order of their first mention; each keeps the names it was mentioned by.
std::vector<store::SaveItem> itemsToSave(const store::Layout& layout,
                                         const std::vector<std::string>& arguments) {
  const store::Images images{layout};
  std::vector<store::SaveItem> items;
  for (const std::string& argument : arguments) {
    store::Image image = images.get(argument);
    auto item = std::find_if(items.begin(), items.end(), [&](const store::SaveItem& known) {
      return known.image.manifestDescriptor.digest == image.manifestDescriptor.digest;
    });
    const std::vector<std::string> known = namesOf(layout, image);
    if (item == items.end()) item = items.insert(items.end(), {std::move(image), {}});
    for (const std::string& name : namesMeantBy(argument)) {
      if (std::find(known.begin(), known.end(), name) == known.end()) continue;
      if (std::find(item->names.begin(), item->names.end(), name) == item->names.end()) {
        item->names.push_back(name);
      }
      break;
    }
  }
  return items;
}

int runSave(Context& context, const std::vector<std::string>& args) {
  std::string file;
  std::string format = "docker-archive";
  bool quiet = false;
  Options options{context, "NAME...", "Write images to an archive"};
  options.text("-o,--output", file, "FILE", "Write to FILE instead of stdout")
      .text("--format", format, "FORMAT", "docker-archive, oci-archive or oci-dir (docker-archive)")
      .flag("-q,--quiet", quiet, "No progress (there is none)")
      .ignoredFlag("--compress")
      .ignoredFlag("--multi-image-archive,-m")
      .positionals(1, kAnyNumber);
  if (!options.parse(args)) return 0;

  const bool isDirectory = format == "oci-dir";
  if (format != "docker-archive" && format != "oci-archive" && !isDirectory) {
    throw Error::make(Kind::usage, "invalid value {} for --format", text::quote(format))
        .hint("use docker-archive, oci-archive or oci-dir");
  }
  if (file.empty() && isDirectory) {
    throw Error{Kind::failed, "a directory cannot be written to stdout"}.hint("-o DIR");
  }
  const store::Layout& layout = context.store();
  const store::StoreUse use{layout};
  const std::vector<store::SaveItem> items = itemsToSave(layout, options.words());
  const auto archive = format == "oci-archive" ? store::ArchiveFormat::ociArchive
                                               : store::ArchiveFormat::dockerArchive;
  if (isDirectory) {
    store::saveDirectory(layout, items, file);
  } else {
    writeOutput(context, file,
                [&](Sink& sink) { store::saveArchive(layout, items, archive, sink); });
  }
  return 0;
}

// A name that pointed elsewhere is never moved silently (security.md M16).
void noticeMoved(Context& context, const store::LoadedImage& image) {
  for (const auto& [name, old] : image.moved) {
    context.notice(fmt::format("{} was {} and is now {}\n", text::escape(familiarName(name)),
                               old.str(), image.id.str()));
  }
}

bool isDirectoryPath(const std::string& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode);
}

Fd openStdin(std::string_view what) {
  if (isatty(0) == 1) {
    throw Error::make(Kind::failed, "refusing to read {} from a terminal", what);
  }
  return Fd{sys::check([] { return fcntl(0, F_DUPFD_CLOEXEC, 3); }, "duplicate stdin")};
}

int runLoad(Context& context, const std::vector<std::string>& args) {
  std::string file;
  bool quiet = false;
  Options options{context, "", "Read images from an archive or an OCI directory"};
  options.text("-i,--input", file, "FILE", "Read FILE instead of stdin")
      .flag("-q,--quiet", quiet, "No progress (there is none)")
      .positionals(0, 1);
  if (!options.parse(args)) return 0;
  if (!options.words().empty() && options.words().front() != "-") {
    throw Error::make(Kind::usage, "unexpected argument {}", text::quote(options.words().front()))
        .hint("name the archive with -i FILE");
  }

  const store::Layout& layout = context.store();
  const store::StoreUse use{layout};
  std::vector<store::LoadedImage> loaded;
  if (!file.empty() && file != "-" && isDirectoryPath(file)) {
    const Fd directory = sys::openDirectory(AT_FDCWD, file);
    loaded = store::loadDirectory(layout, directory.get(), file);
  } else {
    const bool isStdin = file.empty() || file == "-";
    FdSource source{isStdin ? openStdin("an archive") : sys::openat(AT_FDCWD, file, O_RDONLY),
                    isStdin ? "stdin" : file};
    loaded = store::loadArchive(layout, source, isStdin ? "stdin" : file);
  }
  std::string out;
  for (const store::LoadedImage& image : loaded) {
    noticeMoved(context, image);
    for (const std::string& name : image.names) {
      out += fmt::format("Loaded image: {}\n", familiarName(name));
    }
    if (image.names.empty()) out += fmt::format("Loaded image ID: {}\n", image.id.str());
  }
  context.print(out);
  return 0;
}

// SOURCE_DATE_EPOCH makes the result depend on the tar alone (cli.md 9.6).
std::string creationTime() {
  if (const auto epoch = sourceDateEpoch()) return text::formatTime(*epoch);
  struct timespec now {};
  sys::check([&] { return ::clock_gettime(CLOCK_REALTIME, &now); }, "read the clock");
  return text::formatTime(now.tv_sec, now.tv_nsec);
}

int runImport(Context& context, const std::vector<std::string>& args) {
  std::vector<std::string> changes;
  std::string message;
  std::optional<std::string> platform;
  bool quiet = false;
  Options options{context, "FILE|- [NAME[:TAG]]",
                  "Make a one-layer image from a root file system tar"};
  options
      .list("-c,--change", changes, "INSTRUCTION", "Apply a Dockerfile instruction to the config")
      .text("-m,--message", message, "TEXT", "Comment in the history")
      .text("--platform", platform, "OS/ARCH[/VARIANT]", "Platform of the image (this machine's)")
      .flag("-q,--quiet", quiet, "No progress (there is none)")
      .positionals(1, 2);
  if (!options.parse(args)) return 0;

  const std::string& file = options.words()[0];
  if (file.starts_with("http://") || file.starts_with("https://")) {
    throw Error{Kind::unsupported, "this version of img does not fetch URLs"}.hint(
        "fetch it with another program and pipe it in: curl -fL URL | img import -");
  }
  std::vector<std::string> names;
  if (options.words().size() == 2) {
    names.push_back(store::Reference::parse(options.words()[1]).full());
  }
  const bool isStdin = file == "-";
  store::ImageConfig config;
  config.created = creationTime();
  config.platform = platform ? parsePlatform(*platform) : store::Platform::host();
  for (const std::string& change : changes) builder::applyChange(config, change);
  if (message.empty()) message = "Imported from " + file;
  config.history = {{config.created, "", "", message, false}};

  const store::Layout& layout = context.store();
  const store::StoreUse use{layout};
  FdSource source{isStdin ? openStdin("a tar") : sys::openat(AT_FDCWD, file, O_RDONLY),
                  isStdin ? "stdin" : file};
  const store::Image image =
      store::importTar(layout, source, isStdin ? "stdin" : file, std::move(config));
  store::Images{layout}.publish(image.manifestDescriptor, names);
  context.print(image.id.str() + "\n");
  return 0;
}

}  // namespace

void addArchiveCommands(CommandTable& table) {
  table.add({"save,image save", Group::images, "Write images to an archive", runSave});
  table.add({"load,image load", Group::images, "Read images from an archive", runLoad});
  table.add({"import,image import", Group::images, "Make an image from a root file system tar",
             runImport});
}

}  // namespace img::cli
