// The stages of a Dockerfile and what they use of each other, read from the file and the build
// arguments alone (--print=stages; dockerfile.md 5).
#pragma once

#include <string>
#include <vector>

#include "builder/request.h"
#include "parser/dockerfile.h"

namespace img::builder {

struct StageRow {
  std::string name;  // "stage-N" without AS
  std::string base;  // expanded
  int line = 0;
  std::vector<std::string> depends;  // names of stages, in the order of the file
  bool isNeeded = false;             // for the target
};
// Throws where a global ARG or a FROM cannot be evaluated, and for an unknown target.
std::vector<StageRow> listStages(const parser::Dockerfile& file, const Request& request);

}  // namespace img::builder
