// Everything a build shows and records (cli.md 9.1, 9.2, 9.9): progress, summary, --metadata-file,
// --iidfile, --logfile, --trace, the log in the store. One call around the build itself.
#pragma once

#include <functional>
#include <string>

#include "builder/request.h"
#include "cli/command.h"
#include "cli/options.h"

namespace img::cli {

struct ReportOptions {
  std::string progress, summary;  // words of --progress and --summary
  std::string explain;            // word of --explain; empty: not asked for
  std::string idFile, metadataFile, logFile, traceFile;
  bool isQuiet = false;
  bool showsId = true;  // with isQuiet; false: stdout holds an output

  void addTo(Options& options);
};

// Runs `build` with the request (to which --trace is added), shows it, reports its error if it has
// one. Returns the exit status. What is wrong with the options is thrown before anything is done.
using BuildCall = std::function<builder::Result(const builder::Request&, builder::Progress&)>;
int runReported(Context& context, const ReportOptions& options, const builder::Request& request,
                const BuildCall& build);

}  // namespace img::cli
