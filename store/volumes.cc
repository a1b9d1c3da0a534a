#include "store/volumes.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/fs.h"
#include "base/json.h"
#include "base/sys.h"
#include "base/text.h"
#include "store/container_names.h"
#include "store/containers.h"

namespace img::store {
namespace {

struct Meta {
  std::string createdAt;
  std::map<std::string, std::string> labels, options;
  bool anonymous = false;
  bool fresh = false;  // never mounted: still to be filled
};

std::string pathOf(std::string_view name) {
  return "volumes/" + std::string{name};
}

std::string toJson(const Meta& meta) {
  return dumpJson({{"createdAt", meta.createdAt},
                   {"labels", meta.labels},
                   {"options", meta.options},
                   {"anonymous", meta.anonymous},
                   {"fresh", meta.fresh}});
}

std::optional<Meta> readMeta(const Layout& layout, std::string_view name) {
  const std::string path = pathOf(name) + "/meta.json";
  const auto text = fs::tryReadFile(layout.fd(), path);
  if (!text) return std::nullopt;
  try {
    const Json json = parseJson(*text, path);
    return Meta{json.value("createdAt", ""), json.value("labels", decltype(Meta::labels){}),
                json.value("options", decltype(Meta::options){}), json.value("anonymous", false),
                json.value("fresh", false)};
  } catch (const Json::exception& error) {
    throw Error::make(Kind::corrupt, "{}: {}", path, error.what());
  }
}

Volume toVolume(const Layout& layout, const std::string& name, const Meta& meta) {
  return {name,        meta.createdAt, layout.root() + "/" + pathOf(name) + "/data",
          meta.labels, meta.anonymous, meta.options};
}

}  // namespace

Volume Volumes::publish(const std::string& given, const NewVolume& wanted, const Fill* fill,
                        bool& created) const {
  created = false;
  if (!given.empty() && !isValidContainerName(given)) {
    throw Error::make(Kind::usage,
                      "invalid volume name {}: only [a-zA-Z0-9][a-zA-Z0-9_.-]* is allowed",
                      text::quote(given));
  }
  if (!given.empty()) {
    if (auto known = find(given)) return std::move(*known);
  }
  const std::string name = given.empty() ? fs::randomHex(64) : given;
  // What lies on a device of its own is never filled from an image.
  const bool isFresh = fill == nullptr && wanted.options.empty();
  const bool isAnonymous = given.empty() || wanted.isAnonymous;
  const Meta meta{timestampNow(), wanted.labels, wanted.options, isAnonymous, isFresh};
  const IngestDir ingest{layout_};
  sys::mkdirat(ingest.fd(), "volume", 0701);
  sys::mkdirat(ingest.fd(), "volume/data", 0755);
  const Fd data = sys::openDirectory(ingest.fd(), "volume/data");
  sys::fchmod(data.get(), 0755);  // whatever the umask
  if (fill != nullptr && *fill) (*fill)(data.get());
  fs::replaceFile(ingest.fd(), "volume/meta.json", toJson(meta), 0600, fs::Sync::data);
  created = sys::renameNoReplace(ingest.fd(), "volume", layout_.fd(), pathOf(name));
  if (!created) return find(name).value();  // somebody was faster
  sys::fsync(sys::openDirectory(layout_.fd(), "volumes").get(), "volumes");
  return toVolume(layout_, name, meta);
}

Volume Volumes::create(const std::string& name, const std::map<std::string, std::string>& labels,
                       bool& created, const std::map<std::string, std::string>& options) const {
  return publish(name, {labels, options, false}, nullptr, created);
}

std::string Volumes::mountpointOf(const std::string& name) const {
  return layout_.root() + "/" + pathOf(name) + "/data";
}

Volume Volumes::prepare(const std::string& name, const Fill& fill, bool isAnonymous) const {
  bool created = false;
  Volume volume = publish(name, NewVolume{{}, {}, isAnonymous}, &fill, created);
  if (created) return volume;
  auto meta = readMeta(layout_, volume.name);
  if (!meta || !meta->fresh) return volume;
  const FileLock lock = FileLock::acquire(layout_.fd(), "locks/volumes", FileLock::Mode::exclusive);
  meta = readMeta(layout_, volume.name);
  if (!meta || !meta->fresh) return volume;
  const Fd data = sys::openDirectory(layout_.fd(), pathOf(volume.name) + "/data");
  // Someone may have put files there by hand: those are not mixed with the image's.
  if (fill && fs::list(data.get()).empty()) fill(data.get());
  meta->fresh = false;
  fs::replaceFile(layout_.fd(), pathOf(volume.name) + "/meta.json", toJson(*meta), 0600,
                  fs::Sync::none);
  return volume;
}

std::optional<Volume> Volumes::find(std::string_view name) const {
  if (!isValidContainerName(name)) return std::nullopt;
  const auto meta = readMeta(layout_, name);
  if (!meta) return std::nullopt;
  return toVolume(layout_, std::string{name}, *meta);
}

std::vector<Volume> Volumes::list() const {
  std::vector<Volume> volumes;
  for (const fs::Entry& entry : fs::listSorted(sys::openDirectory(layout_.fd(), "volumes").get())) {
    if (auto volume = find(entry.name)) volumes.push_back(std::move(*volume));
  }
  return volumes;
}

void Volumes::remove(const std::string& name) const {
  if (!find(name)) {
    throw Error::make(Kind::notFound, "no such volume: {}", text::escape(name))
        .code("volume-not-found");
  }
  // Gone at once for everybody; the files go with the folder.
  const IngestDir grave{layout_};
  sys::renameat(layout_.fd(), pathOf(name), grave.fd(), "volume");
}

Fd Volumes::openData(const std::string& name) const {
  const auto volume = find(name);
  const std::string device =
      volume && volume->options.contains("device") ? volume->options.at("device") : "";
  if (!device.starts_with('/')) {
    return sys::openat(layout_.fd(), pathOf(name) + "/data", O_PATH | O_DIRECTORY | O_NOFOLLOW);
  }
  auto folder = sys::tryOpenat(AT_FDCWD, device, O_PATH | O_DIRECTORY);
  if (folder) return std::move(*folder);
  throw Error::make(Kind::notFound, "the device {} of volume {} is not a folder",
                    text::quote(device), name);
}

}  // namespace img::store
