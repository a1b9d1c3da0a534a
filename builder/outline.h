// What a Dockerfile offers to those who build it: its targets, and for one target the build
// arguments with default and description, and the secrets it takes (dockerfile.md 9, --call). Read
// from the file alone; a description is the comment line "# NAME text" above (1.4).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "builder/request.h"
#include "parser/dockerfile.h"

namespace img::builder {

struct TargetRow {
  std::string name;  // "stage-N" without AS
  std::string description;
  std::string base;  // as written
  bool isDefault = false;
};
std::vector<TargetRow> listTargets(const parser::Dockerfile& file);

struct TargetOutline {
  struct Arg {
    std::string name;
    std::optional<std::string> value;  // the build argument, else the default
    std::string description;
    int line = 0;
  };
  struct Secret {
    std::string id;
    bool required = false;
    int line = 0;
  };
  std::string name, description;
  std::vector<Arg> args;  // of all stages the target needs, by line, each name once
  std::vector<Secret> secrets;
};
// Throws for a target that does not exist, and where global ARGs cannot be evaluated.
TargetOutline outlineTarget(const parser::Dockerfile& file, const Request& request);

}  // namespace img::builder
