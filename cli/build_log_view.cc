#include "cli/build_log_view.h"

#include <unistd.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "base/fs.h"
#include "base/json.h"
#include "base/sys.h"
#include "base/text.h"
#include "cli/report.h"
#include "store/build_logs.h"

namespace img::cli {
namespace {

std::string logName(int step) {
  return std::to_string(step) + ".log";
}

// The last byte that was printed; a newline for an empty log.
char copyLog(Context& context, int folder, int step) {
  const Fd file = sys::openat(folder, logName(step), O_RDONLY);
  std::string buffer(size_t{64} << 10, '\0');
  for (char last = '\n';;) {
    const ssize_t count =
        sys::check([&] { return ::read(file.get(), buffer.data(), buffer.size()); }, "read a log");
    if (count == 0) return last;
    const std::string_view bytes{buffer.data(), static_cast<size_t>(count)};
    context.print(bytes);
    last = bytes.back();
  }
}

// "[build 3/4] RUN make (Dockerfile:12)" by number. Nothing for a build that still runs or was
// killed.
std::map<int, std::string> stepTitles(int folder) {
  std::map<int, std::string> titles;
  const auto text = fs::tryReadFile(folder, "build.json");
  if (!text) return titles;
  try {
    const Json build = parseJson(*text, "build.json");
    for (const Json& step : build.at("steps")) {
      const std::string instruction = step.at("instruction");
      titles[step.at("index")] = fmt::format(
          "[{}] {} ({}:{})", printable(step.at("stage").get<std::string>()),
          printable(instruction.substr(0, instruction.find('\n'))),
          printable(build.at("dockerfile").get<std::string>()), step.at("line").get<int>());
    }
  } catch (const Json::exception&) {
    return {};  // of another version: the logs themselves are what counts
  }
  return titles;
}

int parseStep(const std::string& word, int folder) {
  const auto number = text::parseUnsigned(word);
  const std::vector<int> steps = store::BuildLogs::steps(folder);
  const auto found = std::find_if(steps.begin(), steps.end(), [&](int step) {
    return number && static_cast<unsigned long long>(step) == *number;
  });
  if (found != steps.end()) return *found;
  std::vector<std::string> known;
  known.reserve(steps.size());
  for (const int step : steps) known.push_back(std::to_string(step));
  throw Error::make(Kind::notFound, "no output of a step {}", text::quote(word))
      .hint("steps with output: " + text::join(known, ", "));
}

}  // namespace

int showBuildLog(Context& context, const std::string& build,
                 const std::vector<std::string>& words) {
  const Fd folder = store::BuildLogs{context.store()}.open(build);
  if (!words.empty()) {
    copyLog(context, folder.get(), parseStep(words.front(), folder.get()));
    return 0;
  }
  const std::map<int, std::string> titles = stepTitles(folder.get());
  for (const int step : store::BuildLogs::steps(folder.get())) {
    const auto title = titles.find(step);
    context.print(fmt::format("#{}{}\n", step, title == titles.end() ? "" : " " + title->second));
    if (copyLog(context, folder.get(), step) != '\n') context.print("\n");
  }
  return 0;
}

}  // namespace img::cli
