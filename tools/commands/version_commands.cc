// register, cp, download, resolve: versions on their way in and out.
#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <system_error>

#include "cas/base/fail_point.h"
#include "cas/base/shell_word.h"
#include "cas/base/text.h"
#include "cas/local/export_directory.h"
#include "cas/local/import_directory.h"
#include "cas/tree_store.h"
#include "cas/tree_times.h"
#include "store/audit/actions.h"
#include "tools/command.h"
#include "tools/commands/commands.h"
#include "tools/lease.h"
#include "tools/mounts.h"
#include "tools/print/output.h"
#include "tools/print/progress.h"
#include "tools/records.h"

namespace modelfs::tools {
namespace {

namespace files = std::filesystem;

Status PrintVersion(Home& home, const store::VersionInfo& version, bool as_json) {
  if (!as_json) {
    PrintLine(store::VersionName(version));
    return OkStatus();
  }
  // Read again: with the aliases that it got since.
  ASSIGN_OR_RETURN(const store::VersionInfo now,
                   home.registry->GetVersion(home.caller, version.model, version.number));
  ASSIGN_OR_RETURN(const Json json, VersionRecord(home, now));
  PrintJson(json);
  return OkStatus();
}

// The model of a name that may not exist yet, and whether it had to be made.
struct Destination {
  store::ObjectInfo model;
  bool made = false;
};

// Of whom a look-up on the way to a new version of the model is refused: the version is what was asked for.
store::Caller ToMakeVersion(const Home& home, const store::FullName& model) {
  store::Caller caller = home.caller;
  caller.intent.emplace();
  caller.intent->action = store::ActionOf(store::Operation::kCreateVersion, store::ObjectKind::kModel);
  caller.intent->full_name = model.ToString();
  return caller;
}

Result<Destination> FindOrMakeModel(Home& home, const store::FullName& name, Parents parents) {
  Result<store::ObjectInfo> found = home.registry->Lookup(ToMakeVersion(home, name), name);
  if (found.ok()) return Destination{std::move(*found), false};
  if (found.error().code() != Code::kNotFound) return std::move(found).error();
  ASSIGN_OR_RETURN(store::ObjectInfo made, MakeObject(home, name, "", parents));
  return Destination{std::move(made), true};
}

// A model that was made for a version which then could not be had would be half of what was asked for.
void TakeBack(Home& home, const Destination& destination) {
  if (!destination.made) return;
  home.registry->Delete(home.caller, destination.model.id, store::Registry::DeleteMode::kIfEmpty)
      .IgnoreError("somebody else has put a version there meanwhile");
}

// The schema of a model to be made must be there before gigabytes are read.
Status CheckSchema(Home& home, const store::FullName& model, Parents parents) {
  if (parents == Parents::kCreate) return OkStatus();
  const Result<store::ObjectInfo> schema = home.registry->Lookup(ToMakeVersion(home, model), model.Parent());
  if (schema.ok()) return OkStatus();
  if (schema.error().code() != Code::kNotFound) return schema.error();
  return Error(
      Code::kNotFound,
      fmt::format("{}: its schema has to be there first: make it with {}, or add --parents; {}",
                  model.ToString(), ShellCommand({"modelfs", "mkdir", "-p"}, {model.Parent().ToString()}),
                  schema.error().message()));
}

// From the model upwards the first that is there: what is below it is to be made, and then one's own.
Result<store::ObjectId> InnermostOf(Home& home, const store::FullName& model, Parents parents) {
  for (store::FullName name = model; !name.parts.empty(); name.parts.pop_back()) {
    const Result<store::ObjectInfo> found = home.registry->Lookup(ToMakeVersion(home, model), name);
    if (found.ok()) return found->id;
    if (found.error().code() != Code::kNotFound) return found.error();
    if (name == model) RETURN_IF_ERROR(CheckSchema(home, model, parents));
  }
  return store::kMetastoreId;
}

// What can be said of the version before gigabytes are read: each change says it again.
Status CheckNewVersion(Home& home, const store::FullName& model, Parents parents,
                       const store::NewVersion& fields, std::optional<store::VersionNumber> expected) {
  ASSIGN_OR_RETURN(const store::ObjectId innermost, InnermostOf(home, model, parents));
  return home.registry->CheckNewVersion(home.caller, innermost, fields, expected);
}

// --- register ---

struct RegisterArguments {
  std::string directory;
  std::string name;
  std::vector<std::string> aliases;
  std::vector<std::string> tags;
  std::string description;
  std::string source;
  std::string run_id;
  std::vector<std::string> exclude;
  bool dereference = false;
  bool parents = false;
  bool json = false;
};

Result<Tags> ParseTags(const std::vector<std::string>& given) {
  Tags tags;
  for (const std::string& pair : given) {
    const size_t at = pair.find('=');
    if (at == std::string::npos) {
      return Error(Code::kInvalidArgument,
                   fmt::format("tag \"{}\" has no value; write --tag KEY=VALUE", Printable(pair)));
    }
    tags[pair.substr(0, at)] = pair.substr(at + 1);
  }
  return tags;
}

// A registry in the directory that is registered would take in itself.
Status CheckOutside(const Home& home, const std::string& directory) {
  std::error_code failure;
  const std::string whole = files::canonical(directory, failure).string();
  if (failure || !IsWithin(home.path, whole)) return OkStatus();
  return Error(Code::kInvalidArgument,
               fmt::format("{} holds the registry {} itself", Printable(directory), home.path));
}

Result<store::VersionInfo> Ingest(Home& home, const Place& place, const RegisterArguments& arguments,
                                  const store::NewVersion& fields,
                                  std::optional<store::VersionNumber> expected) {
  const Parents parents = arguments.parents ? Parents::kCreate : Parents::kMustExist;
  ASSIGN_OR_RETURN(const std::unique_ptr<HeldLease> lease,
                   HeldLease::Acquire(*home.registry, home.caller, "register " + place.name.ToString()));
  FAIL_POINT("register.leased");
  std::optional<store::StoredTree> content;
  std::vector<std::string> leftovers;
  {
    Progress progress("register " + place.name.ToString(),
                      [&arguments] { return BytesBelow(arguments.directory); });
    ASSIGN_OR_RETURN(
        const cas::ImportedTree ingested,
        cas::ImportDirectory(*home.blobs, arguments.directory, lease->lease().epoch,
                             [&progress](uint64_t done_bytes) { progress.Update(done_bytes); },
                             {.dereference = arguments.dereference, .exclude = arguments.exclude}));
    ASSIGN_OR_RETURN(const Digest times,
                     cas::PutTreeTimes(*home.blobs, ingested.times, lease->lease().epoch));
    content.emplace(ingested.digest, times);
    leftovers = cas::Leftovers(ingested.tree);
  }
  PrintLeftovers(leftovers, "--exclude leaves such out");
  FAIL_POINT("register.stored");
  ASSIGN_OR_RETURN(const Destination destination, FindOrMakeModel(home, place.name, parents));
  FAIL_POINT("register.model_made");
  Result<store::VersionInfo> version = home.registry->CommitVersion(
      home.caller, destination.model.id, *content, lease->lease(), fields, expected);
  if (version.ok()) return version;
  TakeBack(home, destination);
  // What is wrong then is wrong with the directory's content.
  if (version.error().code() == Code::kFailedPrecondition)
    return version.error().Wrap(Printable(arguments.directory));
  return version;
}

Status RunRegister(const Cli& cli, const RegisterArguments& arguments) {
  ASSIGN_OR_RETURN(const Place place, ParsePlace(arguments.name));
  const bool alias_or_latest =
      place.HasVersion() && !std::holds_alternative<store::VersionNumber>(place.version);
  if (place.name.parts.size() != 3 || alias_or_latest || !place.inside.empty()) {
    return Error(Code::kInvalidArgument,
                 fmt::format("{} is no model; write catalog.schema.model (and an alias with --alias)",
                             Printable(arguments.name)));
  }
  for (const std::string& alias : arguments.aliases) RETURN_IF_ERROR(store::CheckAliasName(alias));
  store::NewVersion fields;
  ASSIGN_OR_RETURN(fields.tags, ParseTags(arguments.tags));
  fields.comment = arguments.description;
  fields.run_id = arguments.run_id;
  fields.source = arguments.source;
  std::optional<store::VersionNumber> expected;
  if (const auto* number = std::get_if<store::VersionNumber>(&place.version)) expected = *number;
  ASSIGN_OR_RETURN(const std::unique_ptr<Home> home, cli.Open({&place}));
  RETURN_IF_ERROR(CheckNewVersion(
      *home, place.name, arguments.parents ? Parents::kCreate : Parents::kMustExist, fields, expected));

  std::error_code failure;
  const files::path whole = files::canonical(arguments.directory, failure);
  if (failure) return ErrnoError(failure.value(), fmt::format("{}", Printable(arguments.directory)));
  if (!files::is_directory(whole, failure)) {
    return Error(Code::kInvalidArgument,
                 fmt::format("{} is a file; a version is a directory: put the file into one",
                             Printable(arguments.directory)));
  }
  if (fields.source.empty()) fields.source = whole.string();
  RETURN_IF_ERROR(CheckOutside(*home, arguments.directory));

  Result<store::VersionInfo> version = Ingest(*home, place, arguments, fields, expected);
  if (!version.ok() && version.error().code() == Code::kAborted) {
    // The lease ended on the way (the machine slept, say), or a file changed under us: once more.
    version = Ingest(*home, place, arguments, fields, expected);
  }
  if (!version.ok()) return std::move(version).error();
  for (const std::string& alias : arguments.aliases) {
    const auto set = home->registry->SetAlias(home->caller, version->model, alias, version->number);
    if (!set.ok()) {
      PrintLine(store::VersionName(*version));
      return set.error().Wrap(
          fmt::format("{} is registered, but alias {} is not set", store::VersionName(*version), alias));
    }
  }
  return PrintVersion(*home, *version, arguments.json);
}

// --- cp ---

struct CpArguments {
  std::string source;
  std::string destination;
  bool parents = false;
  bool json = false;
};

Status PrintModelCopy(Home& home, const store::FullName& source, const store::ModelCopy& copy, bool as_json) {
  const std::string name = copy.model.full_name.ToString();
  const auto names = [&](const store::ModelCopy::Version& version) {
    return std::pair(fmt::format("{}/{}", source.ToString(), version.source),
                     fmt::format("{}/{}", name, version.copy));
  };
  if (as_json) {
    ASSIGN_OR_RETURN(Json json, ObjectRecord(home, copy.model));
    json["made"] = copy.made;
    json["copied"] = Json::array();
    for (const store::ModelCopy::Version& version : copy.versions) {
      json["copied"].push_back({{"source_version", version.source}, {"version", version.copy}});
    }
    PrintJson(json);
    return OkStatus();
  }
  if (!copy.made && copy.versions.empty()) {
    PrintLine(fmt::format("{} has a copy of every READY version of {} already; nothing was copied", name,
                          source.ToString()));
    return OkStatus();
  }
  PrintLine(copy.made
                ? fmt::format("{}: a copy of {}, with its version numbers, aliases, tags and description",
                              name, source.ToString())
                : fmt::format("{} was there: the versions have its next numbers; its aliases, tags and "
                              "description are as they were",
                              name));
  Table table({"VERSION", "COPY OF"});
  for (const store::ModelCopy::Version& version : copy.versions) {
    const auto [from, to] = names(version);
    table.Add({to, from});
  }
  Print(table.Render());
  return OkStatus();
}

Status CopyModel(Home& home, const Place& from, const Place& to, const CpArguments& arguments) {
  const Parents parents = arguments.parents ? Parents::kCreate : Parents::kMustExist;
  ASSIGN_OR_RETURN(const store::ObjectInfo source, FindObject(home, from));
  ASSIGN_OR_RETURN(const store::ObjectId innermost, InnermostOf(home, to.name, parents));
  for (const std::string& part : to.name.parts) RETURN_IF_ERROR(store::CheckObjectName(part));
  RETURN_IF_ERROR(home.registry->CheckModelCopy(home.caller, source.id, innermost));
  const store::FullName schema_name = to.name.Parent();
  store::ObjectInfo schema;
  if (parents == Parents::kCreate) {
    ASSIGN_OR_RETURN(schema, MakeObject(home, schema_name, "", parents));
  } else {
    ASSIGN_OR_RETURN(schema, home.registry->Lookup(home.caller, schema_name));
  }
  ASSIGN_OR_RETURN(const store::ModelCopy copy,
                   home.registry->CopyModel(home.caller, source.id, schema.id, to.name.leaf()));
  return PrintModelCopy(home, from.name, copy, arguments.json);
}

Status RunCp(const Cli& cli, const CpArguments& arguments) {
  ASSIGN_OR_RETURN(const Place from, ParsePlace(arguments.source));
  ASSIGN_OR_RETURN(const Place to, ParsePlace(arguments.destination));
  if (to.HasVersion() || to.name.parts.size() != 3) {
    return Error(Code::kInvalidArgument,
                 fmt::format("{} is no model; a copy of a version becomes the next of a model, and a copy of "
                             "a model a model: write catalog.schema.model",
                             Printable(arguments.destination)));
  }
  if (!from.inside.empty()) {
    return Error(Code::kInvalidArgument, fmt::format("{} is a file in a version; cp copies whole versions",
                                                     Printable(arguments.source)));
  }
  const Parents parents = arguments.parents ? Parents::kCreate : Parents::kMustExist;
  ASSIGN_OR_RETURN(const std::unique_ptr<Home> home, cli.Open({&from, &to}));
  if (!from.HasVersion() && from.name.parts.size() == 3) return CopyModel(*home, from, to, arguments);
  ASSIGN_OR_RETURN(const store::VersionInfo source,
                   FindVersion(*home, from, ToAsk(store::Operation::kReadFiles, from)));
  RETURN_IF_ERROR(CheckSchema(*home, to.name, parents));
  ASSIGN_OR_RETURN(const Destination destination, FindOrMakeModel(*home, to.name, parents));
  Result<store::VersionInfo> copy =
      home->registry->CopyVersion(home->caller, source.model, source.number, destination.model.id);
  if (!copy.ok()) {
    TakeBack(*home, destination);
    return std::move(copy).error();
  }
  return PrintVersion(*home, *copy, arguments.json);
}

// --- download ---

// What a READY version's files show.
Result<cas::TreeTimes> TimesOf(Home& home, const store::VersionInfo& version, const cas::Tree& tree) {
  if (version.times) return cas::ReadTreeTimes(*home.blobs, *version.times, tree.file_count());
  const cas::FileTime commit = cas::FileTimeOfMs(version.committed_at_ms);
  return cas::TreeTimes::Make(std::vector<cas::FileTime>(tree.file_count(), commit));
}

struct DownloadArguments {
  std::string name;
  std::string directory;
};

Status RunDownload(const Cli& cli, const DownloadArguments& arguments) {
  ASSIGN_OR_RETURN(const Place place, ParsePlace(arguments.name));
  if (!place.inside.empty()) {
    return Error(
        Code::kInvalidArgument,
        fmt::format("{} is a file in a version; download takes whole versions", Printable(arguments.name)));
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<Home> home, cli.Open({&place}));
  ASSIGN_OR_RETURN(const store::VersionInfo version,
                   FindVersion(*home, place, ToAsk(store::Operation::kReadFiles, place)));
  const Status allowed =
      home->registry->CheckAccess(home->caller, store::Operation::kReadFiles, version.model);
  // As a mount does when a file is opened; here it is all of the version's.
  home->registry->RecordAudit(home->caller, store::Operation::kReadFiles, version.model, allowed,
                              {{"version_arg", std::to_string(version.number)}});
  RETURN_IF_ERROR(allowed);
  if (version.status != store::VersionStatus::kReady) {
    return Error(Code::kFailedPrecondition,
                 fmt::format("{} is {}; only a READY version can be downloaded", store::VersionName(version),
                             store::StatusName(version.status)));
  }
  ASSIGN_OR_RETURN(const cas::Tree tree, cas::ReadTree(*home->blobs, version.tree));
  ASSIGN_OR_RETURN(const cas::TreeTimes times, TimesOf(*home, version, tree));

  std::string target = files::path(arguments.directory).lexically_normal().string();
  while (target.size() > 1 && target.back() == '/') target.pop_back();
  if (const Result<MountedPath> mounted = FindMount(target); mounted.ok() && !IsInDraft(mounted->below)) {
    return Error(
        Code::kInvalidArgument,
        fmt::format("{} is in a mount of a registry, where files belong into a draft: download to "
                    "MODEL/versions/DRAFT there, or to a directory elsewhere; to make it a version of "
                    "another model: {}",
                    Printable(target),
                    ShellCommand({"modelfs", "cp"}, {store::VersionName(version), "C.S.M"})));
  }
  Progress progress("download " + store::VersionName(version), [&version] { return version.total_bytes; });
  return cas::ExportTree(*home->blobs, tree, times, target,
                         [&progress](uint64_t done_bytes) { progress.Update(done_bytes); });
}

// --- resolve ---

struct ResolveArguments {
  std::string name;
  bool json = false;
};

Status RunResolve(const Cli& cli, const ResolveArguments& arguments) {
  ASSIGN_OR_RETURN(const Place place, ParsePlace(arguments.name));
  ASSIGN_OR_RETURN(const std::unique_ptr<Home> home, cli.Open({&place}));
  ASSIGN_OR_RETURN(const store::VersionInfo version, FindVersion(*home, place));
  if (version.status != store::VersionStatus::kReady) {
    return Error(Code::kFailedPrecondition, fmt::format("{} is {}, not READY", store::VersionName(version),
                                                        store::StatusName(version.status)));
  }
  const std::vector<MountRecord> mounts = MountsOf(home->path);
  std::string path;
  if (!mounts.empty()) {
    const std::vector<std::string>& parts = version.model_name.parts;
    path = fmt::format("{}/{}/{}/{}/versions/{}", mounts.front().mount_point, parts[0], parts[1], parts[2],
                       version.number);
    if (!place.inside.empty()) path += "/" + place.inside;
  }
  if (arguments.json) {
    ASSIGN_OR_RETURN(Json json, VersionRecord(*home, version));
    json["path"] = path.empty() ? Json(nullptr) : Json(path);
    PrintJson(json);
  } else {
    PrintLine(path.empty() ? store::VersionName(version) : path);
  }
  return OkStatus();
}

}  // namespace

void AddVersionCommands(Cli& cli) {
  {
    auto arguments = std::make_shared<RegisterArguments>();
    CLI::App* command = AddCommand(
        *cli.app, "register",
        "Store a directory as the next version of a model, which is created if it does not exist; prints the "
        "version's name",
        "modelfs register ./iris prod.ml_team.iris_model --alias Challenger --tag task=classification");
    command->add_option("DIR", arguments->directory, "The model's directory")->required();
    command->add_option("NAME", arguments->name, "The model: C.S.M; C.S.M/N insists on the number")
        ->required();
    command->add_option("--alias", arguments->aliases, "Point this alias at it; may be repeated")
        ->type_name("ALIAS")
        ->allow_extra_args(false);
    command->add_option("--tag", arguments->tags, "Tag the version; may be repeated")
        ->type_name("KEY=VALUE")
        ->allow_extra_args(false);
    command->add_option("--description", arguments->description, "Describe the version")->type_name("TEXT");
    command->add_option("--source", arguments->source, "Where it came from (default: the directory's path)")
        ->type_name("URI");
    command->add_option("--run-id", arguments->run_id, "The run that made it")->type_name("ID");
    command
        ->add_option("--exclude", arguments->exclude,
                     "Leave out what has such a name or, with a slash, such a path; may be repeated")
        ->type_name("GLOB")
        ->allow_extra_args(false);
    command->add_flag("--dereference", arguments->dereference,
                      "Follow symlinks that lead out of DIR too, to what their owner may read");
    command->add_flag("-p,--parents", arguments->parents, "Create the catalog and schema too");
    command->add_flag("--json", arguments->json, "Print JSON");
    OnRun(*command, cli, arguments, RunRegister);
  }
  {
    auto arguments = std::make_shared<CpArguments>();
    CLI::App* command = AddCommand(
        *cli.app, "cp", "Copy a version to be the next of another model, or a whole model; no byte is copied",
        "modelfs cp staging.ml_team.iris_model@Champion prod.ml_team.iris_model\n"
        "modelfs cp prod.ml_team.iris_model archive.ml_team.iris_model");
    command
        ->add_option(
            "SOURCE", arguments->source,
            "C.S.M/N or C.S.M@ALIAS; C.S.M: every READY version, under its number where DEST is new, "
            "with aliases, tags and description then; else under the next numbers")
        ->required();
    command->add_option("DEST", arguments->destination, "The model: C.S.M; created if it does not exist")
        ->required();
    command->add_flag("-p,--parents", arguments->parents, "Create the catalog and schema too");
    command->add_flag("--json", arguments->json, "Print JSON");
    OnRun(*command, cli, arguments, RunCp);
  }
  {
    auto arguments = std::make_shared<DownloadArguments>();
    CLI::App* command =
        AddCommand(*cli.app, "download", "Write a version's files into a new or empty directory",
                   "modelfs download prod.ml_team.iris_model@Champion ./iris");
    command->add_option("NAME", arguments->name, "C.S.M/N or C.S.M@ALIAS")->required();
    command->add_option("DIR", arguments->directory, "Where to")->required();
    OnRun(*command, cli, arguments, RunDownload);
  }
  {
    auto arguments = std::make_shared<ResolveArguments>();
    CLI::App* command = AddCommand(*cli.app, "resolve",
                                   "Print the path that an alias stands for now and that never changes, or "
                                   "C.S.M/N where nothing is mounted",
                                   "modelfs resolve prod.ml_team.iris_model@Champion");
    command->add_option("NAME", arguments->name, "C.S.M@ALIAS or C.S.M/N")->required();
    command->add_flag("--json", arguments->json, "Print JSON");
    OnRun(*command, cli, arguments, RunResolve);
  }
}

}  // namespace modelfs::tools
