// init, gc, fsck: create a registry, free its unused space, check it.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <nlohmann/json.hpp>
#include <string_view>
#include <unordered_set>

#include "cas/base/text.h"
#include "store/kv/lmdb_kv.h"
#include "store/publish.h"
#include "tools/command.h"
#include "tools/commands/commands.h"
#include "tools/gc.h"
#include "tools/print/output.h"
#include "tools/print/progress.h"

namespace modelfs::tools {
namespace {

// --- init ---

struct InitArguments {
  std::string home;
  std::string signature = "if-mlmodel";
  bool take_over = false;
};

// The user that owns the files of a home controls everything in it, and no other user can open it. Taking
// over by a command leaves a record.
Status TakeOverHome(const Cli& cli, const std::string& path) {
  ASSIGN_OR_RETURN(const std::unique_ptr<LocalHome> home, cli.OpenLocalAt(path));
  ASSIGN_OR_RETURN(const std::string before, home->embedded->TakeOver(home->caller));
  PrintLine(fmt::format("{} is the metastore's owner now; before, it was {}", home->caller.principal,
                        before.empty() ? "a deleted principal" : before));
  return OkStatus();
}

Status RunInit(const Cli& cli, const InitArguments& arguments) {
  if (!arguments.home.empty() && !cli.globals.registry.empty()) {
    return Error(Code::kInvalidArgument, "init was given two homes; name it once: modelfs init HOME");
  }
  ASSIGN_OR_RETURN(const std::string home,
                   HomePath(arguments.home.empty() ? cli.globals.registry : arguments.home));
  if (arguments.take_over) return TakeOverHome(cli, home);
  using Policy = store::RegistrySettings::SignaturePolicy;
  return MakeHome(home, arguments.signature == "required" ? Policy::kRequired : Policy::kIfMlmodel,
                  cli.globals.home);
}

// --- gc ---

struct GcArguments {
  bool dry_run = false;
  bool compact = false;
  bool json = false;
};

std::string Counted(uint64_t count, std::string_view what) {
  return fmt::format("{} {}{}", count, what, count == 1 ? "" : "s");
}

// Closes all that this process has open of the home, which cannot be used afterwards.
Result<store::Compaction> CompactNames(LocalHome& home, store::Compact how) {
  home.drafts.reset();
  home.embedded.reset();
  home.local_blobs.reset();
  home.kv.reset();
  store::LmdbOptions options;
  options.directory = home.files + "/registry";
  return store::CompactLmdb(options, how);
}

// The part of `gc --compact` after the sweep, with its output.
Status Compact(LocalHome& home, const GcArguments& arguments, Json json) {
  ASSIGN_OR_RETURN(const store::Compaction done,
                   CompactNames(home, arguments.dry_run ? store::Compact::kTry : store::Compact::kDo));
  if (arguments.json) {
    json["data_bytes_before"] = done.bytes_before;
    json["data_bytes_after"] = done.bytes_after;
    PrintJson(json);
  } else {
    PrintLine(fmt::format("registry/data.mdb: {} {} {}", HumanBytes(done.bytes_before),
                          arguments.dry_run ? "would become at most" : "became",
                          HumanBytes(done.bytes_after)));
  }
  return OkStatus();
}

Status RunGc(const Cli& cli, const GcArguments& arguments) {
  if (arguments.compact) {
    // Fails before the sweep if the compaction afterwards would be refused.
    ASSIGN_OR_RETURN(const std::unique_ptr<LocalHome> home, cli.OpenLocal());
    RETURN_IF_ERROR(CompactNames(*home, store::Compact::kTry));
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<LocalHome> home, cli.OpenLocal());
  ASSIGN_OR_RETURN(const Garbage garbage, SweepHome(*home, arguments.dry_run));
  const cas::SweepReport& report = garbage.blobs;
  const std::string_view removed = arguments.dry_run ? "would remove" : "removed";
  if (arguments.json) {
    Json json = {{"kind", "sweep"},
                 {"dry_run", arguments.dry_run},
                 {"blobs_removed", report.blobs_removed},
                 {"bytes_removed", report.bytes_removed},
                 {"blobs_kept", report.blobs_kept},
                 {"blobs_held_back", report.blobs_held_back},
                 {"bytes_held_back", report.bytes_held_back},
                 {"drafts_removed", garbage.drafts.drafts},
                 {"draft_bytes_removed", garbage.drafts.bytes}};
    if (arguments.compact) return Compact(*home, arguments, std::move(json));
    PrintJson(json);
    return OkStatus();
  }
  if (garbage.drafts.drafts > 0) {
    PrintLine(fmt::format("{} {} of deleted models, {}", removed, Counted(garbage.drafts.drafts, "draft"),
                          HumanBytes(garbage.drafts.bytes)));
  }
  PrintLine(fmt::format("{} {}, {}; {} kept", removed, Counted(report.blobs_removed, "blob"),
                        HumanBytes(report.bytes_removed), report.blobs_kept));
  if (report.blobs_held_back > 0) {
    PrintLine(
        fmt::format("{}, {}, may be in use by an upload, commit or copy that is running or has just ended; "
                    "run \"modelfs gc\" again later to remove what is unneeded by then",
                    Counted(report.blobs_held_back, "blob"), HumanBytes(report.bytes_held_back)));
  }
  if (arguments.compact) return Compact(*home, arguments, {});
  return OkStatus();
}

// --- fsck ---

struct FsckArguments {
  bool repair = false;
  bool json = false;
};

// The blobs that versions need.
Result<std::unordered_set<Digest>> NeededBlobs(LocalHome& home) {
  ASSIGN_OR_RETURN(const store::Mark mark, home.embedded->MarkForSweep(home.caller));
  // A tree that cannot be read is missing or damaged itself; its files are unknown.
  return store::BlobsOfVersions(*home.blobs, mark, [](const Digest&, const Error&) { return OkStatus(); });
}

// A damaged file may have another size than its blob, but versions know the blob by its size, too.
void NameAsNeeded(const std::unordered_set<Digest>& needed, std::vector<cas::DamagedBlob>& damaged) {
  for (cas::DamagedBlob& blob : damaged) {
    if (needed.contains(blob.digest)) continue;
    const auto same = std::find_if(needed.begin(), needed.end(),
                                   [&](const Digest& digest) { return digest.sha256 == blob.digest.sha256; });
    if (same != needed.end()) blob.digest = *same;
  }
}

// The needed blobs that the store does not have: lost, or moved to quarantine earlier.
Result<std::vector<cas::DamagedBlob>> MissingBlobs(LocalHome& home,
                                                   const std::unordered_set<Digest>& needed) {
  std::vector<cas::DamagedBlob> missing;
  for (const Digest& digest : needed) {
    // An empty file has no bytes to count.
    const bool present = digest.size_bytes > 0 ? home.blobs->LocalBytes(digest) == digest.size_bytes
                                               : home.blobs->Open(digest).ok();
    if (present) continue;
    // The last version that needs it may have been deleted, and the blob swept, since the mark.
    ASSIGN_OR_RETURN(const std::vector<std::string> needed_by,
                     home.embedded->VersionsThatNeed(home.caller, {digest}));
    if (!needed_by.empty()) missing.push_back({.digest = digest, .reason = "is missing"});
  }
  std::sort(missing.begin(), missing.end(),
            [](const cas::DamagedBlob& a, const cas::DamagedBlob& b) { return a.digest < b.digest; });
  return missing;
}

bool RecordsAreWhole(const store::RegistryCheck& registry) {
  return registry.problems.size() == registry.audit_problems;
}

std::string FsckAdvice(const cas::FsckReport& blobs, const store::RegistryCheck& registry, bool repaired) {
  std::string advice;
  if (!registry.problems.empty()) {
    advice = fmt::format("{} problem{} in {}; stop every process that uses it and restore it from a backup",
                         registry.problems.size(), registry.problems.size() == 1 ? "" : "s",
                         RecordsAreWhole(registry)
                             ? "the audit log (registry/data.mdb, or a file in audit/, as printed above)"
                             : "registry/data.mdb");
  }
  if (blobs.damaged.empty()) return advice;
  if (!advice.empty()) advice += "; ";
  return advice +
         fmt::format("{} damaged or missing blob{}; {}", blobs.damaged.size(),
                     blobs.damaged.size() == 1 ? "" : "s",
                     repaired ? "damaged blobs are in quarantine/; register the same files again to restore "
                                "the versions named above"
                              : "register the same files again to restore the versions named above; "
                                "\"modelfs fsck --repair\" moves damaged blobs to quarantine/");
}

Status RunFsck(const Cli& cli, const FsckArguments& arguments) {
  ASSIGN_OR_RETURN(const std::unique_ptr<LocalHome> home, cli.OpenLocal());
  ASSIGN_OR_RETURN(const store::RegistryCheck registry, home->embedded->CheckRecords(home->caller));
  if (!arguments.json) {
    for (const std::string& problem : registry.problems)
      PrintLine(fmt::format("registry: {}", Printable(problem)));
  }
  cas::FsckReport report;
  {
    Progress progress("fsck", nullptr);
    ASSIGN_OR_RETURN(report, home->local_blobs->Fsck(arguments.repair, [&progress](uint64_t done_bytes) {
      progress.Update(done_bytes);
    }));
  }
  // The mark for the needed blobs also removes stale records, which must not happen in a damaged registry.
  std::vector<cas::DamagedBlob> missing;
  if (RecordsAreWhole(registry)) {
    ASSIGN_OR_RETURN(const std::unordered_set<Digest> needed, NeededBlobs(*home));
    NameAsNeeded(needed, report.damaged);
    ASSIGN_OR_RETURN(missing, MissingBlobs(*home, needed));
  }
  std::unordered_set<Digest> seen;
  for (const cas::DamagedBlob& blob : report.damaged) seen.insert(blob.digest);
  for (const cas::DamagedBlob& blob : missing) {
    if (seen.insert(blob.digest).second) report.damaged.push_back(blob);
  }
  Json damaged = Json::array();
  for (const cas::DamagedBlob& blob : report.damaged) {
    Result<std::vector<std::string>> found = home->embedded->VersionsThatNeed(home->caller, {blob.digest});
    // A damaged registry, already reported, may not have the answer.
    if (!found.ok() && !RecordsAreWhole(registry)) found = std::vector<std::string>();
    ASSIGN_OR_RETURN(const std::vector<std::string> needed_by, std::move(found));
    damaged.push_back({{"kind", "damage"},
                       {"digest", blob.digest.ToString()},
                       {"reason", blob.reason},
                       {"needed_by", needed_by}});
    if (arguments.json) continue;
    PrintLine(fmt::format("damaged: {}: {}", blob.digest.ToString(), Printable(blob.reason)));
    for (const std::string& version : needed_by) PrintLine(fmt::format("  needed by {}", version));
    if (needed_by.empty())
      PrintLine(RecordsAreWhole(registry) ? "  needed by no version" : "  needed by no known version");
  }
  if (arguments.json) {
    PrintJson({{"kind", "check"},
               {"blobs_checked", report.blobs_checked},
               {"bytes_checked", report.bytes_checked},
               {"repaired", arguments.repair},
               {"damaged", damaged},
               {"records_checked", registry.records},
               {"registry_problems", registry.problems}});
  } else {
    PrintLine(fmt::format("checked {} blob{}, {}; {} records of the registry", report.blobs_checked,
                          report.blobs_checked == 1 ? "" : "s", HumanBytes(report.bytes_checked),
                          registry.records));
  }
  if (report.damaged.empty() && registry.problems.empty()) return OkStatus();
  return Error(Code::kDataLoss, FsckAdvice(report, registry, arguments.repair));
}

}  // namespace

void AddInitCommand(Cli& cli) {
  auto arguments = std::make_shared<InitArguments>();
  CLI::App* command = AddCommand(*cli.app, "init", "Make an empty registry that belongs to the current user",
                                 "modelfs init ~/registry");
  command->add_option("HOME", arguments->home, "A new or empty directory (default: -r or $MODELFS_REGISTRY)");
  CLI::Option* const take_over = command->add_flag(
      "--take-over", arguments->take_over,
      "Make nothing, but become the metastore's owner in HOME, a registry with files that you own");
  command
      ->add_option(
          "--signature", arguments->signature,
          "if-mlmodel: a version with an MLmodel file must have inputs and outputs in its signature; "
          "required: in addition, every version must have an MLmodel file")
      ->check(CLI::IsMember({"if-mlmodel", "required"}))
      ->type_name("POLICY")
      ->excludes(take_over)
      ->capture_default_str();
  OnRun(*command, cli, arguments, RunInit);
}

void AddUpkeepCommands(Cli& cli) {
  {
    auto arguments = std::make_shared<GcArguments>();
    CLI::App* command =
        AddCommand(*cli.app, "gc", "Free the space of files that no version, draft or upload refers to",
                   "modelfs gc --dry-run");
    command->add_flag("-n,--dry-run", arguments->dry_run, "Only count, remove nothing");
    command->add_flag(
        "--compact", arguments->compact,
        "Then shrink registry/data.mdb to its contents; no other process may use the registry meanwhile");
    command->add_flag("--json", arguments->json, "Print JSON");
    OnRun(*command, cli, arguments, RunGc);
  }
  {
    auto arguments = std::make_shared<FsckArguments>();
    CLI::App* command =
        AddCommand(*cli.app, "fsck",
                   "Read and check every stored byte and every record of the registry; name the damage and "
                   "the versions that need it",
                   "modelfs fsck --repair");
    command->add_flag("--repair", arguments->repair, "Move damaged blobs to quarantine/");
    command->add_flag("--json", arguments->json, "Print JSON");
    OnRun(*command, cli, arguments, RunFsck);
  }
}

}  // namespace modelfs::tools
