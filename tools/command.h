// How the commands hang together: main() makes one Cli, each group of commands adds itself to the tree,
// the parse chooses one action, main() runs it and turns its Status into an exit code.
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

// The options that stand before or after any command.
struct Globals {
  std::string registry;  // -r
  std::string as;        // --as: a metastore admin acts in this one's name
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

  // The registry that the names and -r speak of, open.
  Result<std::unique_ptr<Home>> Open(const std::vector<const Place*>& places = {}) const;
  Result<std::unique_ptr<Home>> OpenAt(const std::string& path) const;

 private:
  Action action_;
};

// A command below `parent` with its example shown in the help. `example` is one or more shell lines.
CLI::App* AddCommand(CLI::App& parent, const std::string& name, const std::string& help,
                     const std::string& example);

// How the help and the man page show an argument that has no dashes: by its option_text, else by its name,
// which newer versions of CLI11 want to be one word.
std::string ArgumentLabel(const CLI::Option& argument);

// A command whose arguments live in a T: `run(cli, arguments)` is called when it is chosen.
//   auto arguments = std::make_shared<LsArguments>();  ... command->add_option("NAME", arguments->name) ...
//   OnRun(*command, cli, arguments, RunLs);
void SetCallback(CLI::App& command, std::function<void()> callback);
template <typename T>
void OnRun(CLI::App& command, Cli& cli, std::shared_ptr<T> arguments, Status (*run)(const Cli&, const T&)) {
  SetCallback(command, [&cli, arguments, run] {
    cli.Choose([&cli, arguments, run] { return run(cli, *arguments); });
  });
}

// Whether the user says yes on the terminal; kFailedPrecondition where nobody can be asked: says --yes.
Status Confirm(const std::string& question);

}  // namespace modelfs::tools
