#include "store/verify.h"

#include <dirent.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "base/fs.h"
#include "base/sys.h"
#include "base/text.h"
#include "store/blobs.h"
#include "store/container_json.h"
#include "store/images.h"
#include "store/json_reader.h"
#include "store/layers.h"
#include "store/lease.h"
#include "store/verify_content.h"
#include "store/verify_internal.h"

namespace img::store {
namespace {

using About = Finding::About;

constexpr std::array kRootNames = {
    "oci-layout", "index.json", "index.json.new", "blobs", "layers", "ingest", "cache",
    "containers", "volumes",    "trash",          "locks", "leases", "builds", "version",
    "run",        "lost+found", "quarantine"};

// Written by replaceFile(): a command that was killed on the way leaves one behind, which nobody
// reads.
bool isTemporary(const std::string& name) {
  return name.find(".tmp-") != std::string::npos;
}

void checkOciLayout(Inspection& inspection) {
  const auto problem = [&]() -> std::string {
    try {
      const auto text = fs::tryReadFile(inspection.layout.fd(), "oci-layout", 4096);
      if (!text) return "is missing";
      const Json document = parseJson(*text, "oci-layout");
      const std::string version =
          JsonReader{document, "oci-layout"}.get("imageLayoutVersion").string();
      return version == "1.0.0" ? "" : "has the version " + text::quote(version);
    } catch (const Error& error) {
      return "cannot be read: " + error.cause();
    }
  }();
  if (problem.empty()) return;
  inspection.add(About::frame, {}, "oci-layout", "oci-layout", problem);
}

// Names that a document needs are pinned first: whatever is collected meanwhile, they stay.
std::vector<ImageRow> readRows(Inspection& inspection) try {
  std::vector<ImageRow> rows = Images{inspection.layout}.list();
  std::vector<Digest> digests;
  digests.reserve(rows.size());
  for (const ImageRow& row : rows) digests.push_back(row.descriptor.digest);
  pin(inspection.layout, digests);
  return rows;
} catch (const Error& error) {
  inspection.add(About::frame, {}, "index.json", "index.json", "cannot be read: " + error.cause());
  return {};
}

std::string usersOf(const BlobNeed& need) {
  constexpr size_t kShown = 3;
  std::string text;
  size_t count = 0;
  for (const std::string& user : need.users) {
    if (++count > kShown) return text + fmt::format(" and {} more", need.users.size() - kShown);
    text += (text.empty() ? "" : ", ") + user;
  }
  return text;
}

}  // namespace

bool VerifyReport::isClean() const {
  return std::all_of(problems.begin(), problems.end(),
                     [](const VerifyProblem& problem) { return problem.isSolved; });
}

void inspectFrame(Inspection& inspection) {
  checkOciLayout(inspection);
  inspection.catalog = readCatalog(inspection.layout, readRows(inspection));
  inspection.report.images = inspection.catalog.entries.size();
}

namespace {

// Blobs of which something is known before a byte is read: missing, of the wrong size, no document.
std::map<Digest, std::string> knownProblems(const Inspection& inspection) {
  std::map<Digest, std::string> problems;
  for (const auto& [digest, need] : inspection.catalog.blobs) {
    const auto st = sys::tryFstatat(inspection.layout.blobs(), digest.hex());
    if (!st) {
      problems[digest] = "is missing";
    } else if (!S_ISREG(st->st_mode)) {
      problems[digest] = "is not a regular file";
    } else if (static_cast<std::uint64_t>(st->st_size) != need.descriptor.size) {
      problems[digest] =
          fmt::format("has {} bytes, its descriptor says {}", st->st_size, need.descriptor.size);
    } else if (!need.problem.empty()) {
      problems[digest] = need.problem;
    }
  }
  return problems;
}

ContentWork planContents(Inspection& inspection, const std::map<Digest, std::string>& known) {
  ContentWork work;
  std::set<Digest> planned;
  for (const auto& [key, need] : inspection.catalog.layers) {
    if (known.contains(need.blob.digest) || !hasBlob(inspection.layout, need.blob.digest)) continue;
    // What only its digest tells anything about needs no second look at its bytes.
    const bool isPlain = need.blob.digest == need.diffId;
    if (isPlain && !Layers{inspection.layout}.has(need.diffId)) continue;
    work.layers.push_back(need);
    planned.insert(need.blob.digest);
  }
  for (const fs::Entry& entry : fs::listSorted(inspection.layout.blobs())) {
    const auto digest = Digest::tryParseHex(entry.name);
    if (!digest) continue;
    ++inspection.report.blobs;
    const auto st = sys::tryFstatat(inspection.layout.blobs(), entry.name);
    if (st) inspection.report.bytes += static_cast<std::uint64_t>(st->st_size);
    if (!known.contains(*digest) && !planned.contains(*digest)) work.blobs.push_back(*digest);
  }
  return work;
}

void addBlob(Inspection& inspection, const Digest& digest, std::string problem) {
  const auto need = inspection.catalog.blobs.find(digest);
  if (need != inspection.catalog.blobs.end()) problem += "; needed by " + usersOf(need->second);
  inspection.add(About::blob, digest, {}, "blob " + digest.str(), std::move(problem));
}

void addContents(Inspection& inspection, const std::vector<ContentFinding>& found) {
  for (const ContentFinding& one : found) {
    if (one.about != ContentFinding::About::layer) {
      addBlob(inspection, one.digest, one.problem);
      continue;
    }
    const std::string path = one.path.empty() ? "/" : "/" + text::escape(one.path);
    inspection.add(About::view, one.digest, {}, "layer " + one.digest.str() + ": " + path,
                   one.problem);
  }
}

}  // namespace

void inspectBlobs(Inspection& inspection) {
  const std::map<Digest, std::string> known = knownProblems(inspection);
  for (const auto& [digest, problem] : known) addBlob(inspection, digest, problem);
  const ContentWork work = planContents(inspection, known);
  for (const fs::Entry& entry : fs::list(inspection.layout.layers())) {
    inspection.report.layers += Digest::tryParseHex(entry.name).has_value() ? 1 : 0;
  }
  if (inspection.options.isQuick) {
    inspection.report.bytes = 0;
    return;
  }
  addContents(inspection, checkContents(inspection.layout, work));
}

std::set<Digest> lostBlobs(const Inspection& inspection) {
  std::set<Digest> lost;
  for (const Finding& finding : inspection.findings) {
    if (finding.about == About::blob && !finding.shown.isSolved) lost.insert(finding.digest);
  }
  return lost;
}

void inspectEntries(Inspection& inspection) {
  std::map<std::string, Digest> names;
  for (const Catalog::Entry& entry : inspection.catalog.entries) {
    if (!entry.problem.empty())
      inspection.add(About::entry, entry.row.descriptor.digest, entry.label, entry.label,
                     entry.problem);
    if (!entry.row.name) continue;
    const auto [other, isNew] = names.emplace(*entry.row.name, entry.row.descriptor.digest);
    if (isNew) continue;
    inspection.add(About::entry, entry.row.descriptor.digest, entry.label, entry.label,
                   "is in index.json twice, also for " + other->second.str());
  }
}

namespace {

std::string containerProblem(const Inspection& inspection, const std::string& id,
                             std::string& label) try {
  const std::string path = "containers/" + id + "/config.json";
  const auto text = fs::tryReadFile(inspection.layout.fd(), path);
  if (!text) return "has no config.json";
  const ContainerConfig config = parseContainerConfig(*text, path, false);
  label = "container " + (config.name.empty() ? id.substr(0, 12) : config.name);
  const std::set<Digest> lost = lostBlobs(inspection);
  const Layers layers{inspection.layout};
  for (const Digest& diffId : config.diffIds) {
    const Descriptor* known = inspection.catalog.blobOf(diffId);
    const Digest blob = known != nullptr ? known->digest : diffId;
    if (hasBlob(inspection.layout, blob) && !lost.contains(blob)) continue;
    if (!layers.has(diffId)) return fmt::format("its layer {} is lost", diffId.str());
  }
  return {};
} catch (const Error& error) {
  return "cannot be read: " + error.cause();
}

bool isContainerName(const std::string& name) {
  return name.size() == 64 && name.find_first_not_of("0123456789abcdef") == std::string::npos;
}

void inspectContainerNames(Inspection& inspection) {
  const int root = inspection.layout.fd();
  const auto names = sys::tryOpenat(root, "containers/.names", O_RDONLY | O_DIRECTORY);
  if (!names) return;
  for (const fs::Entry& entry : fs::listSorted(names->get())) {
    const std::string id = fs::tryReadFile(names->get(), entry.name, 4096).value_or("");
    const bool isGood = isContainerName(id) && (sys::tryFstatat(root, "containers/" + id) ||
                                                sys::tryFstatat(root, "containers/.part/" + id));
    if (isGood || !sys::tryFstatat(names->get(), entry.name)) continue;
    inspection.add(About::litter, {}, "containers/.names/" + entry.name,
                   "container name " + text::escape(entry.name), "leads to no container");
  }
}

}  // namespace

void inspectContainers(Inspection& inspection) {
  const Fd folder = sys::openDirectory(inspection.layout.fd(), "containers");
  for (const fs::Entry& entry : fs::listSorted(folder.get())) {
    if (entry.name == ".names" || entry.name == ".auto" || entry.name == ".part") continue;
    if (!isContainerName(entry.name)) {
      inspection.add(About::litter, {}, "containers/" + entry.name,
                     "containers/" + text::escape(entry.name), "is not known");
      continue;
    }
    ++inspection.report.containers;
    std::string label = "container " + entry.name.substr(0, 12);
    const std::string problem = containerProblem(inspection, entry.name, label);
    // Removed while we looked.
    if (problem.empty() || !sys::tryFstatat(folder.get(), entry.name)) continue;
    inspection.add(About::container, {}, entry.name, label, problem);
  }
  inspectContainerNames(inspection);
}

namespace {

// Only what is common to all of them; the builder reads the rest.
std::string recordProblem(const Inspection& inspection, int folder, const std::string& name,
                          const std::set<Digest>& lost) try {
  const auto text = fs::tryReadFile(folder, name);
  if (!text) return {};
  const Json document = parseJson(*text, name);
  const JsonReader outer{document, name};
  const JsonReader record = outer.get("record");
  if (Digest::of(dumpJson(document.at("record"))).hex() != outer.get("sha256").string())
    return "is damaged";
  const auto layer = record.find("layer");
  if (!layer) return {};
  const Digest digest = layer->get("digest").digest();
  const auto st = sys::tryFstatat(inspection.layout.blobs(), digest.hex());
  if (!st || lost.contains(digest)) return fmt::format("its layer {} is lost", digest.str());
  const bool isSameSize = static_cast<std::uint64_t>(st->st_size) == layer->get("size").size();
  return isSameSize ? "" : fmt::format("its layer {} has another size", digest.str());
} catch (const Error&) {
  return "is damaged";
}

// Layers of the cache are read like those of images; what lies below them nobody has written down.
void addRecordLayers(Inspection& inspection, int folder, const std::string& name) {
  try {
    const auto text = fs::tryReadFile(folder, name);
    if (!text) return;
    const Json document = parseJson(*text, name);
    const JsonReader record = JsonReader{document, name}.get("record");
    const auto layer = record.find("layer");
    const auto diffId = record.find("diff_id");
    if (!layer || !diffId) return;
    const Descriptor blob{layer->get("mediaType").string(),
                          layer->get("digest").digest(),
                          layer->get("size").size(),
                          {},
                          {},
                          {}};
    LayerNeed& need = inspection.catalog.layers[{blob.digest, diffId->digest()}];
    if (need.diffId.isZero()) need = {blob, diffId->digest(), {}};
  } catch (const Error&) {
    return;  // inspectRecords() has something to say about it
  }
}

void eachRecord(const Layout& layout, const std::function<void(int, const std::string&)>& look) {
  const auto folder = sys::tryOpenat(layout.fd(), "cache/steps", O_RDONLY | O_DIRECTORY);
  if (!folder) return;
  for (const fs::Entry& entry : fs::listSorted(folder->get())) {
    if (!isTemporary(entry.name)) look(folder->get(), entry.name);
  }
}

}  // namespace

void inspectRecords(Inspection& inspection) {
  const std::set<Digest> lost = lostBlobs(inspection);
  eachRecord(inspection.layout, [&](int folder, const std::string& name) {
    ++inspection.report.records;
    const std::string problem = recordProblem(inspection, folder, name, lost);
    if (problem.empty()) return;
    inspection.add(About::record, {}, "cache/steps/" + name,
                   "cache record " + text::escape(name.substr(0, 12)), problem);
  });
}

namespace {

void litterIn(Inspection& inspection, const std::string& folder, auto&& isKnown) {
  const auto dir = sys::tryOpenat(inspection.layout.fd(), folder, O_RDONLY | O_DIRECTORY);
  if (!dir) return;
  for (const fs::Entry& entry : fs::listSorted(dir->get())) {
    if (isTemporary(entry.name) || isKnown(entry.name)) continue;
    const std::string path = folder == "." ? entry.name : folder + "/" + entry.name;
    inspection.add(About::litter, {}, path, text::escape(path), "is not known");
  }
}

}  // namespace

void inspectLitter(Inspection& inspection) {
  const auto isDigest = [](const std::string& name) {
    return Digest::tryParseHex(name).has_value();
  };
  litterIn(inspection, ".", [](const std::string& name) {
    return std::find(kRootNames.begin(), kRootNames.end(), name) != kRootNames.end();
  });
  litterIn(inspection, "blobs", [](const std::string& name) { return name == "sha256"; });
  litterIn(inspection, "blobs/sha256", isDigest);
  litterIn(inspection, "layers", isDigest);
}

VerifyReport verifyStore(const Layout& layout, const VerifyOptions& options) {
  const StoreUse use{layout};
  Inspection inspection{layout, options, {}, {}, {}};
  inspectFrame(inspection);
  if (options.mayRepair && !inspection.findings.empty()) {
    // The names first: what they need is looked at afterwards.
    repairFrame(inspection);
    inspectFrame(inspection);
  }
  eachRecord(layout, [&](int folder, const std::string& name) {
    addRecordLayers(inspection, folder, name);
  });
  inspectBlobs(inspection);
  if (options.mayRepair) repairContents(inspection);
  inspectEntries(inspection);
  inspectContainers(inspection);
  inspectRecords(inspection);
  inspectLitter(inspection);
  dropRecords(inspection);
  if (options.mayRepair) repairDependents(inspection);
  for (Finding& finding : inspection.findings)
    inspection.report.problems.push_back(std::move(finding.shown));
  return std::move(inspection.report);
}

}  // namespace img::store
