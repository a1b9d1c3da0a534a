// What one RUN leaves ready for the next, so that this takes less time to begin.
#pragma once

#include "builder/layer_step.h"

namespace img::builder {

// The mount points that the image lacks stay the same until a layer touches a folder they lie in;
// until then the init layer of the first RUN, whose `layer` is to be sealed, serves the later ones.
void keepInit(StageState& state, const LayerRef& layer);

// Whether a RUN comes later in the stage than `step`, which is one of its.
bool isRunFollowing(const PlannedStage& planned, const parser::Step& step);

// The folders of the next layer, made while a command runs and this process has nothing to do.
class SpareLayer {
 public:
  explicit SpareLayer(const store::Layout& layout) : layout_(layout) {}
  void want() { isWanted_ = true; }
  void make();      // if one is wanted; never throws
  LayerRef take();  // the spare one, or a new one

 private:
  const store::Layout& layout_;
  LayerRef layer_;
  bool isWanted_ = false;
};

}  // namespace img::builder
