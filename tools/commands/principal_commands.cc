// principal and group: users, service principals, groups and their members.
#include <fmt/core.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "tools/command.h"
#include "tools/commands/commands.h"
#include "tools/pages.h"
#include "tools/principals.h"
#include "tools/print/output.h"

namespace modelfs::tools {
namespace {

struct PrincipalArguments {
  std::string name;
  std::string member;
  bool service = false;
  bool json = false;
};

std::vector<std::string> PrincipalRow(const store::PrincipalInfo& principal) {
  return {principal.name, std::string(store::PrincipalKindName(principal.kind)),
          std::string(store::SourceField(principal.source)), LocalTime(principal.created_at_ms)};
}

void PrintPrincipals(const std::vector<store::PrincipalInfo>& principals, bool as_json) {
  Table table({"NAME", "KIND", "SOURCE", "CREATED"});
  JsonList json;
  for (const store::PrincipalInfo& principal : principals) {
    if (as_json) {
      json.Add(store::PrincipalJson(principal));
    } else {
      table.Add(PrincipalRow(principal));
    }
  }
  if (as_json) json.End();
  Print(table.Render());
}

Status ListPrincipals(const Cli& cli, bool groups_only, bool as_json) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Session> session, cli.Open());
  std::vector<store::PrincipalInfo> principals;
  RETURN_IF_ERROR(EachItem(
      [&](const store::PageRequest& page) {
        return session->governance->ListPrincipals(session->caller, page);
      },
      [&](const store::PrincipalInfo& principal) {
        if (!groups_only || principal.kind == store::PrincipalKind::kGroup) principals.push_back(principal);
      }));
  PrintPrincipals(principals, as_json);
  return OkStatus();
}

Status Make(const Cli& cli, store::PrincipalKind kind, const PrincipalArguments& arguments) {
  RETURN_IF_ERROR(store::CheckPrincipalName(arguments.name));
  ASSIGN_OR_RETURN(const std::unique_ptr<Session> session, cli.Open());
  ASSIGN_OR_RETURN(const store::PrincipalInfo made,
                   session->governance->CreatePrincipal(session->caller, kind, arguments.name));
  if (arguments.json) PrintJson(store::PrincipalJson(made));
  return OkStatus();
}

// --- principal ---

Status RunPrincipalCreate(const Cli& cli, const PrincipalArguments& arguments) {
  return Make(cli, arguments.service ? store::PrincipalKind::kServicePrincipal : store::PrincipalKind::kUser,
              arguments);
}

Status RunPrincipalRm(const Cli& cli, const PrincipalArguments& arguments) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Session> session, cli.Open());
  return RemovePrincipal(*session->governance, session->caller, arguments.name, Removed::kNoGroup);
}

Status RunPrincipalLs(const Cli& cli, const PrincipalArguments& arguments) {
  return ListPrincipals(cli, false, arguments.json);
}

Status RunPrincipalShow(const Cli& cli, const PrincipalArguments& arguments) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Session> session, cli.Open());
  ASSIGN_OR_RETURN(const store::PrincipalInfo principal,
                   session->governance->FindPrincipal(session->caller, arguments.name));
  ASSIGN_OR_RETURN(const std::vector<store::PrincipalInfo> groups,
                   session->governance->GroupsOf(session->caller, arguments.name));
  std::vector<std::string> names;
  for (const store::PrincipalInfo& group : groups) names.push_back(group.name);
  if (arguments.json) {
    Json json = store::PrincipalJson(principal);
    json["groups"] = names;
    PrintJson(json);
    return OkStatus();
  }
  Fields fields;
  fields.Add("principal", principal.name);
  fields.Add("kind", store::PrincipalKindName(principal.kind));
  fields.Add("source", store::SourceField(principal.source));
  fields.Add("id", std::to_string(principal.id));
  for (const std::string& name : names) fields.Add("group", name);
  fields.Add("created", fmt::format("{}{}{}", LocalTime(principal.created_at_ms),
                                    principal.created_by.empty() ? "" : " by ", principal.created_by));
  return OkStatus();
}

// --- group ---

Status RunGroupCreate(const Cli& cli, const PrincipalArguments& arguments) {
  return Make(cli, store::PrincipalKind::kGroup, arguments);
}

Status RunGroupRm(const Cli& cli, const PrincipalArguments& arguments) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Session> session, cli.Open());
  return RemovePrincipal(*session->governance, session->caller, arguments.name, Removed::kGroup);
}

Status RunGroupLs(const Cli& cli, const PrincipalArguments& arguments) {
  return ListPrincipals(cli, true, arguments.json);
}

