#include "builder/deliver.h"

#include <climits>
#include <cstdlib>
#include <memory>
#include <set>

#include "base/fs.h"
#include "base/sys.h"
#include "base/text.h"
#include "builder/image_form.h"
#include "builder/output_file.h"
#include "builder/push_output.h"
#include "builder/trace.h"
#include "builder/tree_export.h"
#include "store/archive.h"
#include "store/layers.h"
#include "store/seal.h"

namespace img::builder {
namespace {

using Type = Output::Type;

constexpr char kCreated[] = "org.opencontainers.image.created";

// What an output is told besides itself.
struct Delivery {
  const store::Layout& layout;
  const Request& request;
  const std::vector<BuiltImage>& images;
  Progress& progress;
};

std::vector<int> foldersOf(const Delivery& delivery, const BuiltImage& image) {
  return openFolders(delivery.layout, image.state.snapshot);
}

std::optional<std::int64_t> epochOf(const Delivery& delivery, const Output& output) {
  const ImageForm form = mergedForm(delivery.request.output.form, output.form);
  return form.epoch.value_or(delivery.request.sourceDateEpoch);
}

void warnAboutDevices(Progress& progress, const std::string& dest,
                      const std::vector<std::string>& devices) {
  if (devices.empty()) return;
  progress.warning(Error::make(Kind::failed, "{} device nodes were not written to {}: {}",
                               devices.size(), text::quote(dest),
                               text::escape(text::join(devices, ", "))));
}

void exportLocal(const Delivery& delivery, const Output& output) {
  const Fd folder = fs::makeDirs(AT_FDCWD, output.dest);
  TreeExportOptions options;
  options.epoch = epochOf(delivery, output);
  options.deletesOthers = output.deletesOthers;
  const bool isSplit = wantsIndex(delivery.request) && output.isPlatformSplit;
  options.refusesConflicts = !isSplit && delivery.images.size() > 1;
  TreeExporter exporter{folder.get(), output.dest, options};
  std::set<std::string> names;
  for (const BuiltImage& image : delivery.images) {
    const std::string name = isSplit ? platformFolder(image.platform) : std::string{};
    exporter.add(foldersOf(delivery, image), name);
    names.insert(name);
  }
  if (isSplit && output.deletesOthers) exporter.keepOnly(names);
  warnAboutDevices(delivery.progress, output.dest, exporter.skippedDevices());
}

void exportTar(const Delivery& delivery, const Output& output, Sink& sink) {
  store::SealOptions options;
  options.setMtime = epochOf(delivery, output);
  options.isBottom = true;
  if (!wantsIndex(delivery.request)) {
    const std::vector<int> folders = foldersOf(delivery, delivery.images.front());
    if (folders.empty()) {
      store::writeTreesTar({}, sink, options);
    } else {
      store::writeLayerTar(folders, sink, options);
    }
    return;
  }
  std::vector<store::TarTree> trees;
  for (const BuiltImage& image : delivery.images)
    trees.push_back({platformFolder(image.platform), foldersOf(delivery, image)});
  store::writeTreesTar(trees, sink, options);
}

store::SaveItem itemOf(const Delivery& delivery, const Output& output, Delivered& result) {
  const ImageForm form = mergedForm(delivery.request.output.form, output.form);
  WrittenImage written =
      writeImages(delivery.layout, delivery.request, delivery.images, form, delivery.progress);
  if (!result.imageId) {
    result.imageId = written.main().id;
    result.descriptor = written.descriptor();
  }
  store::SaveItem item;
  item.names = output.names.empty() ? delivery.request.names : output.names;
  item.annotations = written.descriptor().annotations;
  if (const auto epoch = form.epoch.value_or(delivery.request.sourceDateEpoch))
    item.annotations.emplace(kCreated, text::formatTime(*epoch));
  item.index = written.index;
  item.image = std::move(written.images.front());
  item.others.assign(std::make_move_iterator(written.images.begin() + 1),
                     std::make_move_iterator(written.images.end()));
  return item;
}

void exportArchive(const Delivery& delivery, const Output& output, Delivered& result) {
  const std::vector<store::SaveItem> items{itemOf(delivery, output, result)};
  if (output.isFolder) {
    return store::saveDirectory(delivery.layout, items, output.dest, store::Existing::merge);
  }
  OutputFile file{output.dest, delivery.request.output.stdoutFd};
  store::saveArchive(delivery.layout, items,
                     output.type == Type::oci ? store::ArchiveFormat::ociArchive
                                              : store::ArchiveFormat::dockerArchive,
                     file.sink());
  file.commit();
}

std::string placeOf(const Output& output) {
  if (output.dest.empty()) return "to a registry";
  return output.dest == "-" ? "to stdout" : "to " + output.dest;
}

void pushTo(const Delivery& delivery, const Output& output, Delivered& result) {
  const WrittenImage written =
      writeImages(delivery.layout, delivery.request, delivery.images,
                  writtenForm(delivery.request, output), delivery.progress);
  if (!result.imageId) result.imageId = written.main().id;
  // Its digest is what others find the result by.
  result.descriptor = pushOutput(delivery.layout, delivery.request, output, written.descriptor(),
                                 delivery.progress);
}

void exportTo(const Delivery& delivery, const Output& output, Delivered& result) try {
  const Trace::Span span =
      Trace::begin(delivery.request.trace, "scheduler", "export", placeOf(output));
  switch (output.type) {
    case Type::local: return exportLocal(delivery, output);
    case Type::oci:
    case Type::docker: return exportArchive(delivery, output, result);
    case Type::tar: {
      OutputFile file{output.dest, delivery.request.output.stdoutFd};
      exportTar(delivery, output, file.sink());
      return file.commit();
    }
    case Type::registry: return pushTo(delivery, output, result);
    case Type::image: return output.isPushed ? pushTo(delivery, output, result) : void();
    case Type::cacheOnly: return;
  }
} catch (Error& error) {
  if (!output.dest.empty())
    error.during("writing the output {}", output.dest == "-" ? "to stdout" : output.dest);
  throw;
}

// Each image output with a form of its own is an image of its own; they share layers.
std::vector<store::Images::Publication> storeImages(const Delivery& delivery, Delivered& result) {
  const Request& request = delivery.request;
  std::vector<Output> wanted;
  for (const Output& output : request.output.outputs) {
    if (output.type == Type::image) wanted.push_back(output);
  }
  if (wanted.empty() && request.output.isStored(!request.names.empty())) wanted.emplace_back();
  std::vector<store::Images::Publication> publications;
  for (const Output& output : wanted) {
    const ImageForm form = mergedForm(request.output.form, output.form);
    const WrittenImage written =
        writeImages(delivery.layout, request, delivery.images, form, delivery.progress);
    const bool isFirst = publications.empty();
    if (isFirst) {
      result.imageId = written.main().id;
      result.descriptor = written.descriptor();
    }
    std::vector<std::string> names = output.names;
    if (isFirst) names.insert(names.end(), request.names.begin(), request.names.end());
    publications.push_back({written.descriptor(), std::move(names)});
  }
  return publications;
}

// File bytes, as `img images` counts them. Of a layer of the base image that is not unpacked only
// the blob's size is known.
void countBytes(const store::Layout& layout, const BuiltImage& image, Delivered& result) {
  const store::Layers views{layout};
  for (const LayerRef& layer : image.state.snapshot.layers) {
    const bool isOfBase = layer->created.empty();
    const bool isKnown = isOfBase && views.has(*layer->diffId);
    result.bytes += isKnown ? views.sizeOf(*layer->diffId) : layer->bytes;
    if (layer->isNew) result.newBytes += layer->bytes;
  }
}

// --- Checks before the build ---

[[noreturn]] void refuse(std::string cause, std::string hint = {}) {
  Error error{Kind::usage, std::move(cause)};
  if (!hint.empty()) error.hint(std::move(hint));
  throw error;
}

// As far as the path exists, links resolved; the rest as written.
std::string realPath(const std::string& path) {
  std::string head = path;
  std::string tail;
  for (;;) {
    const std::unique_ptr<char, decltype(&std::free)> real{
        ::realpath(head.empty() ? "." : head.c_str(), nullptr), &std::free};
    if (real) return joinPath(real.get(), tail.empty() ? "." : tail);
    const size_t slash = head.rfind('/');
    const std::string last = slash == std::string::npos ? head : head.substr(slash + 1);
    tail.insert(0, tail.empty() ? last : last + "/");
    if (slash == 0) return joinPath("/", tail);
    head.resize(slash == std::string::npos ? 0 : slash);
  }
}

bool isInside(const std::string& path, const std::string& folder) {
  return path == folder || path.starts_with(folder == "/" ? folder : folder + "/");
}

// What mode=delete could destroy is nobody's output: it stays below the current directory, and away
// from what the build reads.
void checkDeletion(const Request& request, const store::Layout& layout, const std::string& dest) {
  const std::string path = realPath(dest);
  const std::string current = realPath("");
  bool isAllowed = path != current && isInside(path, current);
  for (const std::string& allowed : request.allow) {
    constexpr std::string_view kKey = "fs.write=";
    if (allowed.starts_with(kKey) && isInside(path, realPath(allowed.substr(kKey.size()))))
      isAllowed = true;
  }
  if (!isAllowed) {
    refuse(fmt::format("mode=delete would remove files in {}, which is not below the current "
                       "directory",
                       text::quote(path)),
           "allow it with --allow fs.write=" + path);
  }
  const std::string store = realPath(layout.root());
  for (const std::string& precious : {current, store, realPath(request.contextDir)}) {
    if (!isInside(precious, path)) continue;
    refuse(fmt::format("mode=delete would remove {}, which lies in {}", text::quote(precious),
                       text::quote(path)),
           "choose a folder that holds nothing but the output");
  }
}

// Found before the first step, not after the last one: every folder above `dest` is one, and that
// of a file is there.
void checkParents(const Output& output, bool wantsFolder) {
  const size_t slash = output.dest.find_last_not_of('/');
  std::string path = output.dest.substr(0, slash == std::string::npos ? 1 : slash + 1);
  for (;;) {
    const size_t end = path.rfind('/');
    if (end == std::string::npos || path == "/") return;
    path.resize(std::max<size_t>(end, 1));
    struct stat st {};
    if (::stat(path.c_str(), &st) == 0) {
      if (!S_ISDIR(st.st_mode)) refuse(fmt::format("{} is not a folder", text::quote(path)));
      return;
    }
    if (!wantsFolder) {
      refuse(fmt::format("the folder {} of the output does not exist", text::quote(path)),
             "make it, or name another place with dest=FILE");
    }
  }
}

void checkPlace(const Output& output, const store::Layout& layout) {
  struct stat st {};
  const bool isThere = ::stat(output.dest.c_str(), &st) == 0;
  const bool wantsFolder = output.type == Type::local || output.isFolder;
  if (wantsFolder && isThere && !S_ISDIR(st.st_mode))
    refuse(fmt::format("{} is not a folder", text::quote(output.dest)));
  if (!wantsFolder && isThere && S_ISDIR(st.st_mode))
    refuse(fmt::format("{} is a folder, the output is one file", text::quote(output.dest)),
           "name a file in it");
  checkParents(output, wantsFolder);
  if (isInside(realPath(output.dest), realPath(layout.root()))) {
    refuse(fmt::format("{} lies in the store, whose files only this program writes",
                       text::quote(output.dest)),
           "choose a place outside of " + layout.root());
  }
}

void checkOutput(const Request& request, const store::Layout& layout, const Output& output) {
  const bool isFile = output.type == Type::tar || output.type == Type::oci ||
                      output.type == Type::docker || output.type == Type::local;
  if (isFile && output.dest != "-") checkPlace(output, layout);
  const bool isPushed = output.isPushed || output.type == Type::registry;
  if (isPushed && output.names.empty() && request.names.empty())
    refuse("a result that is pushed needs a name", "-t HOST/NAME:TAG, or name=HOST/NAME:TAG");
  if (output.type == Type::docker && wantsIndex(request)) {
    refuse("a docker archive holds one platform only",
           "write an OCI archive, or one docker archive for each platform");
  }
  const bool isMerged = wantsIndex(request) && !output.isPlatformSplit;
  if (isMerged && output.type == Type::tar)
    refuse("platform-split=false is for folders, not for a tar");
  if (isMerged && output.deletesOthers)
    refuse("mode=delete and platform-split=false exclude each other");
  if (output.deletesOthers) checkDeletion(request, layout, output.dest);
}

void checkAnnotations(const Request& request, const ImageForm& form) {
  for (const Annotation& annotation : form.annotations) {
    const bool isOfIndex = annotation.level == Annotation::Level::index ||
                           annotation.level == Annotation::Level::indexDescriptor;
    if (isOfIndex && !wantsIndex(request)) {
      refuse(fmt::format("annotation {}: the result is a single manifest and has no index",
                         text::quote(annotation.key)),
             "annotate the manifest, or build for several platforms");
    }
    if (isOfIndex && form.isDocker.value_or(false))
      refuse("docker's image format has no annotations on the index");
  }
}

}  // namespace

bool OutputRequest::isStored(bool isNamed) const {
  bool stored = isNamed || outputs.empty();
  for (const Output& output : outputs) stored = stored || output.type == Type::image;
  return stored;
}

bool OutputRequest::hasImage(bool isNamed) const {
  bool has = isStored(isNamed);
  for (const Output& output : outputs)
    has = has || output.type == Type::oci || output.type == Type::docker ||
          output.type == Type::registry;
  return has;
}

bool OutputRequest::usesStdout() const {
  bool uses = false;
  for (const Output& output : outputs) uses = uses || output.dest == "-";
  return uses;
}

std::string platformFolder(const store::Platform& platform) {
  std::string name = platform.os + "_" + platform.architecture;
  return platform.variant.empty() ? name : name + "_" + platform.variant;
}

void checkOutputs(const Request& request, const store::Layout& layout) {
  int streams = 0;
  for (const Output& output : request.output.outputs) {
    checkOutput(request, layout, output);
    checkAnnotations(request, mergedForm(request.output.form, output.form));
    streams += output.dest == "-" ? 1 : 0;
  }
  checkAnnotations(request, request.output.form);
  if (streams > 1) refuse("only one output can go to stdout");
  if (request.output.layerTimes == OutputRequest::LayerTimes::set && !request.sourceDateEpoch)
    refuse("file times can only be set together with a time");
}

Delivered deliver(const store::Layout& layout, const Request& request,
                  std::vector<BuiltImage> images, Progress& progress) {
  for (BuiltImage& image : images) {
    const Trace::Span span = Trace::begin(request.trace, "scheduler", "compress", "reshape layers");
    reshape(layout, request, image);
  }
  const Delivery delivery{layout, request, images, progress};
  Delivered result;
  for (const BuiltImage& image : images) countBytes(layout, image, result);
  const auto publications = storeImages(delivery, result);
  for (const Output& output : request.output.outputs) exportTo(delivery, output, result);
  // Last, so that a build whose output fails leaves every name where it was.
  if (!publications.empty()) store::Images{layout}.publishAll(publications);
  return result;
}

}  // namespace img::builder
