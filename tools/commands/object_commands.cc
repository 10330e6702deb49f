// ls, show, mkdir, rename, describe, rm, search.
#include <fmt/core.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "cas/base/shell_word.h"
#include "cas/base/text.h"
#include "cas/tree_store.h"
#include "store/publish.h"
#include "tools/command.h"
#include "tools/commands/commands.h"
#include "tools/pages.h"
#include "tools/print/output.h"
#include "tools/print/progress.h"
#include "tools/records.h"
#include "tools/settings.h"

namespace modelfs::tools {
namespace {

std::string AliasList(const store::ObjectInfo& model) {
  std::vector<std::string> aliases;
  for (const store::AliasInfo& alias : model.aliases) {
    aliases.push_back(fmt::format("{}={}", alias.name, alias.version));
  }
  return fmt::format("{}", fmt::join(aliases, " "));
}

std::vector<std::string> ObjectHeader(bool models) {
  if (models) return {"NAME", "LATEST", "ALIASES", "OWNER", "UPDATED"};
  return {"NAME", "OWNER", "UPDATED"};
}

std::vector<std::string> ObjectRow(const store::ObjectInfo& object, bool models) {
  const std::string name = object.full_name.ToString();
  if (!models) return {name, object.owner, LocalTime(object.updated_at_ms)};
  return {name, object.latest_ready == 0 ? "" : std::to_string(object.latest_ready), AliasList(object),
          object.owner, LocalTime(object.updated_at_ms)};
}

std::string AliasNames(const store::VersionInfo& version, std::string_view separator) {
  std::vector<std::string_view> names;
  for (const store::AliasInfo& alias : version.aliases) names.push_back(alias.name);
  return fmt::format("{}", fmt::join(names, separator));
}

// A list's item that was deleted meanwhile is left out.
template <typename T>
Status AddListed(Session& session, const T& item, JsonList& json) {
  const Result<Json> record = ListedRecord(session, item);
  if (record.ok()) json.Add(*record);
  return record.ok() || record.error().code() == Code::kNotFound ? OkStatus() : Status(record.error());
}

// --- ls ---

struct LsArguments {
  std::string name;
  bool json = false;
  bool names_only = false;
};

Status ListObjects(Session& session, const store::ObjectInfo& parent, const LsArguments& arguments) {
  const bool models = parent.kind == store::ObjectKind::kSchema;
  Table table(ObjectHeader(models));
  JsonList json;
  RETURN_IF_ERROR(EachItem(
      [&](const store::PageRequest& page) { return session.registry->List(session.caller, parent.id, page); },
      [&](const store::ObjectInfo& child) {
        if (arguments.json) return AddListed(session, child, json);
        if (arguments.names_only) {
          PrintLine(child.full_name.ToString());
        } else {
          table.Add(ObjectRow(child, models));
        }
        return OkStatus();
      }));
  if (arguments.json) json.End();
  Print(table.Render());
  return OkStatus();
}

Status ListVersions(Session& session, const store::ObjectInfo& model, const LsArguments& arguments) {
  Table table({"VERSION", "STATUS", "SIZE", "FILES", "ALIASES", "CREATED", "BY", "SOURCE"});
  JsonList json;
  RETURN_IF_ERROR(EachItem(
      [&](const store::PageRequest& page) {
        return session.registry->ListVersions(session.caller, model.id, page);
      },
      [&](const store::VersionInfo& version) {
        if (arguments.json) return AddListed(session, version, json);
        if (arguments.names_only) {
          PrintLine(store::VersionName(version));
        } else {
          const bool ready = version.status == store::VersionStatus::kReady;
          table.Add({std::to_string(version.number), std::string(store::StatusName(version.status)),
                     ready ? HumanBytes(version.total_bytes) : "",
                     ready ? std::to_string(version.file_count) : "", AliasNames(version, " "),
                     LocalTime(version.created_at_ms), version.created_by, version.source});
        }
        return OkStatus();
      }));
  if (arguments.json) json.End();
  Print(table.Render());
  return OkStatus();
}

Status ListFiles(Session& session, const Place& place, const LsArguments& arguments) {
  ASSIGN_OR_RETURN(const store::VersionInfo version, FindVersion(session, place));
  if (version.status != store::VersionStatus::kReady) {
    return Error(Code::kFailedPrecondition,
                 fmt::format("{} is {}; only a READY version has files", store::VersionName(version),
                             store::StatusName(version.status)));
  }
  ASSIGN_OR_RETURN(const cas::Tree tree, cas::ReadTree(*session.blobs, version.tree));
  Table table({"SIZE", "PATH"});
  JsonList json;
  bool found = place.inside.empty();
  for (const cas::TreeEntry& entry : tree.entries()) {
    if (!place.inside.empty() && entry.path != place.inside &&
        entry.path.compare(0, place.inside.size() + 1, place.inside + "/") != 0) {
      continue;
    }
    found = true;
    const bool directory = entry.kind == cas::EntryKind::kEmptyDirectory;
    if (arguments.json) {
      json.Add(store::FileJson(entry));
    } else if (arguments.names_only) {
      PrintLine(Printable(entry.path));
    } else {
      table.Add(
          {directory ? "" : HumanBytes(entry.blob.size_bytes), directory ? entry.path + "/" : entry.path});
    }
  }
  if (!found) {
    return Error(Code::kNotFound,
                 fmt::format("{} has no file {}", store::VersionName(version), Printable(place.inside)));
  }
  if (arguments.json) json.End();
  Print(table.Render());
  return OkStatus();
}

Status RunLs(const Cli& cli, const LsArguments& arguments) {
  Place place;
  if (!arguments.name.empty()) {
    ASSIGN_OR_RETURN(place, ParsePlace(arguments.name));
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<Session> session, cli.Open({&place}));
  if (place.HasVersion()) return ListFiles(*session, place, arguments);
  if (place.name.parts.empty()) {
    store::ObjectInfo root;
    root.id = store::kMetastoreId;
    return ListObjects(*session, root, arguments);
  }
  ASSIGN_OR_RETURN(const store::ObjectInfo object, FindObject(*session, place));
  if (object.kind == store::ObjectKind::kModel) return ListVersions(*session, object, arguments);
  return ListObjects(*session, object, arguments);
}

// --- show ---

struct ShowArguments {
  std::string name;
  bool json = false;
};

std::string When(int64_t time_ms, const std::string& principal) {
  return fmt::format("{} by {}", LocalTime(time_ms), principal);
}

Status ShowVersion(Session& session, const Place& place, bool as_json) {
  ASSIGN_OR_RETURN(const store::VersionInfo version, FindVersion(session, place));
  ASSIGN_OR_RETURN(const Tags tags, session.registry->Tags(session.caller, {version.model, version.number}));
  if (as_json) {
    PrintJson(store::VersionJson(version, tags));
    return OkStatus();
  }
  Fields fields;
  fields.Add("version", store::VersionName(version));
  fields.Add("status", store::StatusName(version.status));
  fields.Add("reason", version.status_message);
  fields.Add("aliases", AliasNames(version, " "));
  if (version.status == store::VersionStatus::kReady) {
    fields.Add("size", fmt::format("{} in {} file{}", HumanBytes(version.total_bytes), version.file_count,
                                   version.file_count == 1 ? "" : "s"));
    fields.Add("digest", version.tree.ToString());
    fields.Add("signature",
               version.signature == store::Signature::kPresent ? "inputs and outputs" : "no MLmodel");
  }
  fields.Add("source", version.source);
  fields.Add("run", version.run_id);
  fields.Add("created", When(version.created_at_ms, version.created_by));
  fields.Add("updated", When(version.updated_at_ms, version.updated_by));
  fields.AddTags(tags);
  fields.AddText("description", version.comment);
  return OkStatus();
}

Status ShowObject(Session& session, const Place& place, bool as_json) {
  ASSIGN_OR_RETURN(const store::ObjectInfo object, FindObject(session, place));
  store::ContainerSettings settings;
  std::vector<store::EffectiveSettings> effective;
  if (HasSettings(object)) {
    ASSIGN_OR_RETURN(settings, session.governance->GetSettings(session.caller, object.id));
    ASSIGN_OR_RETURN(effective, session.governance->GetEffectiveSettings(session.caller, object.id));
  }
  if (as_json) {
    ASSIGN_OR_RETURN(Json json, ObjectRecord(session, object));
    if (HasSettings(object)) {
      json["settings"] = store::SettingsJson(settings);
      json["effective_settings"] = store::EffectiveSettingsJson(object.full_name, effective);
    }
    PrintJson(json);
    return OkStatus();
  }
  ASSIGN_OR_RETURN(const Tags tags, session.registry->Tags(session.caller, {object.id, std::nullopt}));
  Fields fields;
  if (object.kind == store::ObjectKind::kMetastore) {
    ASSIGN_OR_RETURN(const store::RegistrySettings registry, session.registry->Settings(session.caller));
    fields.Add("metastore", registry.id);
  }
  fields.Add(store::KindName(object.kind), object.full_name.ToString());
  fields.Add("owner", object.owner);
  if (object.kind == store::ObjectKind::kModel && !object.browse_only) {
    fields.Add("latest", object.latest_ready == 0 ? "none READY" : std::to_string(object.latest_ready));
    for (const store::AliasInfo& alias : object.aliases) {
      fields.Add("alias", fmt::format("{} -> {}", alias.name, alias.version));
    }
  }
  fields.Add("created", When(object.created_at_ms, object.created_by));
  fields.Add("updated", When(object.updated_at_ms, object.updated_by));
  for (const std::string& rule : RuleLines(object, settings, effective)) fields.Add("rule", rule);
  fields.AddTags(tags);
  fields.AddText("description", object.comment);
  return OkStatus();
}

Status RunShow(const Cli& cli, const ShowArguments& arguments) {
  ASSIGN_OR_RETURN(const Place place, ParsePlaceOrMetastore(arguments.name));
  ASSIGN_OR_RETURN(const std::unique_ptr<Session> session, cli.Open({&place}));
  return place.HasVersion() ? ShowVersion(*session, place, arguments.json)
                            : ShowObject(*session, place, arguments.json);
}

// --- mkdir ---

struct MkdirArguments {
  std::string name;
  std::string description;
  bool parents = false;
  bool json = false;
};

Status RunMkdir(const Cli& cli, const MkdirArguments& arguments) {
  ASSIGN_OR_RETURN(const Place place, ParsePlace(arguments.name));
  if (place.HasVersion() || place.name.parts.empty()) {
    return Error(
        Code::kInvalidArgument,
        "mkdir makes a catalog, schema or model: write CATALOG, CATALOG.SCHEMA or CATALOG.SCHEMA.MODEL; "
        "a version is made by \"modelfs register\"");
  }
  RETURN_IF_ERROR(store::CheckDescription(arguments.description));
  ASSIGN_OR_RETURN(const std::unique_ptr<Session> session, cli.Open({&place}));
  ASSIGN_OR_RETURN(
      const store::ObjectInfo made,
      store::MakeObject(*session->registry, session->caller, place.name, arguments.description,
                        arguments.parents ? store::Parents::kCreate : store::Parents::kMustExist));
  if (!arguments.json) return OkStatus();
  ASSIGN_OR_RETURN(const Json json, ObjectRecord(*session, made));
  PrintJson(json);
  return OkStatus();
}

// --- rename ---

struct RenameArguments {
  std::string name;
  std::string new_name;
  bool json = false;
};

Status RunRename(const Cli& cli, const RenameArguments& arguments) {
  ASSIGN_OR_RETURN(const Place place, ParsePlace(arguments.name));
  if (place.HasVersion() || place.name.parts.size() != 3) {
    return Error(Code::kInvalidArgument,
                 fmt::format("{} is not a model; only models can be renamed", Printable(arguments.name)));
  }
  std::string leaf = arguments.new_name;
  Place renamed;
  if (IsPath(leaf) || leaf.find_first_of("./@:") != std::string::npos) {
    ASSIGN_OR_RETURN(renamed, ParsePlace(leaf));
    if (renamed.HasVersion() || renamed.name.parts.size() != 3 ||
        renamed.name.Parent() != place.name.Parent()) {
      return Error(
          Code::kInvalidArgument,
          fmt::format("a model can only be renamed within its schema {}; to have it elsewhere, copy it: {}",
                      place.name.Parent().ToString(),
                      ShellCommand({"modelfs", "cp"}, {place.name.ToString(), leaf})));
    }
    leaf = renamed.name.leaf();
  }
  RETURN_IF_ERROR(store::CheckObjectName(leaf));
  ASSIGN_OR_RETURN(const std::unique_ptr<Session> session, cli.Open({&place, &renamed}));
  ASSIGN_OR_RETURN(
      const store::ObjectInfo model,
      FindObject(*session, place, ToAsk(store::Operation::kRename, place, {{"new_name", leaf}})));
  ASSIGN_OR_RETURN(const store::ObjectInfo now, session->registry->Rename(session->caller, model.id, leaf));
  if (!arguments.json) return OkStatus();
  ASSIGN_OR_RETURN(const Json json, ObjectRecord(*session, now));
  PrintJson(json);
  return OkStatus();
}

// --- describe ---

struct DescribeArguments {
  std::string name;
  std::string text;
};

Status RunDescribe(const Cli& cli, const DescribeArguments& arguments) {
  ASSIGN_OR_RETURN(const Place place, ParsePlace(arguments.name));
  std::string text = arguments.text;
  if (text == "-") {
    text.assign(std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>());
    if (!text.empty() && text.back() == '\n') text.pop_back();
  }
  RETURN_IF_ERROR(store::CheckDescription(text));
  ASSIGN_OR_RETURN(const std::unique_ptr<Session> session, cli.Open({&place}));
  ASSIGN_OR_RETURN(const store::Target target,
                   FindTarget(*session, place, ToAsk(store::Operation::kDescribe, place)));
  return session->registry->SetDescription(session->caller, target, text);
}

// --- rm ---

struct RmArguments {
  std::string name;
  bool yes = false;
};

Status RemoveVersion(Session& session, const Place& place, bool yes) {
  if (std::holds_alternative<std::string>(place.version)) {
    const std::string name = place.name.ToString();
    const std::string& alias = std::get<std::string>(place.version);
    return Error(
        Code::kInvalidArgument,
        fmt::format("{0}@{1} is an alias; to remove the version it points to, give its number: {0}/N; to "
                    "remove the alias: {2}",
                    name, alias, ShellCommand({"modelfs", "alias", "rm"}, {name + "@" + alias})));
  }
  ASSIGN_OR_RETURN(const store::VersionInfo version,
                   FindVersion(session, place, ToAsk(store::Operation::kDelete, place)));
  if (!yes) {
    const std::string aliases =
        version.aliases.empty() ? "" : fmt::format(" and its aliases {}", AliasNames(version, ", "));
    RETURN_IF_ERROR(
        Confirm(fmt::format("{}: delete this version{} for good?", store::VersionName(version), aliases)));
  }
  return session.registry->DeleteVersion(session.caller, version.model, version.number);
}

Status RunRm(const Cli& cli, const RmArguments& arguments) {
  ASSIGN_OR_RETURN(const Place place, ParsePlace(arguments.name));
  if (place.name.parts.empty() || !place.inside.empty()) {
    return Error(Code::kInvalidArgument,
                 fmt::format("{} cannot be removed: rm takes a catalog, schema, model or version",
                             Printable(arguments.name)));
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<Session> session, cli.Open({&place}));
  if (place.HasVersion()) return RemoveVersion(*session, place, arguments.yes);

  ASSIGN_OR_RETURN(const store::ObjectInfo object,
                   FindObject(*session, place, ToAsk(store::Operation::kDelete, place)));
  uint64_t versions = 0;
  if (object.kind == store::ObjectKind::kModel) {
    RETURN_IF_ERROR(EachItem(
        [&](const store::PageRequest& page) {
          return session->registry->ListVersions(session->caller, object.id, page);
        },
        [&versions](const store::VersionInfo&) { ++versions; }));
  }
  if (versions == 0)
    return session->registry->Delete(session->caller, object.id, store::Registry::DeleteMode::kIfEmpty);
  if (!arguments.yes) {
    RETURN_IF_ERROR(Confirm(fmt::format("{}: delete this model and its {} version{} for good?",
                                        object.full_name.ToString(), versions, versions == 1 ? "" : "s")));
  }
  return session->registry->Delete(session->caller, object.id, store::Registry::DeleteMode::kWithVersions);
}

// --- search ---

struct SearchArguments {
  std::string filter;
  bool json = false;
  bool names_only = false;
};

Status RunSearch(const Cli& cli, const SearchArguments& arguments) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Session> session, cli.Open());
  Table table(ObjectHeader(true));
  JsonList json;
  RETURN_IF_ERROR(EachItem(
      [&](const store::PageRequest& page) {
        return session->registry->SearchModels(session->caller, arguments.filter, page);
      },
      [&](const store::ObjectInfo& model) {
        if (arguments.json) return AddListed(*session, model, json);
        if (arguments.names_only) {
          PrintLine(model.full_name.ToString());
        } else {
          table.Add(ObjectRow(model, true));
        }
        return OkStatus();
      }));
  if (arguments.json) json.End();
  Print(table.Render());
  return OkStatus();
}

}  // namespace