Status RunGroupAdd(const Cli& cli, const PrincipalArguments& arguments) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Session> session, cli.Open());
  return session->governance->AddMember(session->caller, arguments.name, arguments.member);
}

Status RunGroupRemove(const Cli& cli, const PrincipalArguments& arguments) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Session> session, cli.Open());
  return session->governance->RemoveMember(session->caller, arguments.name, arguments.member);
}

Status RunGroupMembers(const Cli& cli, const PrincipalArguments& arguments) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Session> session, cli.Open());
  ASSIGN_OR_RETURN(const std::vector<store::PrincipalInfo> members,
                   session->governance->Members(session->caller, arguments.name));
  PrintPrincipals(members, arguments.json);
  return OkStatus();
}

void AddPrincipalCommand(Cli& cli) {
  CLI::App* group =
      AddCommand(*cli.app, "principal", "Make, remove, list or show users and service principals",
                 "modelfs principal create nightly-training --service");
  group->require_subcommand(1);
  auto arguments = std::make_shared<PrincipalArguments>();

  CLI::App* create =
      AddCommand(*group, "create", "Make a user, or a service principal; the host's users need not be made",
                 "modelfs principal create nightly-training --service");
  create->add_option("PRINCIPAL", arguments->name, "Its name, such as an e-mail address")->required();
  create->add_flag("--service", arguments->service, "A service principal: a program's identity");
  create->add_flag("--json", arguments->json, "Print JSON");
  OnRun(*create, cli, arguments, RunPrincipalCreate);

  CLI::App* rm = AddCommand(
      *group, "rm", "Remove a principal and its grants; a later one of the same name inherits nothing",
      "modelfs principal rm nightly-training");
  rm->add_option("PRINCIPAL", arguments->name, "Its name")->required();
  OnRun(*rm, cli, arguments, RunPrincipalRm);

  CLI::App* ls =
      AddCommand(*group, "ls", "List users, service principals and groups", "modelfs principal ls");
  ls->add_flag("--json", arguments->json, "Print JSON");
  OnRun(*ls, cli, arguments, RunPrincipalLs);

  CLI::App* show = AddCommand(*group, "show", "Show a principal and its groups",
                              "modelfs principal show nightly-training");
  show->add_option("PRINCIPAL", arguments->name, "Its name")->required();
  show->add_flag("--json", arguments->json, "Print JSON");
  OnRun(*show, cli, arguments, RunPrincipalShow);
}

void AddGroupCommand(Cli& cli) {
  CLI::App* group = AddCommand(*cli.app, "group", "Make or remove groups, and list or change their members",
                               "modelfs group add ml-admins ann");
  group->require_subcommand(1);
  auto arguments = std::make_shared<PrincipalArguments>();
  const auto add_group = [&arguments](CLI::App& command) {
    command.add_option("GROUP", arguments->name, "The group's name")->required();
  };
  const auto add_member = [&arguments](CLI::App& command) {
    command.add_option("MEMBER", arguments->member, "A user, service principal or group")->required();
  };
  const auto add_json = [&arguments](CLI::App& command) {
    command.add_flag("--json", arguments->json, "Print JSON");
  };

  CLI::App* create = AddCommand(*group, "create", "Make a group; the host's groups need not be made",
                                "modelfs group create ml-admins");
  add_group(*create);
  add_json(*create);
  OnRun(*create, cli, arguments, RunGroupCreate);

  CLI::App* rm = AddCommand(*group, "rm", "Remove a group, with its grants; its members stay",
                            "modelfs group rm ml-admins");
  add_group(*rm);
  OnRun(*rm, cli, arguments, RunGroupRm);

  CLI::App* ls = AddCommand(*group, "ls", "List groups", "modelfs group ls");
  add_json(*ls);
  OnRun(*ls, cli, arguments, RunGroupLs);

  CLI::App* add = AddCommand(*group, "add", "Add a member; a group adds all its own members",
                             "modelfs group add ml-admins ann");
  add_group(*add);
  add_member(*add);
  OnRun(*add, cli, arguments, RunGroupAdd);

  CLI::App* remove = AddCommand(*group, "remove", "Remove a member", "modelfs group remove ml-admins ann");
  add_group(*remove);
  add_member(*remove);
  OnRun(*remove, cli, arguments, RunGroupRemove);

  CLI::App* members =
      AddCommand(*group, "members", "List the direct members of a group", "modelfs group members ml-admins");
  add_group(*members);
  add_json(*members);
  OnRun(*members, cli, arguments, RunGroupMembers);
}

}  // namespace

void AddPrincipalCommands(Cli& cli) {
  AddPrincipalCommand(cli);
  AddGroupCommand(cli);
}

}  // namespace modelfs::tools
