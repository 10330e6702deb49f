// The groups of commands. Each adds itself to the tree of a Cli, in the .cc of its name.
#pragma once

#include "tools/command.h"

namespace modelfs::tools {

void AddInitCommand(Cli& cli);         // upkeep_commands.cc
void AddUpkeepCommands(Cli& cli);      // gc, fsck
void AddBackupCommand(Cli& cli);       // backup_commands.cc
void AddAuditCommands(Cli& cli);       // audit, audit verify, audit rotate, audit settings
void AddMountCommands(Cli& cli);       // mount, umount
void AddStatusCommands(Cli& cli);      // status, why, commit
void AddVersionCommands(Cli& cli);     // register, cp, download, resolve
void AddObjectCommands(Cli& cli);      // ls, show, mkdir, rename, describe, rm, search
void AddLabelCommands(Cli& cli);       // alias, tag
void AddAccessCommands(Cli& cli);      // grant, revoke, grants, owner, set
void AddPrincipalCommands(Cli& cli);   // principal, group
void AddSqlCommand(Cli& cli);          // sql
void AddCompletionCommands(Cli& cli);  // completion; hidden: for the build and for completion scripts

}  // namespace modelfs::tools
