// sql: statements from the command line, a file, standard input, or a prompt.
#include <fmt/core.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "cas/base/text.h"
#include "tools/command.h"
#include "tools/commands/commands.h"
#include "tools/print/output.h"
#include "tools/sql/line_editor.h"
#include "tools/sql/parser.h"
#include "tools/sql/run.h"

namespace modelfs::tools {
namespace {

struct SqlArguments {
  std::vector<std::string> statements;
  std::string file;
  bool json = false;
};

// More than anyone writes by hand: a larger script is a mistake, such as the wrong file.
constexpr size_t kScriptMaxBytes = size_t{64} << 20U;

Result<std::string> ReadScript(std::istream& in, std::string_view name) {
  std::string script;
  std::array<char, 65536> piece{};
  while (in.read(piece.data(), piece.size()) || in.gcount() > 0) {
    script.append(piece.data(), static_cast<size_t>(in.gcount()));
    if (script.size() > kScriptMaxBytes) {
      return Error(Code::kInvalidArgument, fmt::format("{}: more than {} MiB of SQL; split it",
                                                       Printable(name), kScriptMaxBytes >> 20U));
    }
  }
  if (in.bad()) return Error(Code::kInternal, fmt::format("{}: cannot be read", Printable(name)));
  return script;
}

// Reads and parses all statements before any of them runs.
Result<std::vector<ParsedStatement>> ReadStatements(const SqlArguments& arguments) {
  std::vector<ParsedStatement> statements;
  if (arguments.statements.empty()) {
    const bool from_stdin = arguments.file.empty() || arguments.file == "-";
    std::string script;
    if (from_stdin) {
      ASSIGN_OR_RETURN(script, ReadScript(std::cin, "standard input"));
    } else {
      std::ifstream file(arguments.file, std::ios::binary);
      if (!file) return ErrnoError(errno, fmt::format("{}: open", Printable(arguments.file)));
      ASSIGN_OR_RETURN(script, ReadScript(file, arguments.file));
    }
    return ParseSql(script);
  }
  // Each argument is parsed by itself, so that an open quote in one does not swallow the next.
  for (size_t i = 0; i < arguments.statements.size(); ++i) {
    Result<std::vector<ParsedStatement>> some = ParseSql(arguments.statements[i]);
    if (!some.ok() && arguments.statements.size() > 1) {
      return some.error().Wrap(fmt::format("argument {}", i + 1));
    }
    if (!some.ok()) return some;
    for (ParsedStatement& statement : *some) {
      statement.number = statements.size() + 1;
      statements.push_back(std::move(statement));
    }
  }
  return statements;
}

std::string Rendered(const SqlTable& table) {
  Table text(table.columns);
  for (const std::vector<std::string>& row : table.rows) text.Add(row);
  return text.Render();
}

Json StatementJson(const ParsedStatement& statement, const SqlTable& table) {
  Json rows = Json::array();
  for (const std::vector<std::string>& row : table.rows) {
    Json object = Json::object();
    for (size_t i = 0; i < row.size(); ++i) object[table.columns[i]] = row[i];
    rows.push_back(std::move(object));
  }
  return {{"kind", "statement"},
          {"statement", statement.number},
          {"sql", statement.text},
          {"rows", std::move(rows)}};
}

Status RunAll(Session& session, const std::vector<ParsedStatement>& statements, bool as_json) {
  JsonList json;
  Status status = OkStatus();
  bool printed = false;
  for (const ParsedStatement& statement : statements) {
    const Result<SqlTable> table =
        RunSql(*session.registry, *session.governance, session.caller, statement.statement);
    if (!table.ok()) {
      status =
          statements.size() == 1
              ? table.error()
              : table.error().Wrap(fmt::format("statement {}, line {}", statement.number, statement.line));
      break;
    }
    if (as_json) {
      json.Add(StatementJson(statement, *table));
      continue;
    }
    const std::string text = Rendered(*table);
    if (printed && !text.empty()) PrintLine("");
    Print(text);
    printed = printed || !text.empty();
  }
  if (as_json) json.End();
  return status;
}

// --- typed ---

void RunTyped(Session& session, const std::string& typed) {
  const auto complain = [](const Error& error) {
    FlushOutput().IgnoreError("the end of the command reports it");
    std::fputs(fmt::format("modelfs: {}\n", Printable(error.message())).c_str(), stderr);
  };
  const Result<std::vector<ParsedStatement>> statements = ParseSql(typed);
  if (!statements.ok()) return complain(statements.error());
  for (const ParsedStatement& statement : *statements) {
    const Result<SqlTable> table =
        RunSql(*session.registry, *session.governance, session.caller, statement.statement);
    if (!table.ok()) return complain(table.error());
    const std::string text = Rendered(*table);
    Print(!text.empty() ? text : table->columns.empty() ? "OK\n" : "(no rows)\n");
  }
}

bool SaysGoodbye(std::string_view line) {
  const std::string word = FoldCase(line.substr(0, line.find_last_not_of("; ") + 1));
  return word == "exit" || word == "quit";
}

Status RunInteractive(Session& session) {
  PrintLine("Statements end with ; and may span several lines. Ctrl-C discards the typed text, Ctrl-D ends.");
  LineEditor editor(StateFile("sql_history"));
  std::string typed;
  for (;;) {
    RETURN_IF_ERROR(FlushOutput());
    const LineEditor::Line line = editor.Read(typed.empty() ? "modelfs> " : "      -> ");
    if (line.ended == LineEditor::Ended::kEndOfInput) break;
    if (line.ended == LineEditor::Ended::kCancelled) {
      typed.clear();
      continue;
    }
    if (typed.empty() && SaysGoodbye(line.text)) return OkStatus();
    typed += line.text + '\n';
    if (typed.size() <= kSqlStatementMaxBytes && !IsWholeSql(typed)) continue;
    RunTyped(session, typed);
    typed.clear();
  }
  PrintLine("");
  return OkStatus();
}

Status RunSqlCommand(const Cli& cli, const SqlArguments& arguments) {
  const bool typed = arguments.statements.empty() && arguments.file.empty() && ::isatty(STDIN_FILENO) == 1;
  if (typed && arguments.json) {
    return Error(Code::kInvalidArgument,
                 "--json needs statements in the arguments, with -f, or on standard input");
  }
  std::vector<ParsedStatement> statements;
  if (!typed) {
    ASSIGN_OR_RETURN(statements, ReadStatements(arguments));
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<Session> session, cli.Open());
  return typed ? RunInteractive(*session) : RunAll(*session, statements, arguments.json);
}

}  // namespace

void AddSqlCommand(Cli& cli) {
  auto arguments = std::make_shared<SqlArguments>();
  CLI::App* command = AddCommand(
      *cli.app, "sql",
      "Run SQL: CREATE, DROP, GRANT, REVOKE, ALTER, COMMENT ON, SHOW and DESCRIBE. Nothing runs unless all "
      "statements parse; if a statement fails, those before it stay in effect and those after it do not run",
      "modelfs sql 'GRANT USE CATALOG ON CATALOG prod TO `data-science`; SHOW GRANTS ON CATALOG prod'");
  CLI::Option* statement = command->add_option(
      "STATEMENT", arguments->statements,
      "One, or several separated by ; (default: standard input; a prompt, if that is a terminal)");
  command->add_option("-f,--file", arguments->file, "Read them from this file; - is standard input")
      ->type_name("FILE")
      ->excludes(statement);
  command->add_flag("--json", arguments->json, "Print JSON");
  OnRun(*command, cli, arguments, RunSqlCommand);
}

}  // namespace modelfs::tools
