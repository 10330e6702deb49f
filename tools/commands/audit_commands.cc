// audit, audit verify, audit rotate, audit settings: print the log, prove that it is complete, move old
// records to files, and configure when that happens automatically.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <nlohmann/json.hpp>

#include "cas/base/clock.h"
#include "cas/base/text.h"
#include "tools/command.h"
#include "tools/commands/commands.h"
#include "tools/print/output.h"
#include "tools/print/progress.h"
#include "tools/print/time_spec.h"

namespace modelfs::tools {
namespace {

struct AuditArguments {
  std::string name;
  std::string since;
  std::string until;
  std::string principal;
  std::string action;
  std::optional<uint64_t> after;
  std::optional<uint64_t> limit;
  bool refused = false;
  bool follow = false;
  bool json = false;
};

// CLI11 reads numbers by strtoull(3), which turns -1 into the largest number.
const CLI::Validator& Count() {
  static const CLI::Validator count(
      [](const std::string& text) -> std::string {
        if (!text.empty() && text.find_first_not_of("0123456789") == std::string::npos) return "";
        return fmt::format("\"{}\" is not a number of 0 or more; leave the option out for no limit", text);
      },
      "", "count");
  return count;
}

constexpr size_t kPage = 1000;
constexpr uint64_t kBeforeFollowing = 10;  // records, if no option sets the beginning: as tail(1)

Result<store::AuditQuery> QueryOf(const AuditArguments& arguments, const Place& place) {
  store::AuditQuery query;
  const int64_t now_ms = SystemClock().NowMs();
  if (!arguments.since.empty()) {
    ASSIGN_OR_RETURN(query.since_ms, ParseTime(arguments.since, now_ms));
  }
  if (!arguments.until.empty()) {
    ASSIGN_OR_RETURN(query.until_ms, ParseTime(arguments.until, now_ms));
  }
  query.full_name = place.name.ToString();
  query.principal = arguments.principal;
  query.action = arguments.action;
  query.after_sequence = arguments.after.value_or(0);
  if (arguments.refused) query.outcome = store::AuditQuery::Outcome::kRefused;
  return query;
}

void PrintRecord(const store::AuditRecord& record, bool json) {
  if (json) return PrintLine(store::JsonText(store::AuditJson(record), -1));
  std::string line = fmt::format("{} {} {}", record.sequence, LocalTime(record.time_ms), record.principal);
  if (!record.run_by.empty()) line += fmt::format(" (run by {})", record.run_by);
  line += fmt::format(" {} {}", record.action, record.full_name);
  for (const auto& parameter : record.params)
    line += fmt::format(" {}={}", parameter.first, parameter.second);
  if (record.status >= 400) line += fmt::format(" refused: {} {}", record.status, record.error);
  PrintLine(Printable(line));
}

// The newest `limit`, printed oldest first.
Status PrintNewest(Session& session, store::AuditQuery query, uint64_t limit, bool json) {
  query.order = store::AuditQuery::Order::kNewestFirst;
  std::vector<store::AuditRecord> newest;
  while (newest.size() < limit) {
    query.limit = static_cast<size_t>(std::min<uint64_t>(limit - newest.size(), kPage));
    ASSIGN_OR_RETURN(std::vector<store::AuditRecord> records, session.journal->Audit(session.caller, query));
    std::move(records.begin(), records.end(), std::back_inserter(newest));
    if (records.size() < query.limit) break;
    query.before_sequence = newest.back().sequence;
  }
  std::for_each(newest.rbegin(), newest.rend(),
                [json](const store::AuditRecord& record) { PrintRecord(record, json); });
  return OkStatus();
}

Status PrintOldest(Session& session, store::AuditQuery query, uint64_t limit, bool json) {
  while (limit > 0) {
    query.limit = static_cast<size_t>(std::min<uint64_t>(limit, kPage));
    ASSIGN_OR_RETURN(const std::vector<store::AuditRecord> records,
                     session.journal->Audit(session.caller, query));
    for (const store::AuditRecord& record : records) PrintRecord(record, json);
    if (records.size() < query.limit) break;
    query.after_sequence = records.back().sequence;
    limit -= records.size();
  }
  return OkStatus();
}

// Runs until it is interrupted or its output is closed.
Status Follow(Session& session, store::AuditQuery query, bool json) {
  const std::stop_source never;
  while (true) {
    RETURN_IF_ERROR(FlushOutput());
    ASSIGN_OR_RETURN(const uint64_t last, session.journal->WaitForAudit(
                                              query.after_sequence, Deadline::Never(), never.get_token()));
    query.before_sequence = last + 1;
    RETURN_IF_ERROR(PrintOldest(session, query, UINT64_MAX, json));
    query.after_sequence = last;
  }
}

// A name that never existed is a mistake, not an object without records. A deleted object still has records.
Status CheckKnown(Session& session, const Place& place, const store::AuditQuery& query) {
  if (place.name.parts.empty()) return OkStatus();
  const Result<store::ObjectInfo> object =
      FindObject(session, place, ToAsk(store::Operation::kReadAudit, place));
  if (object.ok() || object.error().code() != Code::kNotFound) return OkStatus();
  const Result<std::vector<store::AuditRecord>> past =
      session.journal->Audit(session.caller, {.full_name = place.name.ToString(), .limit = 1});
  // If a part of the log is missing, the rest can still be read. Then it is unknown whether the name ever
  // existed.
  if (!past.ok() && past.error().code() == Code::kDataLoss && query.after_sequence > 0) return OkStatus();
  if (!past.ok()) return past.error();
  return past->empty() ? Status(object.error()) : OkStatus();
}

Status RunAudit(const Cli& cli, const AuditArguments& arguments) {
  Place place;
  if (!arguments.name.empty()) {
    ASSIGN_OR_RETURN(place, ParsePlace(arguments.name));
    if (place.HasVersion()) {
      return Error(Code::kInvalidArgument,
                   fmt::format("{} is a version; the audit log is read by catalog, schema or model",
                               Printable(arguments.name)));
    }
  }
  if (arguments.follow && !arguments.until.empty()) {
    return Error(Code::kInvalidArgument, "--follow waits for new records: leave out --until");
  }
  ASSIGN_OR_RETURN(store::AuditQuery query, QueryOf(arguments, place));
  ASSIGN_OR_RETURN(const std::unique_ptr<Session> session, cli.Open({&place}));
  RETURN_IF_ERROR(CheckKnown(*session, place, query));
  std::optional<uint64_t> limit = arguments.limit;
  if (arguments.follow && !limit && !arguments.after && arguments.since.empty()) limit = kBeforeFollowing;
  if (arguments.follow) {
    const std::stop_source never;
    ASSIGN_OR_RETURN(const uint64_t last,
                     session->journal->WaitForAudit(0, Deadline::Never(), never.get_token()));
    query.before_sequence = last + 1;  // later records are followed
  }
  if (limit && !arguments.after) {
    RETURN_IF_ERROR(PrintNewest(*session, query, *limit, arguments.json));
  } else {
    RETURN_IF_ERROR(PrintOldest(*session, query, limit.value_or(UINT64_MAX), arguments.json));
  }
  if (!arguments.follow) return OkStatus();
  query.after_sequence = query.before_sequence - 1;
  return Follow(*session, query, arguments.json);
}

struct VerifyArguments {
  bool json = false;
};

Status RunAuditVerify(const Cli& cli, const VerifyArguments& arguments) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Session> session, cli.Open());
  ASSIGN_OR_RETURN(const uint64_t records, session->journal->VerifyAudit(session->caller));
  if (arguments.json) {
    PrintJson({{"kind", "audit_check"}, {"records", records}, {"whole", true}});
  } else {
    PrintLine(fmt::format("the audit log is whole: {} record{}", records, records == 1 ? "" : "s"));
  }
  return OkStatus();
}

