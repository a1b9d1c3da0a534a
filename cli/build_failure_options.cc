#include "cli/build_failure_options.h"

#include <fmt/format.h>
#include <unistd.h>

#include <climits>

#include "base/sys.h"
#include "base/text.h"

namespace img::cli {
namespace {

// Rounded up: a build never gets less time than was asked for.
int wholeSeconds(long long nanoseconds) {
  constexpr long long kSecond = 1'000'000'000;
  if (nanoseconds <= 0 || nanoseconds > kSecond * INT_MAX)
    throw Error{Kind::usage, "--timeout: use a duration above zero, such as 90s or 10m"};
  return static_cast<int>((nanoseconds + kSecond - 1) / kSecond);
}

std::pair<std::string, std::string> parseCopy(const std::string& item) {
  const size_t colon = item.find(':');
  if (colon == 0 || colon == std::string::npos || colon + 1 == item.size())
    throw Error::make(Kind::usage, "--on-fail-copy {}: expected SRC:DEST", text::quote(item));
  std::string to = item.substr(colon + 1);
  if (!to.starts_with('/')) to = sys::readlinkat(AT_FDCWD, "/proc/self/cwd") + "/" + to;
  return {item.substr(0, colon), std::move(to)};
}

bool hasTerminal() {
  return ::isatty(STDIN_FILENO) == 1 && ::isatty(STDERR_FILENO) == 1;
}

void say(const std::string& text) {
  writeAll(STDERR_FILENO, text, "standard error");
}

// One key of "rca" and a newline; the end of the input aborts.
builder::DebugRequest::Answer askUser() {
  using Answer = builder::DebugRequest::Answer;
  for (;;) {
    say("[r]etry the step, [c]ontinue with this file system (not cached), [a]bort? ");
    std::string line;
    for (char key = 0; ::read(STDIN_FILENO, &key, 1) == 1 && key != '\n';) line += key;
    if (line.empty() || line == "a" || line == "abort") return Answer::abort;
    if (line == "r" || line == "retry") return Answer::retry;
    if (line == "c" || line == "continue") return Answer::keep;
  }
}

void setDebug(const std::string& where, builder::DebugRequest& debug) {
  if (where == "on-error") {
    debug.onFailure = true;
    return;
  }
  const size_t colon = where.find(':');
  const auto line = text::parseUnsigned(where.substr(colon + 1));
  const std::string place = where.substr(0, colon);
  const bool isKnown = place == "before" || place == "after";
  if (colon == std::string::npos || !isKnown || !line || *line == 0 || *line > INT_MAX)
    throw Error::make(Kind::usage, "--debug {}: use on-error, before:LINE or after:LINE",
                      text::quote(where));
  (place == "before" ? debug.beforeLine : debug.afterLine) = static_cast<int>(*line);
}

}  // namespace

void FailureOptions::addTo(Options& options) {
  options.group("When a step fails")
      .optionalValue("--debug", "on-error", "WHERE",
                     "Open a shell in a RUN that fails; or at before:LINE, after:LINE",
                     [this](const std::string& value) { debug = value; })
      .text("--on-fail", onFail, "keep|remove",
            "keep it for `img debug` (default), or remove what it left")
      .list("--on-fail-copy", copies, "SRC:DEST", "Copy SRC out of a RUN that fails")
      .text("--exit-code", exitCode, "step|1", "Exit with the RUN's own exit code, or with 1")
      .duration("--timeout", timeout, "End the whole build after this time, with exit code 124");
}

void FailureOptions::apply(builder::Request& request) const {
  if (onFail != "keep" && onFail != "remove")
    throw Error::make(Kind::usage, "--on-fail {}: use keep or remove", text::quote(onFail));
  if (exitCode != "step" && exitCode != "1")
    throw Error::make(Kind::usage, "--exit-code {}: use step or 1", text::quote(exitCode));
  request.keepsFailedStep = onFail == "keep";
  for (const std::string& item : copies) request.failureCopies.push_back(parseCopy(item));
  if (timeout) request.timeoutSeconds = wholeSeconds(*timeout);
  if (!debug) return;
  builder::DebugRequest wanted;
  setDebug(*debug, wanted);
  // Scripts made for docker's -D, which only raises the log level, must not meet a shell.
  if (!hasTerminal()) return;
  request.debug = std::move(wanted);
  request.debug.ask = askUser;
  request.debug.announce = [](const std::string& why) {
    say(fmt::format("\n{}: a shell in the step; leave it with exit\n", text::escape(why, 500)));
  };
}

void FailureOptions::setExitCode(Error& error) const {
  const bool isStep = error.code() != "interrupted" && error.exitCode() != 124;
  if (exitCode == "1" && isStep) error.exitCode(1);
}

}  // namespace img::cli
