// Checks a whole store against itself and, when asked, mends it (reliability.md G8): every blob
// against its digest, every document against what refers to it, every unpacked layer against its
// blob, names, containers and cache records against what they need, and all that nobody knows.
// Reads each byte once, in as many processes as there are CPUs, with memory that depends on the
// number of objects only. May run beside all other commands; what they remove meanwhile is no
// problem of the store.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "store/layout.h"
#include "store/oci.h"

namespace img::store {

struct VerifyProblem {
  std::string object;   // "blob sha256:...", "layer sha256:...: usr/bin/x", "image app:latest"
  std::string problem;  // "has 0 bytes, its manifest says 5"
  std::string action;   // what was done about it; empty: nothing
  bool isSolved = false;
};

struct VerifyOptions {
  bool isQuick = false;    // sizes and references; no content is read but that of documents
  bool mayRepair = false;  // see verify_repair.h
  // Brings a blob back from where it came from. False: nobody knows where, or it is not there.
  std::function<bool(const Descriptor&)> refetch;
};

struct VerifyReport {
  std::vector<VerifyProblem> problems;
  size_t images = 0, blobs = 0, layers = 0, containers = 0, records = 0;
  std::uint64_t bytes = 0;  // that were read

  [[nodiscard]] bool isClean() const;  // no problem, or all solved
};

VerifyReport verifyStore(const Layout& layout, const VerifyOptions& options);

}  // namespace img::store
