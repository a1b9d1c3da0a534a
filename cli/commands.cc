#include "cli/commands.h"

#include "cli/container_commands.h"

namespace img::cli {

void addAllCommands(CommandTable& table) {
  addRunCommands(table);
  addExecCommand(table);
  addPsCommand(table);
  addLogsCommand(table);
  addTopCommand(table);
  addPortCommand(table);
  addCommitCommand(table);
  addCopyCommand(table);
  addDiffCommand(table);
  addExportCommand(table);
  addAttachCommand(table);
  addHealthcheckCommand(table);
  addStatsCommand(table);
  addUpdateCommand(table);
  addWaitCommand(table);
  addLifecycleCommands(table);
  addBuildCommand(table);
  addDebugCommand(table);
  addImageListCommand(table);
  addImageNameCommands(table);
  addHistoryCommand(table);
  addPullCommand(table);
  addPushCommand(table);
  addLoginCommands(table);
  addArchiveCommands(table);
  addInspectCommands(table);
  addVolumeCommands(table);
  addSystemCommands(table);
  addPruneCommands(table);
  addDiskCommands(table);
  addVerifyCommand(table);
}

}  // namespace img::cli
