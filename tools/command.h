// How a command is declared, chosen and run. main() makes one Cli, and each group of commands adds itself to
// the tree. The parse chooses one action; main() runs it and turns its Status into an exit code.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "cas/base/result.h"
#include "tools/home.h"
#include "tools/place.h"
#include "tools/print/log.h"

namespace CLI {  // NOLINT(readability-identifier-naming): the library's
class App;
class Option;
}  // namespace CLI

namespace modelfs::tools {

// The options that may stand before or after any command.
struct Globals {
  std::string registry;  // -r
  std::string as;        // --as: the principal that a metastore admin acts as
  HomeOptions home;      // --identity-map, --lock-wait
  LogOptions log;
  bool log_level_given = false;
};

class Cli {
 public:
  Globals globals;
  CLI::App* app = nullptr;

  using Action = std::function<Status()>;
  // Called by the chosen command while the arguments are parsed; the innermost command comes first and wins.
  void Choose(Action action) {
    if (!action_) action_ = std::move(action);
  }
  const Action& action() const { return action_; }

  // Opens the registry that -r and the names refer to, or the one at `path`.
  Result<std::unique_ptr<Session>> Open(const std::vector<const Place*>& places = {}) const;
  Result<std::unique_ptr<Session>> OpenAt(const std::string& path) const;
  // The same for commands that need its directory.
  Result<std::unique_ptr<LocalHome>> OpenLocal(const std::vector<const Place*>& places = {}) const;
  Result<std::unique_ptr<LocalHome>> OpenLocalAt(const std::string& path) const;

 private:
  Action action_;
};

// Adds a command below `parent`. The help shows `example`, one or more shell lines.
CLI::App* AddCommand(CLI::App& parent, const std::string& name, const std::string& help,
                     const std::string& example);

// The label of a positional argument in the help and the man page: its option_text if set, else its name.
// Newer versions of CLI11 require the name to be one word.
std::string ArgumentLabel(const CLI::Option& argument);

// Declares a command with its arguments in a T: `run(cli, arguments)` is called if the command is chosen.
//   auto arguments = std::make_shared<LsArguments>();  ... command->add_option("NAME", arguments->name) ...
//   OnRun(*command, cli, arguments, RunLs);
void SetCallback(CLI::App& command, std::function<void()> callback);
template <typename T>
void OnRun(CLI::App& command, Cli& cli, std::shared_ptr<T> arguments, Status (*run)(const Cli&, const T&)) {
  SetCallback(command, [&cli, arguments, run] {
    cli.Choose([&cli, arguments, run] { return run(cli, *arguments); });
  });
}

// Asks the user on the terminal. OK if the answer is yes.
//   kCancelled            any other answer
//   kFailedPrecondition   stdin or stderr is not a terminal; the message names --yes
Status Confirm(const std::string& question);

}  // namespace modelfs::tools
