// `img logs`: replays what a container wrote, stdout to stdout and stderr to stderr, byte by byte.
#include <poll.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <deque>

#include "base/error.h"
#include "base/sys.h"
#include "base/text.h"
#include "cli/build_log_view.h"
#include "cli/container_commands.h"
#include "cli/human.h"
#include "cli/log_view.h"
#include "cli/options.h"
#include "cli/values.h"
#include "store/containers.h"

namespace img::cli {
namespace {

constexpr int kLookAgainMs = 200;  // an event may come before the watch, or from a keeper that died

struct LogsRequest {
  bool follow = false, showsName = false;
  LogFilter filter;
};

// Waits for the log to grow. The folder is watched, not the file: that also shows a rotation and
// the final state.
class LogWatch {
 public:
  explicit LogWatch(int folder)
      : inotify_(sys::check([] { return ::inotify_init1(IN_CLOEXEC | IN_NONBLOCK); }, "inotify")) {
    const std::string path = sys::procPath(folder);
    sys::check(
        [&] {
          return ::inotify_add_watch(inotify_.get(), path.c_str(),
                                     IN_MODIFY | IN_CREATE | IN_MOVED_TO | IN_DELETE_SELF);
        },
        "watch the log");
  }
  void wait() const {
    pollfd ready{inotify_.get(), POLLIN, 0};
    sys::check([&] { return ::poll(&ready, 1, kLookAgainMs); }, "poll");
    char events[4096];
    while (::read(inotify_.get(), events, sizeof events) > 0) continue;
  }

 private:
  Fd inotify_;
};

void printChunks(Context& context, const std::vector<LogChunk>& chunks) {
  for (const LogChunk& chunk : chunks) {
    if (chunk.stream == runtime::LogStream::out) {
      context.print(chunk.text);
    } else {
      context.notice(chunk.text);
    }
  }
}

void replay(Context& context, const store::Containers& containers,
            const store::ContainerRecord& record, const LogsRequest& request) {
  const Fd folder = containers.folder(record.config.id);
  runtime::LogReader reader{folder.get()};
  LogFilter filter = request.filter;
  if (request.showsName) filter.name = record.config.name;
  LogView view{std::move(filter)};
  const auto readOn = [&] {
    while (const auto line = reader.nextLine()) {
      if (const auto item = runtime::parseLogRecord(*line)) view.add(*item);
      if (view.hasEnough()) printChunks(context, view.take());
    }
    return !view.isPastEnd();
  };
  std::optional<LogWatch> watch;
  if (request.follow) watch.emplace(folder.get());
  for (;;) {
    // Asked before the last look at the log: what a keeper wrote before it went is then read.
    const bool isKept = request.follow && containers.isHeld(record.config.id);
    const bool wantsMore = readOn();
    printChunks(context, view.finish());
    if (!isKept || !wantsMore) return;
    watch->wait();
  }
}

int showLogs(Context& context, const std::vector<std::string>& args) {
  LogsRequest request;
  std::string tail, build;
  const long long now = nowSeconds();
  Options options{context, "CONTAINER | --build ID|last [STEP]",
                  "Show what a container or the steps of a build have written"};
  options.flag("-f,--follow", request.follow, "Go on as it writes")
      .text("-n,--tail", tail, "LINES", "Only the last lines")
      .flag("-t,--timestamps", request.filter.timestamps, "Show when each line was written")
      .flag("--names", request.showsName, "Show the container's name before each line")
      .value("--since", "TIME", "Only what was written after",
             [&](const std::string& text) {
               request.filter.since = text::formatTime(parseTime(text, now, "--since"));
             })
      .value("--until", "TIME", "Only what was written before",
             [&](const std::string& text) {
               request.filter.until = text::formatTime(parseTime(text, now, "--until"));
             })
      .text("--build", build, "ID", "The logs of a build instead; last is the newest")
      .positionals(0, 1);
  if (!options.parse(args)) return 0;
  if (options.isGiven("--build")) {
    for (const char* name :
         {"--follow", "--tail", "--timestamps", "--names", "--since", "--until"}) {
      if (options.isGiven(name))
        throw Error::make(Kind::usage, "{} does not go with --build", name);
    }
    return showBuildLog(context, build, options.words());
  }
  if (options.words().empty()) throw Error{Kind::usage, "no container given"};
  if (!tail.empty() && tail != "all" && tail != "-1") {
    const auto lines = text::parseUnsigned(tail);
    if (!lines)
      throw Error::make(Kind::usage, "--tail: {} is not a number of lines", text::quote(tail));
    request.filter.tail = *lines;
  }
  const store::Containers containers{context.store()};
  replay(context, containers, containers.get(options.words().front()), request);
  return 0;
}

}  // namespace

void addLogsCommand(CommandTable& table) {
  table.add(
      {"logs,container logs", Group::containers, "Show what a container has written", showLogs});
}

}  // namespace img::cli
