// completion, and hidden commands for the man page and for the completion scripts. All output comes from the
// tree of commands itself.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>
#include <set>

#include "cas/base/shell_word.h"
#include "tools/command.h"
#include "tools/commands/commands.h"
#include "tools/commands/typed_line.h"
#include "tools/pages.h"
#include "tools/print/output.h"

namespace modelfs::tools {
namespace {

std::vector<const CLI::App*> Commands(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App* command) { return !command->get_group().empty(); });
}

struct OptionWords {
  std::vector<std::string> names;  // "-r", "--registry"
  std::string help;
  std::string value;  // "HOME"; empty for a flag
};

std::vector<OptionWords> Options(const CLI::App& app) {
  std::vector<OptionWords> options;
  for (const CLI::Option* option : app.get_options()) {
    if (!option->nonpositional()) continue;
    OptionWords words;
    for (const std::string& name : option->get_snames()) words.names.push_back("-" + name);
    for (const std::string& name : option->get_lnames()) words.names.push_back("--" + name);
    words.help = option->get_description();
    if (option->get_items_expected_max() > 0) words.value = option->get_type_name();
    options.push_back(std::move(words));
  }
  return options;
}

std::vector<const CLI::Option*> Positionals(const CLI::App& app) {
  return app.get_options([](const CLI::Option* option) { return option->get_positional(); });
}

// Visits `app` and each command below it, with its path such as "modelfs alias set".
void EachCommand(const CLI::App& app, const std::string& path,
                 const std::function<void(const CLI::App&, const std::string&)>& visit) {
  visit(app, path);
  for (const CLI::App* command : Commands(app))
    EachCommand(*command, path + " " + command->get_name(), visit);
}

std::string Joined(const std::vector<std::string>& words, std::string_view separator) {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "" : std::string(separator)) + word;
  return out;
}

// --- shells ---

// Whether a command takes names from the registry. The scripts look them up at completion time, because they
// change.
bool TakesName(const CLI::App& app) {
  const auto positionals = Positionals(app);
  return std::any_of(positionals.begin(), positionals.end(), [](const CLI::Option* option) {
    const std::string name = option->get_name(true);
    return name == "NAME" || name == "SOURCE" || name == "DEST";
  });
}

