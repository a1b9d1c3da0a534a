// Mends what a check has found, from the bottom up: bad blobs go to quarantine/ and come back from
// where they came from; unpacked layers are made again from their blobs; and what then still
// depends on something lost is taken out, and nothing else. Each finding says what was done.
#include <algorithm>
#include <tuple>

#include "base/fs.h"
#include "base/log.h"
#include "base/sys.h"
#include "base/text.h"
#include "store/blobs.h"
#include "store/containers.h"
#include "store/images.h"
#include "store/layers.h"
#include "store/verify_internal.h"

namespace img::store {
namespace {

using About = Finding::About;

void solve(Finding& finding, std::string action) {
  finding.shown.action = std::move(action);
  finding.shown.isSolved = true;
}

// Whatever goes wrong with one repair is said in its line, and the others go on.
template <class Work>
void attempt(Finding& finding, Work&& work) {
  try {
    work();
  } catch (const Error& error) {
    finding.shown.action = "cannot be repaired: " + error.cause();
  }
}

// --- Blobs ---

bool isWholeBlob(const Layout& layout, const Digest& digest) {
  try {
    checkBlob(layout, digest);
    return true;
  } catch (const Error&) {
    return false;
  }
}

void repairBlob(Inspection& inspection, Finding& finding) {
  const Layout& layout = inspection.layout;
  const std::string hex = finding.digest.hex();
  if (isWholeBlob(layout, finding.digest)) {
    finding.shown.action = "its bytes are what its digest says: what needs it is taken out";
    return;
  }
  std::string done;
  if (sys::tryFstatat(layout.blobs(), hex))
    done = "moved to " + quarantine(layout, layout.blobs(), hex, "blob-" + hex);
  const auto need = inspection.catalog.blobs.find(finding.digest);
  if (need == inspection.catalog.blobs.end()) return solve(finding, done);
  const auto& refetch = inspection.options.refetch;
  if (refetch && refetch(need->second.descriptor) && isWholeBlob(layout, finding.digest))
    return solve(finding, done.empty() ? "fetched again" : done + ", fetched again");
  finding.shown.action =
      done.empty() ? "what needs it is taken out" : done + ", what needs it is taken out";
}

// --- Views ---

std::set<Digest> layersInUse(const Layout& layout) {
  std::set<Digest> used;
  const Containers containers{layout};
  const Fd folder = sys::openDirectory(layout.fd(), "containers");
  for (const fs::Entry& entry : fs::list(folder.get())) {
    if (entry.name.size() != 64 || !containers.isHeld(entry.name)) continue;
    const ContainerRecord record = containers.get(entry.name);
    used.insert(record.config.diffIds.begin(), record.config.diffIds.end());
  }
  return used;
}

void remakeView(const Layout& layout, const Digest& diffId, const Descriptor& blob) {
  const std::string grave = "trash/" + fs::randomHex(16);
  if (sys::tryFstatat(layout.layers(), diffId.hex())) {
    sys::renameat(layout.layers(), diffId.hex(), layout.fd(), grave);
    fs::removeTree(layout.fd(), grave);
  }
  Layers{layout}.ensure(diffId, blob);
}

void repairViews(Inspection& inspection) {
  std::map<Digest, std::string> done;  // diff ID -> what was done with its view
  const std::set<Digest> used = layersInUse(inspection.layout);
  for (Finding& finding : inspection.findings) {
    if (finding.about != About::view) continue;
    attempt(finding, [&] {
      if (used.contains(finding.digest)) {
        finding.shown.action = "in use by a container that runs: stop it, then repair again";
        return;
      }
      const auto [action, isFirst] = done.try_emplace(finding.digest, "unpacked again");
      if (isFirst) {
        const Descriptor* blob = inspection.catalog.blobOf(finding.digest);
        if (blob == nullptr)
          throw Error::make(Kind::notFound, "no blob is known for layer {}", finding.digest.str());
        remakeView(inspection.layout, finding.digest, *blob);
      }
      solve(finding, action->second);
    });
  }
}

// --- Containers ---

void setContainerAside(const Layout& layout, Finding& finding) {
  const std::string& id = finding.name;
  if (Containers{layout}.isHeld(id)) {
    finding.shown.action = "it runs: stop it, then repair again";
    return;
  }
  const Fd folder = sys::openDirectory(layout.fd(), "containers");
  const std::string where = quarantine(layout, folder.get(), id, "container-" + id);
  if (const auto names = sys::tryOpenat(folder.get(), ".names", O_RDONLY | O_DIRECTORY)) {
    for (const fs::Entry& entry : fs::list(names->get())) {
      if (fs::tryReadFile(names->get(), entry.name, 4096) == id)
        sys::tryUnlinkat(names->get(), entry.name, 0);
    }
  }
  sys::tryUnlinkat(folder.get(), ".auto/" + id, 0);
  solve(finding, "moved to " + where);
}

// --- Names ---

// Of two entries with one name the first counts, as it does for whoever looks the name up.
void dropEntries(Inspection& inspection) {
  const std::set<Digest> lost = lostBlobs(inspection);
  std::set<Digest> gone;
  for (const Catalog::Entry& entry : inspection.catalog.entries) {
    const bool isBroken = !entry.problem.empty() ||
                          std::any_of(entry.needs.begin(), entry.needs.end(),
                                      [&](const Digest& one) { return lost.contains(one); });
    if (isBroken) gone.insert(entry.row.descriptor.digest);
  }
  const bool hasDoubles =
      std::any_of(inspection.findings.begin(), inspection.findings.end(),
                  [](const Finding& finding) { return finding.about == About::entry; });
  if (gone.empty() && !hasDoubles) return;
  std::set<std::string> names;
  Images{inspection.layout}.keepOnly([&](const Descriptor& descriptor) {
    if (gone.contains(descriptor.digest)) return false;
    const auto name = imageNameOf(descriptor);
    return !name || names.insert(*name).second;
  });
  for (Finding& finding : inspection.findings) {
    if (finding.about == About::entry) solve(finding, "removed from index.json");
  }
  for (const Catalog::Entry& entry : inspection.catalog.entries) {
    if (!gone.contains(entry.row.descriptor.digest) || !entry.problem.empty()) continue;
    inspection.findings.push_back(
        {About::entry,
         entry.row.descriptor.digest,
         entry.label,
         {entry.label, "depends on what is lost", "removed from index.json", true}});
  }
  for (Finding& finding : inspection.findings) {
    const bool isLoss = finding.about == About::blob && !finding.shown.isSolved;
    finding.shown.isSolved = finding.shown.isSolved || isLoss;
  }
}

// --- The frame ---

void repairFrame(const Layout& layout, Finding& finding) {
  if (finding.name == "oci-layout") {
    fs::replaceFile(layout.fd(), "oci-layout", R"({"imageLayoutVersion":"1.0.0"})", 0644,
                    fullSync());
    return solve(finding, "written again");
  }
  std::string done;
  if (sys::tryFstatat(layout.fd(), finding.name))
    done = "moved to " + quarantine(layout, layout.fd(), finding.name, finding.name) + ", ";
  const std::vector<Descriptor> images = salvageImages(layout);
  Images{layout}.reset(images);
  solve(finding, fmt::format("{}written again with {} images, which have lost their names", done,
                             images.size()));
}

void setAside(const Layout& layout, Finding& finding) {
  if (finding.name.starts_with("containers/.names/")) {
    sys::tryUnlinkat(layout.fd(), finding.name, 0);
    return solve(finding, "removed");
  }
  std::string name = finding.name;
  std::replace(name.begin(), name.end(), '/', '-');
  solve(finding, "moved to " + quarantine(layout, layout.fd(), finding.name, name));
}

}  // namespace

std::vector<Descriptor> salvageImages(const Layout& layout) {
  std::vector<Descriptor> found;
  for (const fs::Entry& entry : fs::listSorted(layout.blobs())) {
    const auto digest = Digest::tryParseHex(entry.name);
    const auto st = sys::tryFstatat(layout.blobs(), entry.name);
    if (!digest || !st || static_cast<std::uint64_t>(st->st_size) > documentLimit()) continue;
    char first = 0;
    const Fd fd = openBlob(layout, *digest);
    preadFull(fd.get(), std::as_writable_bytes(std::span{&first, 1}), 0, "a blob");
    if (first != '{') continue;
    try {
      const Manifest manifest = parseManifest(readBlob(layout, *digest), digest->str());
      if (!isConfigType(manifest.config.mediaType)) continue;
      std::ignore = readDocument(layout, manifest.config);
      Descriptor descriptor;
      descriptor.mediaType = manifest.mediaType;
      descriptor.digest = *digest;
      descriptor.size = static_cast<std::uint64_t>(st->st_size);
      found.push_back(std::move(descriptor));
    } catch (const Error& error) {
      log::debug("{} is no image: {}", digest->str(), error.cause());
    }
  }
  return found;
}

std::string quarantine(const Layout& layout, int dir, const std::string& path,
                       const std::string& name) {
  sys::tryMkdirat(layout.fd(), "quarantine", 0700);
  std::string where = "quarantine/" + name;
  for (int number = 2; !sys::renameNoReplace(dir, path, layout.fd(), where); ++number)
    where = fmt::format("quarantine/{}.{}", name, number);
  return where;
}

namespace {

template <class Repair>
void repairEach(Inspection& inspection, About about, Repair&& repair) {
  for (Finding& finding : inspection.findings) {
    if (finding.about == about && !finding.shown.isSolved)
      attempt(finding, [&] { repair(finding); });
  }
}

}  // namespace

void repairFrame(Inspection& inspection) {
  repairEach(inspection, About::frame,
             [&](Finding& finding) { repairFrame(inspection.layout, finding); });
}

void repairContents(Inspection& inspection) {
  repairEach(inspection, About::blob, [&](Finding& finding) { repairBlob(inspection, finding); });
  repairViews(inspection);
}

void repairDependents(Inspection& inspection) {
  const Layout& layout = inspection.layout;
  repairEach(inspection, About::container,
             [&](Finding& finding) { setContainerAside(layout, finding); });
  repairEach(inspection, About::litter, [&](Finding& finding) { setAside(layout, finding); });
  dropEntries(inspection);
}

void dropRecords(Inspection& inspection) {
  repairEach(inspection, About::record, [&](Finding& finding) {
    sys::tryUnlinkat(inspection.layout.fd(), finding.name, 0);
    solve(finding, "dropped");
  });
}

}  // namespace img::store