void AddObjectCommands(Cli& cli) {
  {
    auto arguments = std::make_shared<LsArguments>();
    CLI::App* command =
        AddCommand(*cli.app, "ls", "List catalogs, or the contents of a catalog, schema, model or version",
                   "modelfs ls prod.ml_team.iris_model");
    command->add_option("NAME", arguments->name, "The object to list (default: the catalogs)");
    command->add_flag("--json", arguments->json, "Print JSON");
    command->add_flag("--names", arguments->names_only, "Print names only, one a line");
    OnRun(*command, cli, arguments, RunLs);
  }
  {
    auto arguments = std::make_shared<ShowArguments>();
    CLI::App* command =
        AddCommand(*cli.app, "show",
                   "Show the properties of a catalog, schema, model or version: owner, rules, aliases, tags",
                   "modelfs show prod.ml_team.iris_model@Champion");
    command->add_option("NAME", arguments->name, "C, C.S, C.S.M, C.S.M/N, C.S.M@ALIAS, or metastore")
        ->required();
    command->add_flag("--json", arguments->json, "Print JSON");
    OnRun(*command, cli, arguments, RunShow);
  }
  {
    auto arguments = std::make_shared<MkdirArguments>();
    CLI::App* command = AddCommand(*cli.app, "mkdir", "Create a catalog, schema or registered model",
                                   "modelfs mkdir -p prod.ml_team.iris_model");
    command->add_option("NAME", arguments->name, "CATALOG, CATALOG.SCHEMA or CATALOG.SCHEMA.MODEL")
        ->required();
    command->add_flag("-p,--parents", arguments->parents,
                      "Also create its missing parents; no error if it exists");
    command->add_option("--description", arguments->description, "Its description")->type_name("TEXT");
    command->add_flag("--json", arguments->json, "Print JSON");
    OnRun(*command, cli, arguments, RunMkdir);
  }
  {
    auto arguments = std::make_shared<RenameArguments>();
    CLI::App* command =
        AddCommand(*cli.app, "rename", "Rename a model within its schema; versions, aliases and tags stay",
                   "modelfs rename prod.ml_team.iris_model iris");
    command->add_option("NAME", arguments->name, "The model: C.S.M")->required();
    command->add_option("NEW", arguments->new_name, "Its new name: M, or C.S.M in the same schema")
        ->required();
    command->add_flag("--json", arguments->json, "Print JSON");
    OnRun(*command, cli, arguments, RunRename);
  }
  {
    auto arguments = std::make_shared<DescribeArguments>();
    CLI::App* command =
        AddCommand(*cli.app, "describe", "Set the description of a catalog, schema, model or version",
                   "modelfs describe prod.ml_team.iris_model/2 'trained on the June data'");
    command->add_option("NAME", arguments->name, "C, C.S, C.S.M or C.S.M/N")->required();
    command->add_option("TEXT", arguments->text, "The description; - reads it from stdin; '' removes it")
        ->required();
    OnRun(*command, cli, arguments, RunDescribe);
  }
  {
    auto arguments = std::make_shared<RmArguments>();
    CLI::App* command = AddCommand(
        *cli.app, "rm", "Delete a version, a model with its versions, or an empty catalog or schema",
        "modelfs rm prod.ml_team.iris_model/1 --yes");
    command->add_option("NAME", arguments->name, "C, C.S, C.S.M or C.S.M/N")->required();
    command->add_flag("-y,--yes", arguments->yes, "Delete versions without asking");
    OnRun(*command, cli, arguments, RunRm);
  }
  {
    auto arguments = std::make_shared<SearchArguments>();
    CLI::App* command =
        AddCommand(*cli.app, "search",
                   "Find models by name, catalog, schema, owner, alias or tag; = != LIKE ILIKE, AND OR ( )",
                   "modelfs search \"tags.task = 'classification' AND catalog = 'prod'\"");
    command->add_option("EXPR", arguments->filter, "The filter")->required();
    command->add_flag("--json", arguments->json, "Print JSON");
    command->add_flag("--names", arguments->names_only, "Print names only, one a line");
    OnRun(*command, cli, arguments, RunSearch);
  }
}

}  // namespace modelfs::tools
