// What the parts of a check tell each other: what was found, in a form that can be acted upon, and
// what was seen. Private to store/verify*.
#pragma once

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "store/verify.h"
#include "store/verify_catalog.h"

namespace img::store {

struct Finding {
  enum class About { frame, blob, view, entry, container, record, litter };
  About about = About::frame;
  Digest digest;     // of a blob; diff ID of a view
  std::string name;  // of an index entry's label, a container, a record; path below the store
  VerifyProblem shown;
};

struct Inspection {
  const Layout& layout;
  const VerifyOptions& options;
  Catalog catalog;
  std::vector<Finding> findings;
  VerifyReport report;  // its counts

  void add(Finding::About about, const Digest& digest, std::string name, std::string object,
           std::string problem) {
    findings.push_back(
        {about, digest, std::move(name), {std::move(object), std::move(problem), {}, false}});
  }
};

// index.json, or what is left of it.
void inspectFrame(Inspection& inspection);
void inspectBlobs(Inspection& inspection);
void inspectEntries(Inspection& inspection);  // after the blobs: what depends on bad ones
void inspectContainers(Inspection& inspection);
void inspectRecords(Inspection& inspection);
void inspectLitter(Inspection& inspection);

// Blobs with a finding that nothing has solved.
std::set<Digest> lostBlobs(const Inspection& inspection);

// Act on the findings that are not solved yet.
void repairFrame(Inspection& inspection);
void repairContents(Inspection& inspection);    // blobs and views
void repairDependents(Inspection& inspection);  // containers, litter, and names at last
// A record that does not verify is as good as none (reliability.md S-3): it goes, asked or not.
void dropRecords(Inspection& inspection);

// Every image of which the documents are there, without names: for an index.json that is lost.
std::vector<Descriptor> salvageImages(const Layout& layout);

// Bytes that are kept out of the way: ROOT/quarantine/<name>; the path below the store.
std::string quarantine(const Layout& layout, int dir, const std::string& path,
                       const std::string& name);

}  // namespace img::store
