// Builds the tree of commands, parses the command line, runs the chosen command and reports its result.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>

#include "cas/base/error_table.h"
#include "cas/base/text.h"
#include "tools/command.h"
#include "tools/commands/commands.h"
#include "tools/print/output.h"

namespace modelfs::tools {
namespace {

constexpr int kUsageExitCode = 2;

// Commands that refuse --as: they need no open registry, or act through a mount, where the kernel names the
// caller.
constexpr std::array<std::string_view, 7> kActAsNobodyElse = {"init", "mount",  "umount",    "status",
                                                              "why",  "commit", "completion"};

int Fail(std::string_view message, int exit_code) {
  std::fputs(fmt::format("modelfs: {}\n", message).c_str(), stderr);
  return exit_code;
}

// The innermost command that was parsed: "modelfs alias set".
std::string CommandPath(const CLI::App& app) {
  std::string path = app.get_name();
  for (const CLI::App* at = &app; !at->get_subcommands().empty();) {
    at = at->get_subcommands().front();
    path += " " + at->get_name();
  }
  return path;
}

// The library's layout, except for positional arguments: the library would add "(2x)" to one of two words.
class HelpFormatter : public CLI::Formatter {
 public:
  std::string make_option_name(const CLI::Option* option, bool is_positional) const override {
    return is_positional ? ArgumentLabel(*option) : CLI::Formatter::make_option_name(option, false);
  }
  std::string make_option_opts(const CLI::Option* option) const override {
    return option->get_positional() ? "" : CLI::Formatter::make_option_opts(option);
  }
  std::string make_option_usage(const CLI::Option* option) const override {
    return option->get_required() ? ArgumentLabel(*option) : "[" + ArgumentLabel(*option) + "]";
  }
};

void AddGlobals(CLI::App& app, Globals& globals) {
  app.add_option("-r,--registry", globals.registry,
                 "The registry: a directory that \"modelfs init\" made (default: $MODELFS_REGISTRY)")
      ->type_name("HOME");
  app.add_option("--as", globals.as,
                 "Act as this user or service principal: for metastore admins only; the audit log records "
                 "both names")
      ->type_name("PRINCIPAL");
  app.add_option("--identity-map", globals.home.identity_map,
                 "A file that maps uids to users and gids to groups, instead of the host's user database")
      ->type_name("FILE")
      ->envname("MODELFS_IDENTITY_MAP");
  app.add_option(
         "--lock-wait", globals.home.lock_wait_s,
         "How long a change waits for another process's change before it fails and names that process "
         "(default: 10)")
      ->type_name("SECONDS")
      ->check(CLI::Range(kMostLockWaitS))
      ->envname("MODELFS_LOCK_WAIT");
  app.add_option("--log-level", globals.log.level,
                 "trace, debug, info, warn, error or off (default: warn; info for mount)")
      ->type_name("LEVEL")
      ->envname("MODELFS_LOG_LEVEL");
  app.add_option("--log-file", globals.log.file, "Append the log to this file instead of stderr")
      ->type_name("FILE")
      ->envname("MODELFS_LOG_FILE");
  app.add_flag("--log-json", globals.log.json, "Log one JSON object a line");
}

int Run(int argc, char** argv) {
  CLI::App app("A model registry that is a file system.", "modelfs");
  app.require_subcommand(1);
  app.set_version_flag("--version", MODELFS_VERSION);
  app.footer("\"modelfs COMMAND --help\" explains a command and shows an example.");
  app.set_help_flag("-h,--help", "Print this help and exit");
  app.get_version_ptr()->description("Print the version and exit");
  const auto formatter = std::make_shared<HelpFormatter>();  // each command inherits it when it is added
  formatter->column_width(34);
  for (const auto& label : {std::pair{"SUBCOMMAND", "COMMAND"}, std::pair{"Positionals", "Arguments"},
                            std::pair{"TEXT", ""}, std::pair{"REQUIRED", ""}}) {
    formatter->label(label.first, label.second);
  }
  app.formatter(formatter);

  Cli cli;
  cli.app = &app;
  AddGlobals(app, cli.globals);
  AddInitCommand(cli);
  AddMountCommands(cli);
  AddVersionCommands(cli);
  AddObjectCommands(cli);
  AddLabelCommands(cli);
  AddSqlCommand(cli);
  AddAccessCommands(cli);
  AddPrincipalCommands(cli);
  AddStatusCommands(cli);
  AddUpkeepCommands(cli);
  AddBackupCommand(cli);
  AddAuditCommands(cli);
  AddCompletionCommands(cli);

  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp& wanted) {
    app.exit(wanted);
    return FlushOutput().ok() ? EXIT_SUCCESS : EXIT_FAILURE;
  } catch (const CLI::Success& wanted) {  // --version
    return app.exit(wanted);
  } catch (const CLI::Error& failure) {
    const std::string path = CommandPath(app);
    // The library leaves an unknown command over and reports that a command is missing.
    const std::vector<std::string> rest = app.remaining(true);
    if (failure.get_exit_code() == static_cast<int>(CLI::ExitCodes::RequiredError) && !rest.empty()) {
      if (rest.front().starts_with("-")) {
        return Fail(fmt::format("\"{}\" has no option {}; if it is an argument, put -- before it\nRun \"{} "
                                "--help\" for its usage.",
                                path, Printable(rest.front()), path),
                    kUsageExitCode);
      }
      return Fail(fmt::format("\"{} {}\" is not a command\nRun \"{} --help\" for the list of commands.", path,
                              Printable(rest.front()), path),
                  kUsageExitCode);
    }
    return Fail(fmt::format("{}\nRun \"{} --help\" for its usage.", Printable(failure.what()), path),
                kUsageExitCode);
  }
  const std::string chosen = app.get_subcommands().front()->get_name();
  if (!cli.globals.as.empty() &&
      std::find(kActAsNobodyElse.begin(), kActAsNobodyElse.end(), chosen) != kActAsNobodyElse.end()) {
    return Fail(fmt::format("{} always acts as the user that runs it: leave --as out", chosen),
                kUsageExitCode);
  }
  if (app.get_option("--registry")->count() > 0 && cli.globals.registry.empty()) {
    return Fail("-r is empty; name a registry, or leave -r out if $MODELFS_REGISTRY names it",
                kUsageExitCode);
  }
  cli.globals.log_level_given = app.get_option("--log-level")->count() > 0;

  Status status = OkStatus();
  try {
    status = cli.action()();
  } catch (const std::exception& failure) {  // from a library, e.g. bad_alloc; our own errors are all Status
    status = Error(Code::kInternal, failure.what());
  }
  if (status.ok()) status = FlushOutput();
  if (status.ok()) return EXIT_SUCCESS;
  FlushOutput().IgnoreError("the command's own error is reported");
  return Fail(Printable(status.error().message()), RowOf(status.error().code()).exit_code);
}

}  // namespace
}  // namespace modelfs::tools

int main(int argc, char** argv) { return modelfs::tools::Run(argc, argv); }
