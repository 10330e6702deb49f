#include "tools/command.h"

#include <fmt/core.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <iostream>

#include "tools/principals.h"
#include "tools/print/output.h"

namespace modelfs::tools {

CLI::App* AddCommand(CLI::App& parent, const std::string& name, const std::string& help,
                     const std::string& example) {
  CLI::App* command = parent.add_subcommand(name, help);
  command->fallthrough();  // -r and the log options may stand after the command, too
  command->group("Commands");
  command->footer(
      "Example:\n  " + example +
      "\n\n-r HOME, --as PRINCIPAL and the log options of \"modelfs --help\" may be given as well.");
  return command;
}

std::string ArgumentLabel(const CLI::Option& argument) {
  const std::string& text = argument.get_option_text();
  return text.empty() ? argument.get_name(true) : text;
}

void SetCallback(CLI::App& command, std::function<void()> callback) { command.callback(std::move(callback)); }

Result<std::unique_ptr<Session>> Cli::Open(const std::vector<const Place*>& places) const {
  ASSIGN_OR_RETURN(std::unique_ptr<LocalHome> home, OpenLocal(places));
  return std::unique_ptr<Session>(std::move(home));
}

Result<std::unique_ptr<Session>> Cli::OpenAt(const std::string& path) const {
  ASSIGN_OR_RETURN(std::unique_ptr<LocalHome> home, OpenLocalAt(path));
  return std::unique_ptr<Session>(std::move(home));
}

Result<std::unique_ptr<LocalHome>> Cli::OpenLocal(const std::vector<const Place*>& places) const {
  ASSIGN_OR_RETURN(const std::string path, HomePath(globals.registry, places));
  return OpenLocalAt(path);
}

Result<std::unique_ptr<LocalHome>> Cli::OpenLocalAt(const std::string& path) const {
  ASSIGN_OR_RETURN(std::shared_ptr<spdlog::logger> log, MakeLogger(globals.log));
  ExplainMapFaults(globals.log);
  ASSIGN_OR_RETURN(std::unique_ptr<LocalHome> home, OpenHome(path, "cli", std::move(log), globals.home));
  if (!globals.as.empty()) {
    ASSIGN_OR_RETURN(home->caller,
                     ActAs(*home->governance, home->identities.get(), home->caller, globals.as));
  }
  return home;
}

Status Confirm(const std::string& question) {
  if (::isatty(STDIN_FILENO) != 1 || ::isatty(STDERR_FILENO) != 1) {
    return Error(Code::kFailedPrecondition,
                 fmt::format("{} No terminal is available to confirm this: add --yes", question));
  }
  std::fputs(fmt::format("{} [y/N] ", question).c_str(), stderr);
  std::string answer;
  if (std::getline(std::cin, answer) && (answer == "y" || answer == "Y" || answer == "yes"))
    return OkStatus();
  return Error(Code::kCancelled, "nothing was deleted");
}

}  // namespace modelfs::tools
