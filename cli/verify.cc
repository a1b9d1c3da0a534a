// verify: the whole store against itself (cli.md 14, reliability.md G8).
#include "store/verify.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <tuple>

#include "base/interruption.h"
#include "base/json.h"
#include "base/log.h"
#include "base/stream.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/container_control.h"
#include "cli/human.h"
#include "cli/options.h"
#include "distribution/push.h"
#include "distribution/session.h"
#include "store/blobs.h"

namespace img::cli {
namespace {

// A pipe carries it: what arrives is hashed on its way into the store.
void fetchFrom(const store::Layout& layout, const store::Reference& place,
               const store::Descriptor& blob) {
  distribution::Session session{place, distribution::Action::pull, {}};
  if (store::isManifestType(blob.mediaType) || store::isIndexType(blob.mediaType)) {
    store::putBlob(layout, session.manifest(blob.digest.str()).bytes, blob.mediaType);
    return;
  }
  Pipe pipe = Pipe::make();
  const int request = session.startBlob(blob, 0, std::move(pipe.write));
  FdSource bytes{std::move(pipe.read), blob.digest.str()};
  store::BlobWriter writer{layout};
  copyAll(bytes, writer);
  std::ignore = session.wait(request);
  writer.commit(blob.mediaType, blob.digest);
}

bool fetchAgain(const store::Layout& layout, const store::Descriptor& blob) {
  for (const store::Reference& place : distribution::placesOf(layout, blob.digest)) {
    try {
      fetchFrom(layout, place, blob);
      return true;
    } catch (const Error& error) {
      if (error.code() == "interrupted") throw;
      log::warn("{} cannot be fetched again from {}: {}", blob.digest.str(), place.repository(),
                error.cause());
    }
  }
  return false;
}

std::string summaryOf(const store::VerifyReport& report, bool isQuick) {
  const size_t left = static_cast<size_t>(
      std::count_if(report.problems.begin(), report.problems.end(),
                    [](const store::VerifyProblem& problem) { return !problem.isSolved; }));
  const std::string read = isQuick ? "" : fmt::format(" ({})", formatSize(report.bytes));
  const std::string verdict =
      report.problems.empty() ? "no problem"
      : left == 0             ? fmt::format("{} solved", report.problems.size())
                  : fmt::format("{} of {} problems remain", left, report.problems.size());
  return fmt::format("{} images, {} blobs{}, {} layers, {} containers, {} cache records: {}\n",
                     report.images, report.blobs, read, report.layers, report.containers,
                     report.records, verdict);
}

std::string textOf(const store::VerifyReport& report) {
  std::string out;
  for (const store::VerifyProblem& problem : report.problems) {
    out += fmt::format("{} {}", problem.object, problem.problem);
    if (!problem.action.empty()) out += ": " + problem.action;
    out += '\n';
  }
  return out;
}

std::string jsonOf(const store::VerifyReport& report) {
  Json problems = Json::array();
  for (const store::VerifyProblem& problem : report.problems) {
    problems.push_back({{"Object", problem.object},
                        {"Problem", problem.problem},
                        {"Action", problem.action},
                        {"Solved", problem.isSolved}});
  }
  return dumpJson(Json{{"Problems", problems},
                       {"Images", report.images},
                       {"Blobs", report.blobs},
                       {"Bytes", report.bytes},
                       {"Layers", report.layers},
                       {"Containers", report.containers},
                       {"CacheRecords", report.records}}) +
         "\n";
}

int runVerify(Context& context, const std::vector<std::string>& args) {
  store::VerifyOptions options;
  std::string format;
  Options table{context, "", "Check every blob, image, layer and container of the store"};
  table.flag("--quick", options.isQuick, "Sizes and references only, no content")
      .flag("--repair", options.mayRepair,
            "Mend what can be mended; take out what depends on a loss")
      .text("-f,--format", format, "FORMAT", "json, or text (the default)")
      .positionals(0, 0);
  if (!table.parse(args)) return 0;
  if (!format.empty() && format != "json" && format != "text") {
    throw Error::make(Kind::usage, "invalid value {} for --format", text::quote(format))
        .hint("use json or text");
  }
  const store::Layout& layout = context.store();
  recoverEverything(layout);  // what killed commands left is no damage
  const InterruptionScope scope;
  options.refetch = [&](const store::Descriptor& blob) { return fetchAgain(layout, blob); };
  const store::VerifyReport report = store::verifyStore(layout, options);
  if (format == "json") {
    context.print(jsonOf(report));
  } else {
    context.print(textOf(report));
    context.notice(summaryOf(report, options.isQuick));
  }
  return report.isClean() ? 0 : 1;
}

}  // namespace

void addVerifyCommand(CommandTable& table) {
  table.add({"verify,fsck,system verify,system check", Group::system,
             "Check the store and, if asked, mend it", runVerify});
}

}  // namespace img::cli