struct RotateArguments {
  std::string before;
  uint64_t keep = 0;
  bool json = false;
};

Status RunAuditRotate(const Cli& cli, const RotateArguments& arguments) {
  store::RotateOptions options;
  options.keep = arguments.keep;
  if (!arguments.before.empty()) {
    ASSIGN_OR_RETURN(options.before_ms, ParseTime(arguments.before, SystemClock().NowMs()));
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<LocalHome> home, cli.OpenLocal());
  ASSIGN_OR_RETURN(const store::AuditRotation rotation, home->embedded->RotateAudit(home->caller, options));
  if (arguments.json) {
    PrintJson({{"kind", "audit_rotation"}, {"records", rotation.records}, {"files", rotation.files}});
  } else {
    PrintLine(fmt::format("moved {} record{} to {} new file{} in {}/audit", rotation.records,
                          rotation.records == 1 ? "" : "s", rotation.files, rotation.files == 1 ? "" : "s",
                          Printable(home->path)));
  }
  return OkStatus();
}

// --- audit settings ---

struct SettingsArguments {
  std::string opens;
  std::string rotate_age;
  std::optional<uint64_t> rotate_bytes;
  bool json = false;
};

Status RunAuditSettings(const Cli& cli, const SettingsArguments& arguments) {
  std::optional<int64_t> age_ms;
  if (!arguments.rotate_age.empty()) {
    ASSIGN_OR_RETURN(age_ms, ParseAge(arguments.rotate_age));
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<LocalHome> home, cli.OpenLocal());
  ASSIGN_OR_RETURN(store::AuditSettings settings, home->embedded->GetAuditSettings(home->caller));
  const store::AuditSettings before = settings;
  using Opens = store::AuditSettings::Opens;
  if (!arguments.opens.empty()) {
    settings.opens = arguments.opens == store::OpensField(Opens::kEach) ? Opens::kEach : Opens::kCounted;
  }
  if (arguments.rotate_bytes) settings.most_bytes = *arguments.rotate_bytes;
  if (age_ms) settings.longest_ms = *age_ms;
  if (!(settings == before)) {
    RETURN_IF_ERROR(home->embedded->SetAuditSettings(home->caller, settings));
  }
  constexpr int64_t kSecondMs = 1000;
  constexpr int64_t kDayMs = kSecondMs * 60 * 60 * 24;
  if (arguments.json) {
    PrintJson(store::AuditSettingsJson(settings));
    return OkStatus();
  }
  const bool days = settings.longest_ms % kDayMs == 0;
  Fields fields;
  fields.Add("opens", store::OpensField(settings.opens));
  fields.Add("rotate-size", HumanBytes(settings.most_bytes));
  fields.Add("rotate-age", days ? fmt::format("{}d", settings.longest_ms / kDayMs)
                                : fmt::format("{}s", settings.longest_ms / kSecondMs));
  return OkStatus();
}

