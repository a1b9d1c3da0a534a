// The commands about containers, one unit each.
#pragma once

namespace img::cli {

class CommandTable;

void addRunCommands(CommandTable& table);        // run.cc: run, create, start
void addExecCommand(CommandTable& table);        // exec.cc
void addPsCommand(CommandTable& table);          // ps.cc
void addLogsCommand(CommandTable& table);        // logs.cc
void addLifecycleCommands(CommandTable& table);  // lifecycle.cc: stop, kill, rm, rename, pause, ...
void addWaitCommand(CommandTable& table);        // wait.cc
void addTopCommand(CommandTable& table);         // top.cc
void addPortCommand(CommandTable& table);        // port.cc
void addCommitCommand(CommandTable& table);      // commit.cc
void addCopyCommand(CommandTable& table);        // cp.cc
void addDiffCommand(CommandTable& table);        // diff.cc
void addExportCommand(CommandTable& table);      // export.cc
void addStatsCommand(CommandTable& table);       // stats.cc
void addUpdateCommand(CommandTable& table);      // update.cc
void addHealthcheckCommand(CommandTable& table);  // healthcheck.cc
void addAttachCommand(CommandTable& table);       // attach.cc

}  // namespace img::cli
