// Options of img build that say what becomes of the result: -o, --platform, --squash, annotations,
// form, times, last edits of the config (cli.md 9.1, 9.5, 9.6; dockerfile.md 7.7, 9).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "builder/request.h"
#include "cli/command.h"
#include "cli/options.h"

namespace img::cli {

struct OutputOptions {
  std::vector<std::string> outputs, annotations, platforms;
  std::vector<std::string> env, unsetEnv, unsetLabels, unsetAnnotations;
  std::string compression, timestamp, epoch;
  std::string rewritesTimes = "true";
  bool squash = false, squashAll = false, push = false;

  void addTo(Options& options);
  // `format`: of --format, oci or docker; empty: not given.
  void apply(Context& context, const std::string& format, builder::Request& request) const;
};

// One value of -o. Throws Kind::usage for what is no output, Kind::unsupported for a registry.
builder::Output parseOutput(std::string_view text);
// "[LEVEL[PLATFORM][,...]:]KEY=VALUE"
std::vector<builder::Annotation> parseAnnotation(std::string_view text);
// "gzip", "zstd:19", "none".
builder::LayerCompression parseCompression(std::string_view text, std::string_view what);

}  // namespace img::cli
