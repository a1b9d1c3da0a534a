#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <tuple>

#include "base/environment.h"
#include "base/log.h"
#include "cli/command.h"
#include "cli/report.h"
#include "cli/rootless.h"

namespace img::cli {
namespace {

// cli.md section 1, `--root`.
std::string defaultRoot() {
  if (geteuid() == 0) return "/var/lib/img";
  if (const std::string data = variableOrEmpty("XDG_DATA_HOME"); data.starts_with('/'))
    return data + "/img";
  const std::string home = variableOrEmpty("HOME");
  if (home.empty()) {
    throw Error{Kind::failed, "no place for the store: neither HOME nor XDG_DATA_HOME is set"}.hint(
        "name a directory with --root or IMG_ROOT");
  }
  return home + "/.local/share/img";
}

// cli.md section 1, `--runroot`. A folder of another user's session, which `su` leaves in the
// environment, is not taken.
std::string defaultRunRoot(const std::string& storeRoot) {
  if (geteuid() == 0) return "/run/img";
  const std::string session = variableOrEmpty("XDG_RUNTIME_DIR");
  struct stat info {};
  const bool isOurs = session.starts_with('/') && ::stat(session.c_str(), &info) == 0 &&
                      info.st_uid == geteuid() && (info.st_mode & 022) == 0;
  return isOurs ? session + "/img" : storeRoot + "/run";
}

std::string absolute(const std::string& path) {
  return path.starts_with('/') ? path : (std::filesystem::current_path() / path).string();
}

// False: the reader has gone away.
bool writeWhole(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t count = ::write(fd, text.data(), text.size());
    if (count >= 0) {
      text.remove_prefix(static_cast<size_t>(count));
    } else if (errno == EPIPE) {
      return false;
    } else if (errno != EINTR) {
      // Without the hint of ENOSPC, which is about the store's disk.
      const Error error = Error::fromErrno(errno, "write to stdout");
      throw Error{error.kind(), error.cause()};
    }
  }
  return true;
}

bool isSwitchedOn(const std::string& value) {
  return !value.empty() && value != "0";
}

}  // namespace

// Both are remembered: who we are changes when the namespace is entered.
std::string Context::storeRoot() {
  if (storeRoot_.empty())
    storeRoot_ = absolute(globals.root.empty() ? defaultRoot() : globals.root);
  return storeRoot_;
}

std::string Context::runRoot() {
  if (runRoot_.empty()) {
    runRoot_ = absolute(globals.runRoot.empty() ? defaultRunRoot(storeRoot()) : globals.runRoot);
  }
  return runRoot_;
}

const store::Layout& Context::store() {
  if (!store_) {
    std::ignore = runRoot();  // while we are who called
    enterIsolation(*this, parseIsolation("--isolation", globals.isolation));
    store_ = store::Layout::open(storeRoot());
    store_->recover();  // what killed commands left (reliability.md 9); two folders read when there
                        // is nothing
  }
  return *store_;
}

void Context::print(std::string_view text) {
  if (!writeWhole(out_, text)) throw OutputClosed{};
}

void Context::notice(std::string_view text) {
  try {
    (void)writeWhole(err_, text);
  } catch (const Error&) {
    // Nobody can be told that stderr does not take the message; the exit status remains.
  }
}

void Context::warn(const Error& warning) {
  ReportStyle style;
  style.color = useColor(err_);
  style.json = globals.jsonErrors;
  style.isWarning = true;
  std::string text = renderReport(warning, style);
  if (std::find(warned_.begin(), warned_.end(), text) != warned_.end()) return;
  notice(text);
  warned_.push_back(std::move(text));
}

void Context::report(const Error& error) {
  ReportStyle style;
  style.color = useColor(err_);
  style.json = globals.jsonErrors;
  style.chain = log::isEnabled(log::Level::debug);
  style.command = command;
  notice(renderReport(error, style));
  for (const Error& other : error.others()) {
    if (!style.json) notice("\n");
    report(other);
  }
}

void Context::fail(const Error& error) {
  report(error);
  status_ = 1;
}

bool Context::outIsTerminal() const {
  return isatty(out_) == 1;
}
bool Context::errIsTerminal() const {
  return isatty(err_) == 1;
}

bool Context::useColor(int fd) const {
  if (globals.color == When::never || !variableOrEmpty("NO_COLOR").empty()) return false;
  if (globals.color == When::always) return true;
  if (isSwitchedOn(variableOrEmpty("CLICOLOR_FORCE")) ||
      isSwitchedOn(variableOrEmpty("FORCE_COLOR")))
    return true;
  return isatty(fd) == 1 && variableOrEmpty("TERM") != "dumb";
}

}  // namespace img::cli
