// version and info: facts about this program, the kernel it runs on and the store.
#include <fmt/format.h>
#include <sys/utsname.h>

#include "cli/commands.h"
#include "cli/options.h"

namespace img::cli {
namespace {

int runVersion(Context& context, std::vector<std::string> args) {
  Options options{context, "", "Show the version of this program"};
  options.positionals(0, 0);
  if (!options.parse(args)) return 0;
  context.print("img version " IMG_VERSION "\n");
  return 0;
}

}  // namespace

void addSystemCommands(CommandTable& table) {
  table.add({"version", Group::system, "Show the version of this program", runVersion});
}

}  // namespace img::cli
