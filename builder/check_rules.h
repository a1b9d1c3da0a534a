// What the rules of the build checks share, and the groups they come in: rules that look at one
// instruction or the file as text, FROM lines, the walk through a stage with its variables, and the
// extended rules.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "builder/check_findings.h"
#include "builder/plan.h"
#include "builder/request.h"
#include "builder/stage.h"

namespace img::builder {

struct CheckedStage {
  const parser::Stage* syntax = nullptr;
  std::string baseName;          // expanded; empty when it cannot be
  std::optional<int> baseStage;  // in the file
  std::optional<store::Image> baseImage;
  bool isNeeded = false;
  [[nodiscard]] bool fromScratch() const { return !baseStage && baseName == "scratch"; }
};

// One evaluation.
struct Checking {
  const parser::Dockerfile& file;
  const Request& request;
  Scope scope;
  CheckFindings findings;
  std::vector<CheckedStage> stages;  // all of the file
  std::optional<Error> error;        // the first one

  void fail(Error fault) {
    if (!error) error = std::move(fault);
  }
};

// Names that an expansion looks up without finding them, each once, in order.
class MissingNames {
 public:
  explicit MissingNames(const Variables& variables) : variables_(variables) {}
  [[nodiscard]] parser::Lookup lookup();
  void add(std::string_view name);
  void addAll(const std::vector<std::string>& names);
  [[nodiscard]] const std::vector<std::string>& names() const { return names_; }
  [[nodiscard]] std::vector<std::string> take() { return std::exchange(names_, {}); }

 private:
  const Variables& variables_;
  std::vector<std::string> names_;
};

// `, did you mean "PATH"?` or nothing.
std::string suggestion(std::string_view name, const std::vector<std::string>& candidates);
// Marks what the target uses, directly or not.
void markNeeded(Checking& checking, int target);
// Apart from its own instructions: those that a base brings in with ONBUILD.
std::vector<parser::Step> triggersOf(const Checking& checking, const CheckedStage& stage);

// Casing, names, forms: nothing is expanded.
void checkText(Checking& checking);
// Fills `stages`; says what is wrong with FROM lines.
void checkFromLines(Checking& checking);
// After `isNeeded` and `baseImage` are known: needed stages, in file order.
void checkStages(Checking& checking);
void checkExtended(Checking& checking);

}  // namespace img::builder
