#include "store/layer_view.h"

#include <cstdlib>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/error.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/text.h"
#include "store/erofs_mount.h"
#include "store/json_reader.h"
#include "store/union_copy.h"

namespace img::store {
namespace {

constexpr char kVariable[] = "IMG_LAYER_VIEW";
constexpr char kRemembered[] = "cache/layer-view";
constexpr size_t kMaxRemembered = 4096;

std::optional<LayerView> forcedView() {
  const char* value = std::getenv(kVariable);  // NOLINT(concurrency-mt-unsafe): nobody writes it
  const std::string_view text = value == nullptr ? "" : value;
  if (text.empty()) return std::nullopt;
  if (text == "directory") return LayerView::directory;
  if (text == "erofs") return LayerView::erofs;
  throw Error::make(Kind::usage, "{}={}: expected directory or erofs", kVariable,
                    text::quote(text));
}

// Why this process cannot have it, whatever the kernel can.
std::optional<std::string> whyNotAllowed() {
  if (copiesUnions()) return "nothing is mounted with isolation chroot";
  if (!mayMountErofs()) return "only root of the machine mounts EROFS (CAP_SYS_ADMIN)";
  return std::nullopt;
}

// What the kernel said in this boot; "" when the view works.
std::optional<std::string> recall(const Layout& layout) {
  const auto text = fs::tryReadFile(layout.fd(), kRemembered, kMaxRemembered);
  if (!text) return std::nullopt;
  try {
    const Json document = parseJson(*text, kRemembered);
    const JsonReader json{document, kRemembered};
    if (json.get("boot_id").string() != bootId()) return std::nullopt;
    return json.get("missing").string();
  } catch (const Error& error) {
    log::info("{}", error.cause());
    return std::nullopt;
  }
}

std::string askKernel(const Layout& layout) {
  if (auto known = recall(layout)) return std::move(*known);
  const IngestDir folder{layout};
  std::string missing = whyErofsFails(folder.fd()).value_or("");
  const Json document = {{"boot_id", bootId()}, {"missing", missing}};
  fs::replaceFile(layout.fd(), kRemembered, dumpJson(document), 0644, fs::Sync::none);
  return missing;
}

}  // namespace

const char* layerViewName(LayerView view) {
  return view == LayerView::erofs ? "erofs" : "directory";
}

LayerViewChoice chooseLayerView(const Layout& layout) {
  const auto forced = forcedView();
  if (forced == LayerView::directory)
    return {LayerView::directory, fmt::format("{} says so", kVariable), true};
  std::string missing = whyNotAllowed().value_or("");
  if (missing.empty()) missing = askKernel(layout);
  if (missing.empty()) {
    return {LayerView::erofs,
            forced ? fmt::format("{} says so", kVariable)
                   : "the kernel mounts layers straight from their tars",
            forced.has_value()};
  }
  if (forced) {
    throw Error{Kind::unsupported, "layers cannot be EROFS here, as IMG_LAYER_VIEW wants"}
        .code("layer-view")
        .why(missing)
        .hint("EROFS layers need root and Linux 6.15; without IMG_LAYER_VIEW they are unpacked");
  }
  return {LayerView::directory, missing, false};
}

std::optional<std::string> whyNoErofsViews(int folder) {
  if (auto missing = whyNotAllowed()) return missing;
  return whyErofsFails(folder);
}

bool isLayerViewForced() {
  return forcedView().has_value();
}

bool usesErofsViews() {
  return forcedView() != LayerView::directory && !whyNotAllowed();
}

}  // namespace img::store
