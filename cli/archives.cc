// save, load and import: images to and from files.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>

#include "base/interruption.h"
#include "base/sys.h"
#include "base/text.h"
#include "builder/config_step.h"
#include "builder/remote_url.h"
#include "cli/byte_progress.h"
#include "cli/commands.h"
#include "cli/image_facts.h"
#include "cli/input_file.h"
#include "cli/options.h"
#include "cli/output_file.h"
#include "cli/values.h"
#include "store/archive.h"
#include "store/saved_item.h"

namespace img::cli {
namespace {

// What an argument means: an entry of index.json by name, else an image by id.
struct Meant {
  store::Image image;
  std::optional<store::ImageRow> row;
};

Meant resolve(const store::Layout& layout, const std::string& argument) {
  const store::Images images{layout};
  Meant meant{images.get(argument), {}};
  const std::vector<store::ImageRow> rows = images.list();
  for (const std::string& name : namesMeantBy(argument)) {
    const auto row = std::find_if(rows.begin(), rows.end(),
                                  [&](const store::ImageRow& one) { return one.name == name; });
    if (row == rows.end()) continue;
    if (resolvesTo(layout, *row, meant.image)) meant.row = *row;
    break;
  }
  return meant;
}

// Images in the order of their first mention; each keeps the names it was mentioned by. A docker
// archive has no place for an index: it gets the image for this machine.
std::vector<store::SaveItem> itemsToSave(const store::Layout& layout,
                                         const std::vector<std::string>& arguments,
                                         bool keepsIndexes) {
  std::vector<store::SaveItem> items;
  for (const std::string& argument : arguments) {
    Meant meant = resolve(layout, argument);
    store::SaveItem item;
    if (keepsIndexes && meant.row && store::isIndexType(meant.row->descriptor.mediaType)) {
      store::addIndex(layout, meant.row->descriptor, item);
    } else {
      item.image = std::move(meant.image);
    }
    auto known = std::find_if(items.begin(), items.end(), [&](const store::SaveItem& one) {
      const bool isSameIndex = one.index && item.index && one.index->digest == item.index->digest;
      return isSameIndex ||
             (!one.index && !item.index &&
              one.image.manifestDescriptor.digest == item.image.manifestDescriptor.digest);
    });
    if (known == items.end()) known = items.insert(items.end(), std::move(item));
    if (!meant.row || !meant.row->name) continue;
    const std::string& name = *meant.row->name;
    if (std::find(known->names.begin(), known->names.end(), name) == known->names.end())
      known->names.push_back(name);
  }
  return items;
}

int runSave(Context& context, const std::vector<std::string>& args) {
  std::string file;
  std::string format = "docker-archive";
  bool isCompressed = false, quiet = false;
  Options options{context, "NAME...", "Write images to an archive"};
  options.text("-o,--output", file, "FILE", "Write to FILE instead of stdout")
      .text("--format", format, "FORMAT", "docker-archive, oci-archive or oci-dir (docker-archive)")
      .flag("--compress", isCompressed, "Compress layers that are not compressed (gzip)")
      .flag("-q,--quiet", quiet, "Show no progress")
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
  std::vector<store::SaveItem> items =
      itemsToSave(layout, options.words(), format != "docker-archive");
  if (isCompressed) {
    for (store::SaveItem& item : items) store::compressItem(layout, item);
  }
  const auto archive = format == "oci-archive" ? store::ArchiveFormat::ociArchive
                                               : store::ArchiveFormat::dockerArchive;
  if (isDirectory) {
    store::saveDirectory(layout, items, file);
  } else {
    writeOutput(context, file, [&](Sink& sink) {
      ByteProgress progress{context, quiet, "saving"};
      CountedSink counted{sink, progress};
      store::saveArchive(layout, items, archive, counted);
    });
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

std::vector<store::LoadedImage> loadFrom(Context& context, const std::string& file, bool isQuiet,
                                         const std::optional<store::Platform>& platform) {
  const store::Layout& layout = context.store();
  const bool isStdin = file.empty() || file == "-";
  if (!isStdin && isDirectoryPath(file)) {
    const Fd directory = sys::openDirectory(AT_FDCWD, file);
    return store::loadDirectory(layout, directory.get(), file, platform);
  }
  InputFile input = isStdin ? openStdin("an archive") : openInput(file);
  ByteProgress progress{context, isQuiet, "loading " + input.name, input.bytes};
  FdSource source{std::move(input.fd), input.name};
  CountedSource counted{source, progress};
  return store::loadArchive(layout, counted, input.name, platform);
}

int runLoad(Context& context, const std::vector<std::string>& args) {
  std::string file;
  std::optional<std::string> platform;
  bool quiet = false;
  Options options{context, "", "Read images from an archive or an OCI directory"};
  options.text("-i,--input", file, "FILE", "Read FILE instead of stdin")
      .text("--platform", platform, "OS/ARCH[/VARIANT]", "Of several platforms, only this one")
      .flag("-q,--quiet", quiet, "Show no progress")
      .positionals(0, 1);
  if (!options.parse(args)) return 0;
  if (!options.words().empty() && options.words().front() != "-") {
    throw Error::make(Kind::usage, "unexpected argument {}", text::quote(options.words().front()))
        .hint("name the archive with -i FILE");
  }

  std::optional<store::Platform> wanted;
  if (platform) wanted = parsePlatform(*platform);
  const store::StoreUse use{context.store()};
  const InterruptionScope scope;
  const std::vector<store::LoadedImage> loaded = loadFrom(context, file, quiet, wanted);
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
  Options options{context, "FILE|URL|- [NAME[:TAG]]",
                  "Make a one-layer image from a root file system tar"};
  options
      .list("-c,--change", changes, "INSTRUCTION", "Apply a Dockerfile instruction to the config")
      .text("-m,--message", message, "TEXT", "Comment in the history")
      .text("--platform", platform, "OS/ARCH[/VARIANT]", "Platform of the image (this machine's)")
      .flag("-q,--quiet", quiet, "Show no progress")
      .positionals(1, 2);
  if (!options.parse(args)) return 0;

  const std::string& file = options.words()[0];
  std::vector<std::string> names;
  if (options.words().size() == 2) {
    names.push_back(store::Reference::parse(options.words()[1]).full());
  }
  store::ImageConfig config;
  config.created = creationTime();
  config.platform = platform ? parsePlatform(*platform) : store::Platform::host();
  for (const std::string& change : changes) builder::applyChange(config, change);
  if (message.empty())
    message = "Imported from " + (isUrl(file) ? builder::withoutCredentials(file) : file);
  config.history = {{config.created, "", "", message, false}};

  const store::Layout& layout = context.store();
  const store::StoreUse use{layout};
  const InterruptionScope scope;
  InputFile input = file == "-"   ? openStdin("a tar")
                    : isUrl(file) ? fetchInput(layout, file)
                                  : openInput(file);
  ByteProgress progress{context, quiet, "importing " + input.name, input.bytes};
  FdSource source{std::move(input.fd), input.name};
  CountedSource counted{source, progress};
  const store::Image image = store::importTar(layout, counted, input.name, std::move(config));
  progress.finish();
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