std::string BashScript(const CLI::App& app) {
  std::string words;
  std::set<std::string> values;
  std::string named;
  EachCommand(app, "modelfs", [&](const CLI::App& command, const std::string& path) {
    std::vector<std::string> all;
    for (const CLI::App* child : Commands(command)) all.push_back(child->get_name());
    for (const OptionWords& option : Options(command)) {
      all.insert(all.end(), option.names.begin(), option.names.end());
      if (!option.value.empty()) values.insert(option.names.begin(), option.names.end());
    }
    words += fmt::format("    {}) words={} ;;\n", ShellWord(path), ShellWord(Joined(all, " ")));
    if (TakesName(command)) named += (named.empty() ? "" : "|") + ShellWord(path);
  });
  // Names from the registry are only data here: they are never in a word list of compgen, which expands it,
  // and never split. The command itself quotes them for the place of insertion.
  return fmt::format(R"bash(# bash completion for modelfs; made by "modelfs completion bash"
_modelfs() {{
  local line=${{COMP_LINE:0:COMP_POINT}} text=$2 previous=$3
  local path=modelfs words= i
  for ((i = 1; i < COMP_CWORD; ++i)); do
    case ${{COMP_WORDS[i]}} in
      {values}) ((++i)); continue ;;
      -*) continue ;;
    esac
    case "$path ${{COMP_WORDS[i]}}" in
{steps}    esac
  done
  COMPREPLY=()
  case $previous in
    {values}) compopt -o default; return ;;
  esac
  case $path in
{words}  esac
  # '=', ':' and '@' break words in bash; commands and options have none of them.
  if [[ ${{line%"$text"}} == *[[:blank:]] ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$text")
  fi
  case $path in
    {named})
      local names
      mapfile -t names < <(modelfs complete-name --bash -- "$line" "$text" 2>/dev/null)
      if [[ ${{#names[@]}} -gt 0 ]]; then
        # A container's contents follow, and a model's alias or version may follow.
        [[ ${{names[0]#/}} != *[@/]* ]] && compopt -o nospace
        COMPREPLY+=("${{names[@]}}")
      fi ;;
  esac
  [[ ${{#COMPREPLY[@]}} -eq 0 ]] && compopt -o default
}}
complete -F _modelfs modelfs
)bash",
                     fmt::arg("values", Joined({values.begin(), values.end()}, "|")),
                     fmt::arg("words", words), fmt::arg("named", named), fmt::arg("steps", [&] {
                       std::string steps;
                       EachCommand(app, "modelfs", [&](const CLI::App&, const std::string& path) {
                         if (path == "modelfs") return;
                         steps += fmt::format("      {}) path={} ;;\n", ShellWord(path), ShellWord(path));
                       });
                       return steps;
                     }()));
}

// "name:help" for _describe, separated by ':'.
std::string Described(const std::string& name, const std::string& help) {
  std::string escaped;
  for (const char c : name) escaped += c == ':' ? std::string("\\:") : std::string(1, c);
  return ShellWord(escaped + ":" + help);
}

std::string ZshScript(const CLI::App& app) {
  std::string words;
  std::string steps;
  std::set<std::string> values;
  std::string named;
  EachCommand(app, "modelfs", [&](const CLI::App& command, const std::string& path) {
    std::vector<std::string> commands;
    std::vector<std::string> options;
    for (const CLI::App* child : Commands(command)) {
      commands.push_back(Described(child->get_name(), child->get_description()));
    }
    for (const OptionWords& option : Options(command)) {
      for (const std::string& name : option.names) options.push_back(Described(name, option.help));
      if (!option.value.empty()) values.insert(option.names.begin(), option.names.end());
    }
    words += fmt::format("    {}) commands=({}); options=({}) ;;\n", ShellWord(path), Joined(commands, " "),
                         Joined(options, " "));
    if (path != "modelfs") steps += fmt::format("      {}) at={} ;;\n", ShellWord(path), ShellWord(path));
    if (TakesName(command)) named += (named.empty() ? "" : "|") + ShellWord(path);
  });
  return fmt::format(R"zsh(#compdef modelfs
# zsh completion for modelfs; made by "modelfs completion zsh"
_modelfs() {{
  local at=modelfs i name
  local -a registry commands options names begun whole
  for ((i = 2; i < CURRENT; ++i)); do
    case ${{words[i]}} in
      -r|--registry) registry=(-r "${{(Q)words[i+1]/#\~\//$HOME/}}"); ((++i)); continue ;;
      {values}) ((++i)); continue ;;
      -*) continue ;;
    esac
    case "$at ${{words[i]}}" in
{steps}    esac
  done
  case ${{words[CURRENT-1]}} in
    {values}) _files; return ;;
  esac
  case $at in
{words}  esac
  if [[ ${{words[CURRENT]}} == -* ]]; then
    _describe option options
    return
  fi
  (( $#commands )) && _describe command commands
  case $at in
    {named})
      # compadd quotes what it inserts.
      names=(${{(f)"$(modelfs "${{registry[@]}}" complete-name -- "${{(Q)PREFIX}}" 2>/dev/null)"}})
      for name in "${{names[@]}}"; do
        # A container's contents follow, a model's alias or version may; a quoted name ends with its quote.
        if [[ ${{name#models:/}} == *[@/]* || ( -n $compstate[quote] && $name != *. ) ]]; then
          whole+=("$name")
        else
          begun+=("$name")
        fi
      done
      compadd -S '' -- "${{begun[@]}}"
      compadd -- "${{whole[@]}}" ;;
  esac
  (( $#commands || $#names )) || _files
}}
_modelfs "$@"
)zsh",
                     fmt::arg("values", Joined({values.begin(), values.end()}, "|")),
                     fmt::arg("words", words), fmt::arg("steps", steps), fmt::arg("named", named));
}

// --- man page ---

std::string Roff(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '\\') {
      out += "\\e";
    } else if (c == '-') {
      out += "\\-";
    } else if ((c == '.' || c == '\'') && (out.empty() || out.back() == '\n')) {
      out += std::string("\\&") + c;
    } else {
      out += c;
    }
  }
  return out;
}

std::string RoffOptions(const CLI::App& app) {
  std::string out;
  for (const CLI::Option* option : Positionals(app)) {
    out += fmt::format(".TP\n.I {}\n{}\n", Roff(ArgumentLabel(*option)), Roff(option->get_description()));
  }
  for (const OptionWords& option : Options(app)) {
    if (option.names.front() == "-h") continue;
    const std::string value = option.value.empty() ? "" : fmt::format(" \\fI{}\\fR", Roff(option.value));
    out += fmt::format(".TP\n\\fB{}\\fR{}\n{}\n", Roff(Joined(option.names, ", ")), value, Roff(option.help));
  }
  return out;
}

std::string ManPage(const CLI::App& app) {
  std::string page = fmt::format(
      R"(.TH MODELFS 1 "" "modelfs {}" "User Commands"
.SH NAME
modelfs \- a model registry that is a file system
.SH SYNOPSIS
.B modelfs
.RI [ OPTIONS ]
.I COMMAND
.RI [ ARGUMENTS ]
.SH DESCRIPTION
Keeps machine\-learning models under three\-level names with versions, aliases, tags and descriptions, and mounts
them as files. A name is written C.S.M, C.S.M/3, C.S.M@Champion, each also with models:/ in front, or as a path under
a mount.
.SH OPTIONS
)",
      Roff(MODELFS_VERSION));
  page += RoffOptions(app);
  page += ".SH COMMANDS\n";
  EachCommand(app, "modelfs", [&](const CLI::App& command, const std::string& path) {
    if (path == "modelfs") return;
    std::string usage = path;
    for (const CLI::Option* option : Positionals(command)) {
      const std::string label = ArgumentLabel(*option);
      usage += option->get_required() ? " " + label : " [" + label + "]";
    }
    page += fmt::format(".SS {}\n{}\n{}", Roff(usage), Roff(command.get_description()), RoffOptions(command));
    std::string example = command.get_footer();  // as AddCommand builds it
    example = example.substr(example.find('\n') + 1);
    example = example.substr(0, example.find("\n\n"));
    page += fmt::format(".PP\nExample:\n.nf\n.RS\n{}\n.RE\n.fi\n",
                        Roff(example.substr(example.find_first_not_of(' '))));
  });
  page += R"(.SH EXIT STATUS
.TP
0
success
.TP
1
internal error
.TP
2
bad usage, or an invalid name
.TP
3
not found
.TP
4
already exists, or lost a race
.TP
5
not permitted
.TP
6
not possible now: not empty, not READY, no signature, a limit reached
.TP
7
unavailable, timed out or cancelled
.TP
8
stored bytes are damaged
.TP
9
no space left
.SH ENVIRONMENT
.TP
MODELFS_REGISTRY
the registry, if \-r is not given
.TP
MODELFS_IDENTITY_MAP
as \-\-identity\-map
.TP
MODELFS_LOCK_WAIT
as \-\-lock\-wait
.TP
MODELFS_LOG_LEVEL, MODELFS_LOG_FILE
as \-\-log\-level and \-\-log\-file
.SH SIGNALS
A running mount completes pending requests and unmounts on SIGTERM, SIGINT and SIGHUP, logs more on SIGUSR1 and less
on SIGUSR2.
)";
  return page;
}

// --- commands ---

struct CompletionArguments {
  std::string shell;
};

Status RunCompletion(const Cli& cli, const CompletionArguments& arguments) {
  Print(arguments.shell == "bash" ? BashScript(*cli.app) : ZshScript(*cli.app));
  return OkStatus();
}

struct NoArguments {};

Status RunMan(const Cli& cli, const NoArguments& /*arguments*/) {
  Print(ManPage(*cli.app));
  return OkStatus();
}

struct CompleteNameArguments {
  std::string typed;
  std::string replaced;
  bool for_bash = false;
};

constexpr std::string_view kModelScheme = "models:/";

// The names that begin with `typed`. Containers end in '.', so that the user can go on typing.
Result<std::vector<std::string>> NamesThatBegin(Session& session, std::string_view typed) {
  std::vector<std::string> names;
  // Names keep "models:/" if it was typed.
  const bool with_scheme = typed.starts_with(kModelScheme);
  const std::string_view begun = with_scheme ? typed.substr(kModelScheme.size()) : typed;
  const auto offer = [&](const std::string& name) {
    if (name.starts_with(begun)) names.push_back(std::string(with_scheme ? kModelScheme : "") + name);
  };
  const size_t mark = begun.find_first_of("/@");
  if (mark != std::string_view::npos) {
    ASSIGN_OR_RETURN(const store::FullName name, store::FullName::Parse(begun.substr(0, mark)));
    ASSIGN_OR_RETURN(const store::ObjectInfo model, session.registry->Lookup(session.caller, name));
    for (const store::AliasInfo& alias : model.aliases) offer(name.ToString() + "@" + alias.name);
    RETURN_IF_ERROR(EachItem(
        [&](const store::PageRequest& page) {
          return session.registry->ListVersions(session.caller, model.id, page);
        },
        [&](const store::VersionInfo& version) { offer(VersionName(version)); }));
    return names;
  }
  store::ObjectId parent = store::kMetastoreId;
  if (const size_t dot = begun.rfind('.'); dot != std::string_view::npos) {
    ASSIGN_OR_RETURN(const store::FullName name, store::FullName::Parse(begun.substr(0, dot)));
    ASSIGN_OR_RETURN(const store::ObjectInfo container, session.registry->Lookup(session.caller, name));
    parent = container.id;
  }
  RETURN_IF_ERROR(EachItem(
      [&](const store::PageRequest& page) { return session.registry->List(session.caller, parent, page); },
      [&](const store::ObjectInfo& child) {
        offer(child.full_name.ToString() + (child.kind == store::ObjectKind::kModel ? "" : "."));
      }));
  return names;
}

// The registry that the typed line names, as the shell would pass it to the command; "" if it names none.
std::string RegistryOf(const std::vector<std::string>& words) {
  constexpr std::string_view kLong = "--registry=";
  for (size_t i = 0; i < words.size(); ++i) {
    std::string home;
    if ((words[i] == "-r" || words[i] == "--registry") && i + 1 < words.size()) home = words[i + 1];
    if (words[i].starts_with(kLong)) home = words[i].substr(kLong.size());
    if (home.empty()) continue;
    const char* own = std::getenv("HOME");
    return home.starts_with("~/") && own != nullptr ? own + home.substr(1) : home;
  }
  return "";
}

// Prints one name per line. For bash, `typed` is the line up to the cursor, and bash may insert the output
// unchanged.
Status RunCompleteName(const Cli& cli, const CompleteNameArguments& arguments) {
  if (!arguments.for_bash) {
    ASSIGN_OR_RETURN(const std::unique_ptr<Session> session, cli.Open());
    ASSIGN_OR_RETURN(const std::vector<std::string> names, NamesThatBegin(*session, arguments.typed));
    for (const std::string& name : names) PrintLine(name);
    return OkStatus();
  }
  const TypedLine line = ReadTypedLine(arguments.typed);
  const std::string registry = RegistryOf(line.words);
  ASSIGN_OR_RETURN(const std::string path, HomePath(registry.empty() ? cli.globals.registry : registry));
  ASSIGN_OR_RETURN(const std::unique_ptr<Session> session, cli.OpenAt(path));
  ASSIGN_OR_RETURN(const std::vector<std::string> names, NamesThatBegin(*session, line.current.value));
  for (const std::string& candidate : BashCandidates(line.current, arguments.replaced, names)) {
    PrintLine(candidate);
  }
  return OkStatus();
}

}  // namespace

void AddCompletionCommands(Cli& cli) {
  {
    auto arguments = std::make_shared<CompletionArguments>();
    CLI::App* command = AddCommand(*cli.app, "completion", "Print the completion script of a shell",
                                   "source <(modelfs completion bash)");
    command->add_option("SHELL", arguments->shell, "bash or zsh")
        ->required()
        ->check(CLI::IsMember({"bash", "zsh"}))
        ->type_name("");
    OnRun(*command, cli, arguments, RunCompletion);
  }
  {
    CLI::App* command = AddCommand(*cli.app, "man-page", "Print the man page", "modelfs man-page");
    command->group("");  // for the build
    OnRun(*command, cli, std::make_shared<NoArguments>(), RunMan);
  }
  {
    auto arguments = std::make_shared<CompleteNameArguments>();
    CLI::App* command = AddCommand(*cli.app, "complete-name", "Print the names with this beginning",
                                   "modelfs complete-name pr");
    command->group("");  // for the completion scripts
    command->add_option("TYPED", arguments->typed, "The typed text: the name, or for bash the line");
    command->add_option("REPLACED", arguments->replaced, "For bash: the end of the line that bash replaces");
    command->add_flag("--bash", arguments->for_bash, "Print text that bash may insert unchanged");
    OnRun(*command, cli, arguments, RunCompleteName);
  }
}

}  // namespace modelfs::tools
