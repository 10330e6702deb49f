// backup: copies the names, consistent with the artifacts and the audit files that a program of the user
// copies.
#include <fcntl.h>
#include <fmt/core.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "cas/base/text.h"
#include "store/kv/lmdb_kv.h"
#include "tools/command.h"
#include "tools/commands/commands.h"
#include "tools/gc.h"
#include "tools/print/output.h"

namespace modelfs::tools {
namespace {

namespace files = std::filesystem;

struct BackupArguments {
  std::string directory;
  std::vector<std::string> command;
};

Status SyncDirectory(const std::string& path) {
  const Fd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid() || ::fsync(fd.get()) != 0)
    return ErrnoError(errno, fmt::format("{}: fsync", Printable(path)));
  return OkStatus();
}

// Makes BACKUP/registry, as private as the registry's own directory.
Result<std::string> MakeTarget(const std::string& home, const std::string& backup) {
  std::error_code failure;
  const std::string registry = backup + "/registry";
  if (IsWithin(files::weakly_canonical(backup, failure).string(), home)) {
    return Error(
        Code::kInvalidArgument,
        fmt::format("{} lies in the registry itself; name a directory elsewhere, preferably on another disk",
                    Printable(backup)));
  }
  if (files::exists(registry + "/lock.mdb", failure)) {
    return Error(Code::kFailedPrecondition,
                 fmt::format("{} is a registry that is, or was, in use; name a new directory, or that of an "
                             "earlier backup",
                             Printable(backup)));
  }
  for (const std::string& path : {backup, registry}) {
    if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) {
      return ErrnoError(errno, fmt::format("{}: mkdir", Printable(path)));
    }
  }
  return registry;
}

Status RunCommand(const std::vector<std::string>& command) {
  std::vector<char*> arguments;
  for (const std::string& argument : command) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  pid_t pid = 0;
  const std::string shown = Printable(command.front());
  if (const int failed = ::posix_spawnp(&pid, arguments[0], nullptr, nullptr, arguments.data(), environ);
      failed != 0) {
    return ErrnoError(failed, shown);
  }
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0) {
    if (errno != EINTR) return ErrnoError(errno, fmt::format("{}: wait", shown));
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return OkStatus();
  return Error(Code::kFailedPrecondition,
               WIFEXITED(status) ? fmt::format("{} ended with exit code {}", shown, WEXITSTATUS(status))
                                 : fmt::format("{} was ended by signal {}", shown, WTERMSIG(status)));
}

Status RunBackup(const Cli& cli, const BackupArguments& arguments) {
  ASSIGN_OR_RETURN(const std::unique_ptr<LocalHome> home, cli.OpenLocal());
  // Both are held from before the copy of the names until after the copy of the rest, so that nothing that
  // the names refer to is missing.
  ASSIGN_OR_RETURN(const Fd no_rotation, home->embedded->HoldAuditFiles(home->caller));
  ASSIGN_OR_RETURN(const Fd no_sweep, HoldSweeps(*home));
  ASSIGN_OR_RETURN(const std::string registry, MakeTarget(home->path, arguments.directory));
  const std::string fresh = registry + "/data.mdb.new";
  if (::unlink(fresh.c_str()) != 0 && errno != ENOENT)
    return ErrnoError(errno, fmt::format("{}: unlink", fresh));
  store::LmdbOptions options;
  options.directory = home->files + "/registry";
  RETURN_IF_ERROR(store::CopyLmdb(options, fresh));
  if (!arguments.command.empty()) {
    if (const Status copied = RunCommand(arguments.command); !copied.ok()) {
      ::unlink(fresh.c_str());
      return Error(copied.error().code(),
                   fmt::format("{}; the names in {} are unchanged", copied.error().message(),
                               Printable(arguments.directory)));
    }
  }
  const std::string data = registry + "/data.mdb";
  if (::rename(fresh.c_str(), data.c_str()) != 0) return ErrnoError(errno, fmt::format("{}: rename", fresh));
  RETURN_IF_ERROR(SyncDirectory(registry));
  return SyncDirectory(arguments.directory);
}

}  // namespace

void AddBackupCommand(Cli& cli) {
  auto arguments = std::make_shared<BackupArguments>();
  CLI::App* command =
      AddCommand(*cli.app, "backup",
                 "Copy the names to BACKUP/registry while the registry is in use, and run a program that "
                 "copies the rest. Until the program ends, nothing is swept and no audit record moves, so "
                 "that both copies fit together",
                 "modelfs backup BACKUP -- rsync -a HOME/objects HOME/sums HOME/audit BACKUP/");
  command->add_option("BACKUP", arguments->directory, "A new directory, or that of an earlier backup")
      ->required();
  command->add_option("COMMAND", arguments->command, "The program and its arguments, after --")
      ->option_text("[-- COMMAND…]");
  OnRun(*command, cli, arguments, RunBackup);
}

}  // namespace modelfs::tools
