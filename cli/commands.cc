#include "cli/commands.h"

namespace img::cli {

void addAllCommands(CommandTable& table) {
  addImageListCommand(table);
  addImageNameCommands(table);
  addHistoryCommand(table);
  addArchiveCommands(table);
  addInspectCommands(table);
  addVolumeCommands(table);
  addSystemCommands(table);
}

}  // namespace img::cli
