// What a layer that is not made here becomes: a folder with its files, which works everywhere, or
// an EROFS index over its tar, which is made and read faster and creates no inode. The second one
// needs root and a kernel that mounts it from files; that is tried once per boot and store, and
// remembered in cache/layer-view.
#pragma once

#include <optional>
#include <string>

#include "store/layout.h"

namespace img::store {

enum class LayerView { directory, erofs };
const char* layerViewName(LayerView view);

struct LayerViewChoice {
  LayerView view = LayerView::directory;
  std::string why;  // "forced by IMG_LAYER_VIEW", what is missing for the other one
  bool isForced = false;
};

// The view of layers that are made now. IMG_LAYER_VIEW=directory|erofs forces one; throws
// Kind::unsupported with the reason when that cannot be.
LayerViewChoice chooseLayerView(const Layout& layout);

// Asked anew, with scratch files made in `folder`: why this process cannot have EROFS views, or
// nothing.
std::optional<std::string> whyNoErofsViews(int folder);

// Whether this process takes EROFS views that are there already; asks nothing of the disk.
bool usesErofsViews();

// IMG_LAYER_VIEW names one.
bool isLayerViewForced();

}  // namespace img::store
