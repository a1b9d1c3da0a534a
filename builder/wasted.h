// Bytes that an image carries and nobody can see: a file of one new layer that a later new layer
// writes again or deletes (cli.md 9.2, "wasted"). Only folders that two layers share are read, so
// the usual build, whose layers hardly meet, pays a few opens.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "builder/progress.h"

namespace img::builder {

struct WasteLayer {
  int folder;  // an overlay upper: whiteouts as devices, opaque marks as xattrs
  StepLabel step;
};

struct Waste {
  std::uint64_t bytes = 0;
  StepLabel earlier, later;  // who wrote the bytes, and who hid them
  bool isDeletion = false;
};

// `layers`: the new ones of an image, bottom first. One entry per pair of steps and kind, the
// largest first; empty when the sum is not above 1 MB and 1 % of `imageBytes`.
std::vector<Waste> findWaste(const std::vector<WasteLayer>& layers, std::uint64_t imageBytes);

// "Dockerfile:14 chown -R copies files of Dockerfile:11; use COPY --chown"
std::string wasteText(const Waste& waste);

}  // namespace img::builder
