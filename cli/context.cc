#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/environment.h"
#include "base/log.h"
#include "cli/command.h"
#include "cli/report.h"

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

const store::Layout& Context::store() {
  if (!store_) {
    store_ = store::Layout::open(globals.root.empty() ? defaultRoot() : globals.root);
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
