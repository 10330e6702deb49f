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

#include "cas/base/shell_word.h"
#include "cas/base/text.h"
#include "cas/local/export_directory.h"
#include "cas/local/import_directory.h"
#include "cas/tree_store.h"
#include "cas/tree_times.h"
#include "store/publish.h"
#include "tools/command.h"
#include "tools/commands/commands.h"
#include "tools/mounts.h"
#include "tools/print/output.h"
#include "tools/print/progress.h"
#include "tools/records.h"

namespace modelfs::tools {
namespace {

namespace files = std::filesystem;

Status PrintVersion(Session& session, const store::VersionInfo& version, bool as_json) {
  if (!as_json) {
    PrintLine(store::VersionName(version));
    return OkStatus();
  }
  // Read again: with the aliases that it got since.
  ASSIGN_OR_RETURN(const store::VersionInfo now,
                   session.registry->GetVersion(session.caller, version.model, version.number));
  ASSIGN_OR_RETURN(const Json json, VersionRecord(session, now));
  PrintJson(json);
  return OkStatus();
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
Status CheckOutside(const LocalHome& home, const std::string& directory) {
  std::error_code failure;
  const std::string whole = files::canonical(directory, failure).string();
  if (failure || !IsWithin(home.path, whole)) return OkStatus();
  return Error(Code::kInvalidArgument,
               fmt::format("{} holds the registry {} itself", Printable(directory), home.path));
}

store::Parents ParentsOf(bool create) {
  return create ? store::Parents::kCreate : store::Parents::kMustExist;
}

Result<store::StoredTree> StoreDirectory(LocalHome& home, const store::NewTree& tree,
                                         const RegisterArguments& arguments, cas::Epoch epoch) {
  std::optional<store::StoredTree> content;
  std::vector<std::string> leftovers;
  {
    Progress progress("register " + tree.model.ToString(),
                      [&arguments] { return BytesBelow(arguments.directory); });
    ASSIGN_OR_RETURN(
        const cas::ImportedTree imported,
        cas::ImportDirectory(*home.local_blobs, arguments.directory, epoch,
                             [&progress](uint64_t done_bytes) { progress.Update(done_bytes); },
                             {.dereference = arguments.dereference, .exclude = arguments.exclude}));
    ASSIGN_OR_RETURN(const Digest times, cas::PutTreeTimes(*home.blobs, imported.times, epoch));
    content.emplace(imported.digest, times);
    leftovers = cas::Leftovers(imported.tree);
  }
  PrintLeftovers(leftovers, "--exclude leaves such out");
  return *content;
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
  store::NewTree tree{.model = place.name, .parents = ParentsOf(arguments.parents)};
  ASSIGN_OR_RETURN(tree.fields.tags, ParseTags(arguments.tags));
  tree.fields.comment = arguments.description;
  tree.fields.run_id = arguments.run_id;
  tree.fields.source = arguments.source;
  tree.content = Printable(arguments.directory);
  if (const auto* number = std::get_if<store::VersionNumber>(&place.version)) tree.expected = *number;
  ASSIGN_OR_RETURN(const std::unique_ptr<LocalHome> home, cli.OpenLocal({&place}));
  RETURN_IF_ERROR(store::CheckPublishTree(*home->registry, home->caller, tree));

  std::error_code failure;
  const files::path whole = files::canonical(arguments.directory, failure);
  if (failure) return ErrnoError(failure.value(), fmt::format("{}", Printable(arguments.directory)));
  if (!files::is_directory(whole, failure)) {
    return Error(Code::kInvalidArgument,
                 fmt::format("{} is a file; a version is a directory: put the file into one",
                             Printable(arguments.directory)));
  }
  if (tree.fields.source.empty()) tree.fields.source = whole.string();
  RETURN_IF_ERROR(CheckOutside(*home, arguments.directory));

  store::LeasePool leases(*home->leases, home->caller, "register " + place.name.ToString());
  ASSIGN_OR_RETURN(
      const store::VersionInfo version,
      store::PublishTree(*home->registry, *home->blobs, leases, home->caller, tree,
                         [&](cas::Epoch epoch) { return StoreDirectory(*home, tree, arguments, epoch); }));
  for (const std::string& alias : arguments.aliases) {
    const auto set = home->registry->SetAlias(home->caller, version.model, alias, version.number);
    if (!set.ok()) {
      PrintLine(store::VersionName(version));
      return set.error().Wrap(
          fmt::format("{} is registered, but alias {} is not set", store::VersionName(version), alias));
    }
  }
  return PrintVersion(*home, version, arguments.json);
}

// --- cp ---

struct CpArguments {
  std::string source;
  std::string destination;
  bool parents = false;
  bool json = false;
};

Status PrintModelCopy(Session& session, const store::FullName& source, const store::ModelCopy& copy,
                      bool as_json) {
  const std::string name = copy.model.full_name.ToString();
  const auto names = [&](const store::ModelCopy::Version& version) {
    return std::pair(fmt::format("{}/{}", source.ToString(), version.source),
                     fmt::format("{}/{}", name, version.copy));
  };
  if (as_json) {
    ASSIGN_OR_RETURN(Json json, ObjectRecord(session, copy.model));
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

Status CopyModel(Session& session, const Place& from, const Place& to, const CpArguments& arguments) {
  ASSIGN_OR_RETURN(const store::ObjectInfo source, FindObject(session, from));
  ASSIGN_OR_RETURN(const store::ModelCopy copy,
                   store::PublishModelCopy(*session.registry, session.caller, source, to.name,
                                           ParentsOf(arguments.parents)));
  return PrintModelCopy(session, from.name, copy, arguments.json);
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
  ASSIGN_OR_RETURN(const std::unique_ptr<Session> session, cli.Open({&from, &to}));
  if (!from.HasVersion() && from.name.parts.size() == 3) return CopyModel(*session, from, to, arguments);
  ASSIGN_OR_RETURN(const store::VersionInfo source,
                   FindVersion(*session, from, ToAsk(store::Operation::kReadFiles, from)));
  ASSIGN_OR_RETURN(
      const store::VersionInfo copy,
      store::PublishCopy(*session->registry, session->caller, source, to.name, ParentsOf(arguments.parents)));
  return PrintVersion(*session, copy, arguments.json);
}

// --- download ---

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
  ASSIGN_OR_RETURN(const std::unique_ptr<Session> session, cli.Open({&place}));
  ASSIGN_OR_RETURN(const store::VersionInfo version,
                   FindVersion(*session, place, ToAsk(store::Operation::kReadFiles, place)));
  const Status allowed =
      session->governance->CheckAccess(session->caller, store::Operation::kReadFiles, version.model);
  // As a mount does when a file is opened; here it is all of the version's.
  session->journal->RecordAudit(session->caller, store::Operation::kReadFiles, version.model, allowed,
                                {{"version_arg", std::to_string(version.number)}});
  RETURN_IF_ERROR(allowed);
  if (version.status != store::VersionStatus::kReady) {
    return Error(Code::kFailedPrecondition,
                 fmt::format("{} is {}; only a READY version can be downloaded", store::VersionName(version),
                             store::StatusName(version.status)));
  }
  ASSIGN_OR_RETURN(const cas::Tree tree, cas::ReadTree(*session->blobs, version.tree));
  ASSIGN_OR_RETURN(const cas::TreeTimes times, store::ShownTimes(*session->blobs, version));

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
  return cas::ExportTree(*session->blobs, tree, times, target,
                         [&progress](uint64_t done_bytes) { progress.Update(done_bytes); });
}

// --- resolve ---

struct ResolveArguments {
  std::string name;
  bool json = false;
};

Status RunResolve(const Cli& cli, const ResolveArguments& arguments) {
  ASSIGN_OR_RETURN(const Place place, ParsePlace(arguments.name));
  ASSIGN_OR_RETURN(const std::unique_ptr<Session> session, cli.Open({&place}));
  ASSIGN_OR_RETURN(const store::VersionInfo version, FindVersion(*session, place));
  if (version.status != store::VersionStatus::kReady) {
    return Error(Code::kFailedPrecondition, fmt::format("{} is {}, not READY", store::VersionName(version),
                                                        store::StatusName(version.status)));
  }
  const std::vector<MountRecord> mounts = MountsOf(session->path);
  std::string path;
  if (!mounts.empty()) {
    const std::vector<std::string>& parts = version.model_name.parts;
    path = fmt::format("{}/{}/{}/{}/versions/{}", mounts.front().mount_point, parts[0], parts[1], parts[2],
                       version.number);
    if (!place.inside.empty()) path += "/" + place.inside;
  }
  if (arguments.json) {
    ASSIGN_OR_RETURN(Json json, VersionRecord(*session, version));
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