void AddSettings(Cli& cli, CLI::App& audit) {
  using Opens = store::AuditSettings::Opens;
  auto arguments = std::make_shared<SettingsArguments>();
  CLI::App* command =
      AddCommand(audit, "settings", "Show or set how opens are recorded, and when old records move to files",
                 "modelfs audit settings --opens each --rotate-age 30d");
  command
      ->add_option(
          "--opens", arguments->opens,
          "counted: one record per principal, version and minute, and one with the number of the rest; "
          "each: one for every opened file")
      ->check(CLI::IsMember(
          {std::string(store::OpensField(Opens::kCounted)), std::string(store::OpensField(Opens::kEach))}))
      ->type_name("WHICH");
  command
      ->add_option("--rotate-size", arguments->rotate_bytes,
                   "Move old records to files when those in the registry exceed this size, such as 8MiB")
      ->transform(CLI::AsSizeValue(false))
      ->type_name("SIZE");
  command
      ->add_option("--rotate-age", arguments->rotate_age,
                   "Move old records to files when the oldest is older than this, such as 90d")
      ->type_name("AGE");
  command->add_flag("--json", arguments->json, "Print JSON");
  OnRun(*command, cli, arguments, RunAuditSettings);
}

void AddVerify(Cli& cli, CLI::App& audit) {
  auto arguments = std::make_shared<VerifyArguments>();
  CLI::App* command = AddCommand(audit, "verify", "Check that no record was removed, edited or reordered",
                                 "modelfs audit verify");
  command->add_flag("--json", arguments->json, "Print JSON");
  OnRun(*command, cli, arguments, RunAuditVerify);
}

void AddRotate(Cli& cli, CLI::App& audit) {
  auto arguments = std::make_shared<RotateArguments>();
  CLI::App* command = AddCommand(
      audit, "rotate", "Move old records to files in HOME/audit, where they are still read and checked",
      "modelfs audit rotate --before 90d");
  CLI::Option* before =
      command->add_option("--before", arguments->before, "Move records older than this (as --since of audit)")
          ->type_name("TIME");
  command->add_option("--keep", arguments->keep, "Move all but this many of the newest records (default: 0)")
      ->type_name("COUNT")
      ->check(Count())
      ->excludes(before);
  command->add_flag("--json", arguments->json, "Print JSON");
  OnRun(*command, cli, arguments, RunAuditRotate);
}

}  // namespace

void AddAuditCommands(Cli& cli) {
  auto arguments = std::make_shared<AuditArguments>();
  CLI::App* command = AddCommand(
      *cli.app, "audit",
      "Print the audit log, oldest record first: the principal, the action, the time and the result. It "
      "records all changes, opens of files (see \"audit settings\"), and all refusals by modelfs. It has "
      "no refusals by the kernel of a shared mount, which applies ACLs without reporting them",
      "modelfs audit --since 1h prod.ml_team.iris_model");
  command->add_option("NAME", arguments->name,
                      "Only this catalog, schema or model, and its contents; also a deleted one");
  command
      ->add_option(
          "--since", arguments->since,
          "Only from this time on: 90s, 30m, 1h, 2d or 1w ago, or as 2026-11-24 or 2026-11-24T13:00:00Z")
      ->type_name("TIME");
  command->add_option("--until", arguments->until, "Only before this time")->type_name("TIME");
  command->add_option("--principal", arguments->principal, "Only actions by this principal, or in its name");
  command->add_option("--action", arguments->action, "Only this action, such as setRegisteredModelAlias");
  command->add_flag("--refused", arguments->refused, "Only refusals");
  command->add_option("--after", arguments->after, "Only records after this sequence number")
      ->type_name("SEQ")
      ->check(Count());
  command
      ->add_option(
          "--limit", arguments->limit,
          "Only this many of the newest records; with --after, the first ones after it (default: all)")
      ->type_name("COUNT")
      ->check(Count());
  command->add_flag("-f,--follow", arguments->follow,
                    "Then wait for new records and print them when they arrive");
  command->add_flag("--json", arguments->json, "Print JSON, one record a line");
  command->require_subcommand(0, 1);
  OnRun(*command, cli, arguments, RunAudit);
  AddVerify(cli, *command);
  AddRotate(cli, *command);
  AddSettings(cli, *command);
}

}  // namespace modelfs::tools
