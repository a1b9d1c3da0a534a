#include "cli/commands.h"

namespace img::cli {

void addAllCommands(CommandTable& table) {
  addSystemCommands(table);
}

}  // namespace img::cli
