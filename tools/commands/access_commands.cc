// grant, revoke, grants, owner, set: privileges, owners, and the rules of catalogs and schemas.
#include <fmt/core.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "cas/base/text.h"
#include "tools/command.h"
#include "tools/commands/commands.h"
#include "tools/principals.h"
#include "tools/print/output.h"
#include "tools/records.h"
#include "tools/settings.h"

namespace modelfs::tools {
namespace {

constexpr const char* kNameHelp = "C, C.S or C.S.M, or metastore";

// A place that has grants and an owner.
Result<Place> ParseSecurable(const std::string& text) {
  ASSIGN_OR_RETURN(Place place, ParsePlaceOrMetastore(text));
  if (place.HasVersion()) {
    return Error(Code::kInvalidArgument,
                 fmt::format("{} is a version; only its model {} has privileges and an owner",
                             Printable(text), place.name.ToString()));
  }
  return place;
}

// --- grant, revoke, grants ---

struct GrantArguments {
  std::string privileges;
  std::string name;
  std::string principal;
  store::PrincipalId principal_id = store::kNobodyId;
  bool effective = false;
  bool json = false;
};

// "EXECUTE, use schema": either spelling, in any case.
Result<store::PrivilegeSet> ParsePrivileges(std::string_view text) {
  store::PrivilegeSet privileges;
  for (;;) {
    const size_t comma = text.find(',');
    std::string_view one = text.substr(0, comma);
    while (one.starts_with(' ')) one.remove_prefix(1);
    while (one.ends_with(' ')) one.remove_suffix(1);
    ASSIGN_OR_RETURN(const store::Privilege privilege, store::ParsePrivilege(one));
    privileges.Add(privilege);
    if (comma == std::string_view::npos) return privileges;
    text.remove_prefix(comma + 1);
  }
}

void PrintGrants(const std::vector<store::GrantInfo>& grants, const store::ObjectInfo& on, bool as_json) {
  Table table({"PRINCIPAL", "KIND", "PRIVILEGES", "GRANTED ON"});
  JsonList json;
  for (const store::GrantInfo& grant : grants) {
    if (as_json) {
      json.Add(store::GrantJson(grant, on.kind));
      continue;
    }
    std::vector<std::string_view> privileges;
    for (const store::Privilege each : grant.privileges.ToList())
      privileges.push_back(store::PrivilegeName(each));
    table.Add(
        {grant.principal.empty() ? fmt::format("(deleted, id {})", grant.principal_id) : grant.principal,
         std::string(store::PrincipalKindName(grant.kind)), fmt::format("{}", fmt::join(privileges, ", ")),
         fmt::format("{}{}{}", store::KindName(grant.from_kind), grant.from.parts.empty() ? "" : " ",
                     grant.from.ToString())});
  }
  if (as_json) json.End();
  Print(table.Render());
}

Status ChangeGrants(const Cli& cli, const GrantArguments& arguments, bool add) {
  store::GrantChange change;
  ASSIGN_OR_RETURN(const store::PrivilegeSet privileges, ParsePrivileges(arguments.privileges));
  (add ? change.add : change.remove) = privileges;
  change.principal = arguments.principal;
  change.principal_id = arguments.principal_id;
  ASSIGN_OR_RETURN(const Place place, ParseSecurable(arguments.name));
  ASSIGN_OR_RETURN(const std::unique_ptr<Session> session, cli.Open({&place}));
  ASSIGN_OR_RETURN(const store::ObjectInfo object,
                   FindObject(*session, place, ToAsk(store::Operation::kGrant, place)));
  RETURN_IF_ERROR(session->governance->ChangeGrants(session->caller, object.id, {change}));
  if (!arguments.json) return OkStatus();
  ASSIGN_OR_RETURN(std::vector<store::GrantInfo> now,
                   session->governance->Grants(session->caller, object.id, arguments.principal));
  if (arguments.principal.empty()) {
    std::erase_if(now,
                  [&](const store::GrantInfo& grant) { return grant.principal_id != change.principal_id; });
  }
  PrintGrants(now, object, true);
  return OkStatus();
}

Status RunGrant(const Cli& cli, const GrantArguments& arguments) {
  return ChangeGrants(cli, arguments, true);
}

Status RunRevoke(const Cli& cli, const GrantArguments& arguments) {
  if (arguments.principal.empty() == (arguments.principal_id == store::kNobodyId)) {
    return Error(Code::kInvalidArgument, "revoke needs a PRINCIPAL, or --principal-id for a deleted one");
  }
  return ChangeGrants(cli, arguments, false);
}

Status RunGrants(const Cli& cli, const GrantArguments& arguments) {
  ASSIGN_OR_RETURN(const Place place, ParseSecurable(arguments.name));
  ASSIGN_OR_RETURN(const std::unique_ptr<Session> session, cli.Open({&place}));
  ASSIGN_OR_RETURN(const store::ObjectInfo object,
                   FindObject(*session, place, ToAsk(store::Operation::kShowGrants, place)));
  ASSIGN_OR_RETURN(const std::vector<store::GrantInfo> grants,
                   arguments.effective
                       ? session->governance->EffectiveGrants(session->caller, object.id, arguments.principal)
                       : session->governance->Grants(session->caller, object.id, arguments.principal));
  PrintGrants(grants, object, arguments.json);
  return OkStatus();
}

// --- owner ---

struct OwnerArguments {
  std::string name;
  std::string principal;
  bool json = false;
};

Status RunOwnerSet(const Cli& cli, const OwnerArguments& arguments) {
  ASSIGN_OR_RETURN(const Place place, ParseSecurable(arguments.name));
  ASSIGN_OR_RETURN(const std::unique_ptr<Session> session, cli.Open({&place}));
  ASSIGN_OR_RETURN(const store::ObjectInfo object,
                   FindObject(*session, place,
                              ToAsk(store::Operation::kSetOwner, place, {{"owner", arguments.principal}})));
  Tags tags;
  if (arguments.json) {  // the caller may not be allowed to read them afterwards
    ASSIGN_OR_RETURN(tags, session->registry->Tags(session->caller, {object.id, std::nullopt}));
  }
  ASSIGN_OR_RETURN(const store::ObjectInfo now,
                   session->registry->SetOwner(session->caller, object.id, arguments.principal));
  if (!arguments.json) return OkStatus();
  ASSIGN_OR_RETURN(const Json json, ObjectRecord(*session, now, tags));
  PrintJson(json);
  return OkStatus();
}

// --- set ---

struct SetArguments {
  std::string name;
  std::string key;
  std::string value;
  std::string unset;
  bool json = false;
};

Status RunSet(const Cli& cli, const SetArguments& arguments) {
  if (arguments.unset.empty() == arguments.key.empty()) {
    return Error(Code::kInvalidArgument, "set needs KEY VALUE, or --unset KEY");
  }
  // Finds a wrong key or value before anything is opened.
  const auto apply = [&](store::ContainerSettings& settings) {
    return arguments.unset.empty() ? ApplySetting(arguments.key, arguments.value, settings)
                                   : RemoveSetting(arguments.unset, settings);
  };
  store::ContainerSettings trial;
  RETURN_IF_ERROR(apply(trial));
  ASSIGN_OR_RETURN(const Place place, ParseSecurable(arguments.name));
  ASSIGN_OR_RETURN(const std::unique_ptr<Session> session, cli.Open({&place}));
  ASSIGN_OR_RETURN(const store::ObjectInfo container,
                   FindObject(*session, place, ToAsk(store::Operation::kConfigure, place)));
  ASSIGN_OR_RETURN(const store::ContainerSettings before,
                   session->governance->GetSettings(session->caller, container.id));
  store::ContainerSettings settings = before;
  RETURN_IF_ERROR(apply(settings));
  RETURN_IF_ERROR(session->governance->SetSettings(session->caller, container.id, before, settings));
  if (arguments.json) PrintJson(store::SettingsJson(settings));
  return OkStatus();
}

void AddGrantCommands(Cli& cli) {
  auto arguments = std::make_shared<GrantArguments>();
  const char* kPrivilegeHelp =
      "One, or several separated by commas: EXECUTE,USE_SCHEMA; ALL_PRIVILEGES for all but MANAGE";

  CLI::App* grant = AddCommand(*cli.app, "grant", "Give a user, service principal or group privileges",
                               "modelfs grant APPLY_TAG prod.ml_team.iris_model bob");
  grant->add_option("PRIVILEGE", arguments->privileges, kPrivilegeHelp)->required();
  grant->add_option("NAME", arguments->name, kNameHelp)->required();
  grant->add_option("PRINCIPAL", arguments->principal, "The recipient; \"account users\" is everybody")
      ->required();
  grant->add_flag("--json", arguments->json, "Print the principal's grants there, as JSON");
  OnRun(*grant, cli, arguments, RunGrant);

  CLI::App* revoke = AddCommand(
      *cli.app, "revoke", "Take back privileges granted there; revoke an inherited one where it was granted",
      "modelfs revoke APPLY_TAG prod.ml_team.iris_model bob");
  revoke->add_option("PRIVILEGE", arguments->privileges, kPrivilegeHelp)->required();
  revoke->add_option("NAME", arguments->name, kNameHelp)->required();
  CLI::Option* principal =
      revoke->add_option("PRINCIPAL", arguments->principal, "The principal that loses them");
  revoke
      ->add_option("--principal-id", arguments->principal_id,
                   "A deleted principal instead: its id in \"modelfs grants\"")
      ->type_name("ID")
      ->excludes(principal);
  revoke->add_flag("--json", arguments->json, "Print the principal's remaining grants there, as JSON");
  OnRun(*revoke, cli, arguments, RunRevoke);

  CLI::App* grants = AddCommand(*cli.app, "grants", "List the grants on a catalog, schema or model",
                                "modelfs grants prod.ml_team.iris_model --effective");
  grants->add_option("NAME", arguments->name, kNameHelp)->required();
  grants->add_flag("--effective", arguments->effective,
                   "Include grants inherited from the schema and the catalog");
  grants
      ->add_option("--principal", arguments->principal,
                   "Only grants to this user, service principal or group")
      ->type_name("PRINCIPAL");
  grants->add_flag("--json", arguments->json, "Print JSON");
  OnRun(*grants, cli, arguments, RunGrants);
}

void AddOwnerCommands(Cli& cli) {
  CLI::App* group =
      AddCommand(*cli.app, "owner", "Change the owner of a catalog, schema, model or the metastore",
                 "modelfs owner set prod.ml_team.iris_model ml-admins");
  group->require_subcommand(1);
  auto arguments = std::make_shared<OwnerArguments>();
  CLI::App* set = AddCommand(*group, "set", "Set the owner; if it is a group, every member is an owner",
                             "modelfs owner set metastore admins");
  set->add_option("NAME", arguments->name, kNameHelp)->required();
  set->add_option("PRINCIPAL", arguments->principal, "The new owner, preferably a group")->required();
  set->add_flag("--json", arguments->json, "Print JSON");
  OnRun(*set, cli, arguments, RunOwnerSet);
}

void AddSetCommand(Cli& cli) {
  auto arguments = std::make_shared<SetArguments>();
  CLI::App* command = AddCommand(*cli.app, "set",
                                 "Set a rule of a catalog or schema: signature (required, if-mlmodel), "
                                 "protected-alias.ALIAS (the only group that may move it), max-models, "
                                 "max-versions",
                                 "modelfs set prod protected-alias.Champion release-managers");
  command->add_option("NAME", arguments->name, "C or C.S")->required();
  command->add_option("KEY", arguments->key, "The rule");
  CLI::Option* value = command->add_option("VALUE", arguments->value, "Its value");
  command->add_option("--unset", arguments->unset, "Remove this rule: the one from above applies again")
      ->type_name("KEY")
      ->excludes(value);
  command->add_flag("--json", arguments->json, "Print all rules set there, as JSON");
  OnRun(*command, cli, arguments, RunSet);
}

}  // namespace

void AddAccessCommands(Cli& cli) {
  AddGrantCommands(cli);
  AddOwnerCommands(cli);
  AddSetCommand(cli);
}

}  // namespace modelfs::tools
