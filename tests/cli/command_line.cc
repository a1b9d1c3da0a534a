#include "tests/cli/command_line.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>

#include "base/fd.h"
#include "base/log.h"
#include "base/sys.h"
#include "cli/app.h"
#include "cli/commands.h"

namespace img::cli {
namespace {

Fd makeMemoryFile() {
  return Fd{sys::check([] { return memfd_create("output", MFD_CLOEXEC); }, "create a memory file")};
}

std::string contentOf(const Fd& file) {
  sys::check([&] { return lseek(file.get(), 0, SEEK_SET); }, "rewind");
  return readAll(file.get(), "output");
}

}  // namespace

CommandResult runWith(const CommandTable& table, const std::vector<std::string>& argv) {
  const Fd out = makeMemoryFile();
  const Fd err = makeMemoryFile();
  Context context{out.get(), err.get()};
  CommandResult result;
  result.status = runCommandLine(table, context, argv);
  log::setLevel(log::Level::warn);
  result.out = contentOf(out);
  result.err = contentOf(err);
  return result;
}

CommandResult runImg(const std::vector<std::string>& words) {
  CommandTable table;
  addAllCommands(table);
  std::vector<std::string> argv{"img"};
  argv.insert(argv.end(), words.begin(), words.end());
  return runWith(table, argv);
}

ScopedVariable::ScopedVariable(const std::string& name, const char* value) : name_(name) {
  const char* old = std::getenv(name.c_str());
  wasSet_ = old != nullptr;
  if (wasSet_) old_ = old;
  if (value == nullptr) {
    unsetenv(name.c_str());
  } else {
    setenv(name.c_str(), value, 1);
  }
}

ScopedVariable::~ScopedVariable() {
  if (wasSet_) {
    setenv(name_.c_str(), old_.c_str(), 1);
  } else {
    unsetenv(name_.c_str());
  }
}

}  // namespace img::cli
