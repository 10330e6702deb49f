// alias and tag: the aliases of models, and the tags of objects and versions.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "cas/base/text.h"
#include "tools/command.h"
#include "tools/commands/commands.h"
#include "tools/print/output.h"

namespace modelfs::tools {
namespace {

// --- alias ---

struct AliasArguments {
  std::string name;
  std::string version;
  bool json = false;
};

// "c.s.m@Champion", which must name an alias.
Result<Place> ParseAlias(const std::string& text) {
  ASSIGN_OR_RETURN(Place place, ParsePlace(text));
  if (!std::holds_alternative<std::string>(place.version) || !place.inside.empty()) {
    return Error(Code::kInvalidArgument,
                 fmt::format("{} is not an alias; write catalog.schema.model@Alias", Printable(text)));
  }
  return place;
}

Result<Place> ParseModel(const std::string& text) {
  ASSIGN_OR_RETURN(Place place, ParsePlace(text));
  if (place.HasVersion() || place.name.parts.size() != 3) {
    return Error(Code::kInvalidArgument,
                 fmt::format("{} is not a model; write catalog.schema.model", Printable(text)));
  }
  return place;
}

Status RunAliasSet(const Cli& cli, const AliasArguments& arguments) {
  ASSIGN_OR_RETURN(const Place place, ParseAlias(arguments.name));
  const std::optional<store::VersionNumber> number = store::ParseVersionNumber(arguments.version);
  if (!number) {
    return Error(Code::kInvalidArgument,
                 fmt::format("version \"{}\" is not a number like 3", Printable(arguments.version)));
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<Session> session, cli.Open({&place}));
  ASSIGN_OR_RETURN(
      const store::ObjectInfo model,
      FindObject(*session, place,
                 ToAsk(store::Operation::kSetAlias, place, {{"version_num", std::to_string(*number)}})));
  RETURN_IF_ERROR(
      session->registry->SetAlias(session->caller, model.id, std::get<std::string>(place.version), *number));
  return OkStatus();
}

Status RunAliasRm(const Cli& cli, const AliasArguments& arguments) {
  ASSIGN_OR_RETURN(const Place place, ParseAlias(arguments.name));
  ASSIGN_OR_RETURN(const std::unique_ptr<Session> session, cli.Open({&place}));
  ASSIGN_OR_RETURN(const store::ObjectInfo model,
                   FindObject(*session, place, ToRemove(ToAsk(store::Operation::kSetAlias, place))));
  return session->registry->DeleteAlias(session->caller, model.id, std::get<std::string>(place.version));
}

Status RunAliasLs(const Cli& cli, const AliasArguments& arguments) {
  ASSIGN_OR_RETURN(const Place place, ParseModel(arguments.name));
  ASSIGN_OR_RETURN(const std::unique_ptr<Session> session, cli.Open({&place}));
  ASSIGN_OR_RETURN(const store::ObjectInfo model, FindObject(*session, place));
  Table table({"ALIAS", "VERSION", "MOVED"});
  JsonList json;
  for (const store::AliasInfo& alias : model.aliases) {
    if (arguments.json) {
      json.Add(store::AliasJson(alias));
    } else {
      table.Add({alias.name, std::to_string(alias.version), LocalTime(alias.updated_at_ms)});
    }
  }
  if (arguments.json) json.End();
  Print(table.Render());
  return OkStatus();
}

// --- tag ---

struct TagArguments {
  std::string name;
  std::string key;
  std::string value;
  bool json = false;
};

struct OpenTarget {
  std::unique_ptr<Session> session;
  store::Target target;
};

enum class TagUse { kSet, kRemove, kList };

Result<OpenTarget> Open(const Cli& cli, const TagArguments& arguments, TagUse use) {
  ASSIGN_OR_RETURN(const Place place, ParsePlace(arguments.name));
  OpenTarget opened;
  ASSIGN_OR_RETURN(opened.session, cli.Open({&place}));
  store::Intent intent;
  if (use != TagUse::kList) {
    intent = ToAsk(store::Operation::kTag, place, {{"key", arguments.key}});
    if (use == TagUse::kSet) intent.params["value"] = arguments.value;
    if (use == TagUse::kRemove) intent = ToRemove(std::move(intent));
  }
  ASSIGN_OR_RETURN(opened.target, FindTarget(*opened.session, place, intent));
  return opened;
}

Status RunTagSet(const Cli& cli, const TagArguments& arguments) {
  RETURN_IF_ERROR(store::CheckTagKey(arguments.key));
  RETURN_IF_ERROR(store::CheckTagValue(arguments.value));
  ASSIGN_OR_RETURN(const OpenTarget at, Open(cli, arguments, TagUse::kSet));
  return at.session->registry->SetTag(at.session->caller, at.target, arguments.key, arguments.value);
}

Status RunTagRm(const Cli& cli, const TagArguments& arguments) {
  ASSIGN_OR_RETURN(const OpenTarget at, Open(cli, arguments, TagUse::kRemove));
  return at.session->registry->DeleteTag(at.session->caller, at.target, arguments.key);
}

Status RunTagLs(const Cli& cli, const TagArguments& arguments) {
  ASSIGN_OR_RETURN(const OpenTarget at, Open(cli, arguments, TagUse::kList));
  ASSIGN_OR_RETURN(const Tags tags, at.session->registry->Tags(at.session->caller, at.target));
  if (arguments.json) {
    PrintJson(store::TagsJson(tags));
    return OkStatus();
  }
  Table table({"KEY", "VALUE"});
  for (const auto& tag : tags) table.Add({tag.first, tag.second});
  Print(table.Render());
  return OkStatus();
}

void AddAliasCommands(Cli& cli) {
  CLI::App* group =
      AddCommand(*cli.app, "alias", "Point an alias of a model at a version, remove it, or list them",
                 "modelfs alias set prod.ml_team.iris_model@Champion 2");
  group->require_subcommand(1);
  auto arguments = std::make_shared<AliasArguments>();

  CLI::App* set = AddCommand(*group, "set", "Set an alias, or move it, in one atomic step",
                             "modelfs alias set prod.ml_team.iris_model@Champion 2");
  set->add_option("NAME", arguments->name, "C.S.M@ALIAS")->required();
  set->add_option("VERSION", arguments->version, "The version's number")->required();
  OnRun(*set, cli, arguments, RunAliasSet);

  CLI::App* rm = AddCommand(*group, "rm", "Remove an alias; the version stays",
                            "modelfs alias rm prod.ml_team.iris_model@Challenger");
  rm->add_option("NAME", arguments->name, "C.S.M@ALIAS")->required();
  OnRun(*rm, cli, arguments, RunAliasRm);

  CLI::App* ls =
      AddCommand(*group, "ls", "List a model's aliases", "modelfs alias ls prod.ml_team.iris_model");
  ls->add_option("NAME", arguments->name, "The model: C.S.M")->required();
  ls->add_flag("--json", arguments->json, "Print JSON");
  OnRun(*ls, cli, arguments, RunAliasLs);
}

void AddTagCommands(Cli& cli) {
  CLI::App* group =
      AddCommand(*cli.app, "tag", "Set, remove or list tags of a catalog, schema, model or version",
                 "modelfs tag set prod.ml_team.iris_model task classification");
  group->require_subcommand(1);
  auto arguments = std::make_shared<TagArguments>();
  constexpr const char* kNameHelp = "C, C.S, C.S.M or C.S.M/N";

  CLI::App* set = AddCommand(*group, "set", "Set a tag, replacing its value",
                             "modelfs tag set prod.ml_team.iris_model/2 accuracy 0.97");
  set->add_option("NAME", arguments->name, kNameHelp)->required();
  set->add_option("KEY", arguments->key, "The tag")->required();
  set->add_option("VALUE", arguments->value, "Its value; may be ''")->required();
  OnRun(*set, cli, arguments, RunTagSet);

  CLI::App* rm =
      AddCommand(*group, "rm", "Remove a tag", "modelfs tag rm prod.ml_team.iris_model/2 accuracy");
  rm->add_option("NAME", arguments->name, kNameHelp)->required();
  rm->add_option("KEY", arguments->key, "The tag")->required();
  OnRun(*rm, cli, arguments, RunTagRm);

  CLI::App* ls = AddCommand(*group, "ls", "List tags", "modelfs tag ls prod.ml_team.iris_model");
  ls->add_option("NAME", arguments->name, kNameHelp)->required();
  ls->add_flag("--json", arguments->json, "Print JSON");
  OnRun(*ls, cli, arguments, RunTagLs);
}

}  // namespace

void AddLabelCommands(Cli& cli) {
  AddAliasCommands(cli);
  AddTagCommands(cli);
}

}  // namespace modelfs::tools
