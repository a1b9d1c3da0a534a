#include "builder/wanted_images.h"

#include <algorithm>
#include <set>

#include "base/text.h"
#include "builder/stage_names.h"

namespace img::builder {
namespace {

class Survey {
 public:
  Survey(const parser::Dockerfile& file, const std::vector<PlannedStage>& stages,
         const std::optional<parser::Platform>& platform,
         const std::function<bool(const std::string&)>& isOther)
      : file_(file), stages_(stages), platform_(platform), isOther_(isOther) {}

  void visit(int index) {
    if (!visited_.insert(index).second) return;
    const PlannedStage& stage = stages_[static_cast<size_t>(index)];
    if (isOther_(stage.syntax->name)) return;
    if (stage.baseStage) {
      visit(*stage.baseStage);
    } else if (!stage.fromScratch) {
      add(stage.baseName, stage.platform);
    }
    for (const parser::Step& step : stage.syntax->steps) {
      for (const std::string& name : sourceNames(step)) visitSource(index, name);
    }
  }

  std::vector<WantedImage> take() { return std::move(images_); }

 private:
  // What is wrong with a name is the planner's business.
  void visitSource(int index, const std::string& name) {
    if (const auto stage = findStage(file_, name)) {
      if (*stage < index) visit(*stage);
    } else if (name != "scratch" && !text::parseUnsigned(name)) {
      add(name, {});
    }
  }

  void add(const std::string& name, const std::optional<parser::Platform>& platform) {
    if (name.empty() || isOther_(name)) return;
    const WantedImage wanted{name, platform ? platform : platform_};
    const auto isSame = [&](const WantedImage& other) {
      return other.name == wanted.name && other.platformText() == wanted.platformText();
    };
    if (std::none_of(images_.begin(), images_.end(), isSame)) images_.push_back(wanted);
  }

  const parser::Dockerfile& file_;
  const std::vector<PlannedStage>& stages_;
  const std::optional<parser::Platform>& platform_;
  const std::function<bool(const std::string&)>& isOther_;
  std::set<int> visited_;
  std::vector<WantedImage> images_;
};

}  // namespace

std::vector<WantedImage> wantedImages(const parser::Dockerfile& file,
                                      const std::vector<PlannedStage>& stages, int target,
                                      const std::optional<parser::Platform>& platform,
                                      const std::function<bool(const std::string&)>& isOther) {
  Survey survey{file, stages, platform, isOther};
  survey.visit(target);
  return survey.take();
}

}  // namespace img::builder
