// From a Dockerfile to the stages that the target needs, in an order in which every stage comes
// after those it uses (dockerfile.md section 5): global ARGs, FROM lines, ONBUILD triggers,
// references, pruning.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "builder/context.h"
#include "builder/problems.h"
#include "builder/stage.h"
#include "parser/dockerfile.h"
#include "parser/value_checks.h"
#include "store/images.h"

namespace img::builder {

// Where COPY --from or a mount takes its files: one of the three, or nothing for scratch.
struct SourceRef {
  std::optional<int> stage;
  std::optional<store::Image> image;
  std::shared_ptr<const Context> folder;  // a named context (5.4), with the ignore rules of its own
  std::string name;                       // as written
};

struct PlannedStage {
  int index = 0;
  std::string label;  // the stage's name, or "stage-N"
  const parser::Stage* syntax = nullptr;
  std::string baseName;                      // expanded
  std::optional<parser::Platform> platform;  // of FROM --platform
  bool fromScratch = false;
  std::optional<int> baseStage;
  std::optional<store::Image> baseImage;
  std::vector<parser::Step> steps;           // triggers of the base first
  std::map<std::string, SourceRef> sources;  // by the text of --from
};

struct Plan {
  std::vector<PlannedStage> stages;  // all of the file; steps only for needed ones
  std::vector<int> order;            // needed stages, dependencies first; the target last
  int target = 0;
};

// An image that a build will ask for, and for which platform (nullopt: of this machine).
struct WantedImage {
  std::string name;
  std::optional<parser::Platform> platform;
  [[nodiscard]] std::string platformText() const { return platform ? platform->str() : ""; }
};

// Finds an image in the store, out of an index the one for a platform (nullopt: of this machine);
// nullopt when it is not there.
class ImageFinder {
 public:
  using ByName = std::function<std::optional<store::Image>(const std::string& reference)>;
  using ByPlatform = std::function<std::optional<store::Image>(
      const std::string& reference, const std::optional<parser::Platform>& platform)>;
  // NOLINTNEXTLINE(google-explicit-constructor): a function is given where a finder is wanted
  ImageFinder(ByPlatform find) : find_(std::move(find)) {}
  template <class Find>
  requires std::is_invocable_v<Find, const std::string&>
  // NOLINTNEXTLINE(google-explicit-constructor): the same, for one that knows no platforms
  ImageFinder(Find find)
      : find_([by = ByName{std::move(find)}](const std::string& name, const auto&) {
          return by(name);
        }) {}
  std::optional<store::Image> operator()(
      const std::string& reference, const std::optional<parser::Platform>& platform = {}) const {
    return find_(reference, platform);
  }

  // Told of all that will be asked for, as far as is known, before the first is.
  using Expect = std::function<void(const std::vector<WantedImage>&)>;
  void setExpect(Expect expect) { expect_ = std::move(expect); }
  [[nodiscard]] const Expect& expect() const { return expect_; }

 private:
  ByPlatform find_;
  Expect expect_;
};

// What --build-context puts in the place of a stage or image: one of the two, or nothing for
// scratch.
struct NamedContext {
  std::optional<store::Image> image;
  std::shared_ptr<const Context> folder;
};
using ContextFinder = std::function<std::optional<NamedContext>(const std::string& name)>;

// Fills scope.globals: predefined names, then the ARGs before the first FROM, a build arg winning
// over both (dockerfile.md 3.3).
void evaluateGlobals(const parser::Dockerfile& file, Scope& scope);

// What COPY --from and mount options `from` of a step name; keys of PlannedStage::sources.
std::vector<std::string> sourceNames(const parser::Step& step);

// Evaluates global ARGs into scope.globals. Throws with positions; messages of
// dockerfile.md 3.2, 3.8, 5. With `problems`, what is wrong goes there, and the plan has the rest.
Plan planStages(const parser::Dockerfile& file, Scope& scope, const ImageFinder& findImage,
                Problems* problems = nullptr, const ContextFinder& findContext = {});

// Steps that are shown and counted: a base image, RUN, COPY, ADD, WORKDIR.
bool isCounted(const parser::Step& step);
int countSteps(const PlannedStage& planned);
// `stage "build", step 4/9`, for errors.
std::string stepPlace(const PlannedStage& planned, int number, int total);

}  // namespace img::builder
