// The units that bring commands. A new unit: declare its function here and call it in commands.cc.
#pragma once

namespace img::cli {

class CommandTable;

void addBuildCommand(CommandTable& table);       // build.cc
void addDebugCommand(CommandTable& table);       // debug.cc
void addImageListCommand(CommandTable& table);   // images.cc
void addImageNameCommands(CommandTable& table);  // image_names.cc
void addHistoryCommand(CommandTable& table);     // history.cc
void addPullCommand(CommandTable& table);        // pull.cc
void addPushCommand(CommandTable& table);        // push.cc
void addLoginCommands(CommandTable& table);      // login.cc
void addPullCommand(CommandTable& table);        // pull.cc
void addArchiveCommands(CommandTable& table);    // archives.cc
void addInspectCommands(CommandTable& table);    // inspect.cc
void addVolumeCommands(CommandTable& table);     // volumes.cc
void addSystemCommands(CommandTable& table);     // system.cc
void addPruneCommands(CommandTable& table);      // prune.cc
void addDiskCommands(CommandTable& table);       // df.cc, why.cc
void addDoctorCommand(CommandTable& table);      // doctor.cc
void addVerifyCommand(CommandTable& table);      // verify.cc

void addAllCommands(CommandTable& table);

}  // namespace img::cli
