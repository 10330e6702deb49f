#include "fs/zones/info.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>
#include <variant>

#include "cas/base/check.h"
#include "cas/base/json_text.h"
#include "cas/base/text.h"
#include "fs/base/refusals.h"
#include "fs/base/statistics.h"
#include "fs/base/tree_cache.h"
#include "fs/sharing/permit.h"
#include "fs/zones/attrs.h"
#include "fs/zones/zones.h"
#include "store/registry_json.h"

namespace modelfs::fs {
namespace {

using store::Json;
using store::JsonText;
using store::ObjectInfo;
using store::VersionInfo;
using store::VersionNumber;

// Of a model's log, activity.jsonl shows the newest so many records.
constexpr size_t kActivityRecords = 10'000;
constexpr size_t kPage = 1000;
constexpr std::string_view kJsonSuffix = ".json";

// The questions about an object that a user may ask through the mount, in the attribute's words.
constexpr std::string_view kAccessPrefix = "user.modelfs.access.";
struct Question {
  store::Operation operation;
  const char* name;
  std::optional<store::ObjectKind> of = {};  // nothing: of each kind
};
constexpr Question kQuestions[] = {
    {store::Operation::kReadFiles, "read_files", store::ObjectKind::kModel},
    {store::Operation::kGet, "read"},
    {store::Operation::kCreateSchema, "create_schema", store::ObjectKind::kCatalog},
    {store::Operation::kCreateModel, "create_model", store::ObjectKind::kSchema},
    {store::Operation::kCreateVersion, "create_version", store::ObjectKind::kModel},
    {store::Operation::kDeleteVersion, "delete_version", store::ObjectKind::kModel},
    {store::Operation::kSetAlias, "set_alias", store::ObjectKind::kModel},
    {store::Operation::kTag, "tag"},
    {store::Operation::kDescribe, "describe"},
    {store::Operation::kRename, "rename", store::ObjectKind::kModel},
    {store::Operation::kSetOwner, "set_owner"},
    {store::Operation::kDelete, "delete"},
};

// --- what the files say --------------------------------------------------------------------------

Json ScrubJson(const ScrubSource& source) {
  const cas::ScrubState state = source.scrubbed ? source.scrubbed() : cas::ScrubState();
  constexpr double kPercent = 100;
  const auto percent = static_cast<int64_t>(state.Fraction() * kPercent);
  return Json{{"period_s", source.period_ms / 1000},
              {"began_at", state.pass.began_at_ms},
              {"percent", percent},
              {"blobs", state.pass.blobs},
              {"size_bytes", state.pass.bytes},
              {"damaged", state.pass.damaged},
              {"unchecked", state.pass.unchecked},
              {"last_began_at", state.last.began_at_ms},
              {"last_ended_at", state.last.ended_at_ms},
              {"last_blobs", state.last.blobs},
              {"last_size_bytes", state.last.bytes},
              {"last_damaged", state.last.damaged},
              {"last_unchecked", state.last.unchecked},
              {"fs_verity", cas::VerityName(state.verity)}};
}

Json StatusJson(const Context& context, const StatisticsSnapshot& numbers, const std::string& registry_id,
                const ScrubSource& scrub) {
  return Json{{"kind", "mount"},
              {"registry", registry_id},
              {"home", context.home},
              {"mount_point", context.mount_point},
              {"modelfs_version", MODELFS_VERSION},
              {"pid", ::getpid()},
              {"user", context.daemon.principal},
              {"started_at", numbers.started_at_ms},
              {"uptime_s", std::max<int64_t>(0, numbers.now_ms - numbers.started_at_ms) / 1000},
              {"passthrough", numbers.passthrough},
              {"passthrough_reason", numbers.passthrough_reason},
              {"requests", numbers.requests},
              {"refused", numbers.refused},
              {"open_files", numbers.open_files},
              {"open_directories", numbers.open_directories},
              {"native_handles", numbers.native_handles},
              {"drafts", numbers.drafts},
              {"trees_cached", context.trees != nullptr ? context.trees->size() : 0},
              {"scrub", ScrubJson(scrub)}};
}

std::string ErrnoName(int errno_value) {
  const char* name = ::strerrorname_np(errno_value);
  return name != nullptr ? name : fmt::format("errno {}", errno_value);
}

// Names that users sent may hold bytes that are not UTF-8, which JSON has not: they become \xNN text.
std::string JsonWord(const std::string& text) { return IsValidUtf8(text) ? text : Printable(text); }

// One JSON object a line, the newest last.
std::string RefusalLines(const std::vector<RefusalRecord>& records) {
  std::string text;
  for (const RefusalRecord& record : records) {
    const Json line{{"kind", "refusal"},
                    {"first_at", record.first_ms},
                    {"last_at", record.time_ms},
                    {"count", record.count},
                    {"operation", record.operation},
                    {"path", JsonWord(record.path)},
                    {"errno", record.errno_value},
                    {"errno_name", ErrnoName(record.errno_value)},
                    {"message", JsonWord(record.message)}};
    text += JsonText(line, -1) + "\n";
  }
  return text;
}

// Prometheus' text exposition format, version 0.0.4.
std::string MetricsText(const Context& context, const StatisticsSnapshot& numbers, const ScrubSource& scrub) {
  std::string text;
  const auto metric = [&text](std::string_view name, std::string_view type, std::string_view help) {
    text += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
  };
  const auto gauge = [&](std::string_view name, std::string_view help, uint64_t value) {
    metric(name, "gauge", help);
    text += fmt::format("{} {}\n", name, value);
  };
  metric("modelfs_requests_total", "counter", "Requests of the kernel, by operation.");
  for (const auto& count : numbers.requests) {
    text += fmt::format("modelfs_requests_total{{operation=\"{}\"}} {}\n", count.first, count.second);
  }
  metric("modelfs_refused_total", "counter", "Requests answered with an error.");
  text += fmt::format("modelfs_refused_total {}\n", numbers.refused);
  gauge("modelfs_open_files", "Open file handles.", numbers.open_files);
  gauge("modelfs_open_directories", "Open directory handles.", numbers.open_directories);
  gauge("modelfs_native_handles", "Open files that the kernel reads by itself.", numbers.native_handles);
  gauge("modelfs_drafts", "Drafts of this mount.", numbers.drafts);
  gauge("modelfs_trees_cached", "Versions whose lists of files are in memory.",
        context.trees != nullptr ? context.trees->size() : 0);
  gauge("modelfs_passthrough", "1 where whole files are read by the kernel itself.",
        numbers.passthrough ? 1 : 0);
  if (scrub.scrubbed) {
    const cas::ScrubState state = scrub.scrubbed();
    gauge("modelfs_scrub_damaged", "Artifacts that the present and the last whole scrub found damaged.",
          state.pass.damaged + state.last.damaged);
  }
  metric("modelfs_start_time_seconds", "gauge", "When the mount was made, in seconds since 1970.");
  text += fmt::format("modelfs_start_time_seconds {}.{:03}\n", numbers.started_at_ms / 1000,
                      numbers.started_at_ms % 1000);
  return text;
}

// --- handles -------------------------------------------------------------------------------------

class TextHandle : public FileHandle {
 public:
  explicit TextHandle(std::string text) : text_(std::move(text)) {}

  Outcome<size_t> Read(uint64_t offset_bytes, std::span<std::byte> out) override {
    if (offset_bytes >= text_.size()) return size_t{0};
    const size_t count = std::min<uint64_t>(out.size(), text_.size() - offset_bytes);
    std::memcpy(out.data(), text_.data() + offset_bytes, count);
    return count;
  }

 private:
  const std::string text_;
};

// <N>.json for every version of a model.
class VersionFilesHandle : public DirectoryHandle {
 public:
  VersionFilesHandle(store::ObjectId model, InfoFile kind, std::vector<VersionNumber> numbers)
      : model_(model), kind_(kind), numbers_(std::move(numbers)) {}

  Outcome<std::optional<DirectoryEntry>> At(uint64_t index, bool /*plus*/) override {
    if (index >= numbers_.size()) return std::optional<DirectoryEntry>();
    DirectoryEntry entry;
    entry.name = fmt::format("{}{}", numbers_[index], kJsonSuffix);
    entry.node = InfoNode(model_, kind_, numbers_[index]);
    entry.type = S_IFREG;
    return std::optional<DirectoryEntry>(std::move(entry));
  }

 private:
  const store::ObjectId model_;
  const InfoFile kind_;
  const std::vector<VersionNumber> numbers_;
};

// --- the zone ------------------------------------------------------------------------------------

bool IsInfoDirectory(InfoFile file) {
  return file == InfoFile::kDirectory || file == InfoFile::kVersionsDirectory ||
         file == InfoFile::kLineageDirectory;
}

// The operation that must be allowed for the names in a directory, and for the content of its files, as the
// ACL of the directory has it (fs/sharing/acl_table.cc). Every caller that may see the model may read its
// lineage (reference §2.4, 24).
store::Operation ShownBy(InfoFile file) {
  return file == InfoFile::kVersionsDirectory || file == InfoFile::kVersionJson ? store::Operation::kGet
                                                                                : store::Operation::kSee;
}

Entry MakeEntry(NodeId node, const struct stat& attr) {
  // Nothing here is told of changes, so nothing is kept.
  return {.node = node, .attr = attr, .attr_ttl_s = 0, .entry_ttl_s = 0};
}

class InfoZone : public Zone {
 public:
  InfoZone(Context& context, ScrubSource scrub) : context_(context), scrub_(std::move(scrub)) {}

  Outcome<Entry> Lookup(const Request& request, NodeId parent, std::string_view name) override;
  Outcome<Attr> GetAttr(const Request& request, NodeId node) override;
  Outcome<NodeId> ParentOf(NodeId directory) override;
  Outcome<Place> PlaceOf(NodeId node) override;
  Outcome<OpenedFile> Open(const Request& request, NodeId node, int flags) override;
  Outcome<OpenedDirectory> OpenDirectory(const Request& request, NodeId node) override;
  Outcome<std::string> GetXattr(const Request& request, NodeId node, std::string_view name) override;

 protected:
  Refusal Unsupported(std::string_view operation) const override {
    return {EROFS,
            fmt::format("{}: what stands in .modelfs and .info is generated and only to be read", operation)};
  }

 private:
  Outcome<std::string> ControlText(const Request& request, NodeId node);
  Outcome<std::string> InfoText(const Request& request, const NodeParts& parts);
  Outcome<std::string> Activity(const Request& request, store::ObjectId model);
  std::string AccessText(const Request& request, std::string_view name);
  std::string VersionText(const Request& request, const ObjectInfo& model,
                          const std::variant<std::monostate, VersionNumber, std::string>& which);

  // `parts` names a file or directory that exists whenever its model (and version) does.
  Outcome<struct stat> InfoStat(const NodeParts& parts);

  StatisticsSnapshot Numbers() const {
    return context_.statistics != nullptr ? context_.statistics->Snapshot() : StatisticsSnapshot();
  }

  Context& context_;
  const ScrubSource scrub_;
};

Outcome<struct stat> InfoZone::InfoStat(const NodeParts& parts) {
  if (parts.info == InfoFile::kVersionJson || parts.info == InfoFile::kLineageJson) {
    const auto version = context_.registry->GetVersion(context_.daemon, parts.object, parts.version_number);
    if (!version.ok()) {
      // Not the registry's sentence, which names the model: this answer goes to every caller.
      if (version.error().code() != Code::kNotFound) return Refuse(version.error());
      return Refuse(ENOENT, fmt::format("there is no version {}", parts.version_number));
    }
    return FileStat(context_, 0, false, version->updated_at_ms);
  }
  const auto model = context_.registry->Get(context_.daemon, parts.object);
  if (!model.ok()) return Refuse(model.error());
  if (IsInfoDirectory(parts.info)) return InfoDirectoryStat(context_, *model);
  return FileStat(context_, 0, false, model->updated_at_ms);
}

Outcome<Entry> InfoZone::Lookup(const Request& /*request*/, NodeId parent, std::string_view name) {
  if (parent == kControlDirectory) {
    NodeId node = 0;
    if (name == "status") node = kControlStatus;
    if (name == "metrics") node = kControlMetrics;
    if (name == "errors") node = kControlErrors;
    if (node == 0) return Refuse(ENOENT, fmt::format(".modelfs: there is no {} in it", Printable(name)));
    return MakeEntry(node, FileStat(context_, 0, false, Numbers().started_at_ms));
  }

  NodeParts parts = Parse(parent);
  CHECK(parts.kind == NodeKind::kInfo);
  std::optional<InfoFile> file;
  VersionNumber number = 0;
  if (parts.info == InfoFile::kDirectory) {
    if (name == "model.json") file = InfoFile::kModelJson;
    if (name == "versions") file = InfoFile::kVersionsDirectory;
    if (name == "lineage") file = InfoFile::kLineageDirectory;
    if (name == "activity.jsonl") file = InfoFile::kActivity;
  } else if (name.ends_with(kJsonSuffix)) {
    if (const auto parsed = store::ParseVersionNumber(name.substr(0, name.size() - kJsonSuffix.size()))) {
      number = *parsed;
      file = parts.info == InfoFile::kVersionsDirectory ? InfoFile::kVersionJson : InfoFile::kLineageJson;
    }
  }
  // Numbers beyond the nodeid's field cannot be a version's.
  constexpr VersionNumber kNumberEnd = VersionNumber{1} << 28U;
  if (!file || number >= kNumberEnd) {
    return Refuse(ENOENT, fmt::format(".info: there is no {} in it", Printable(name)));
  }
  parts.info = *file;
  parts.version_number = number;
  const auto attr = InfoStat(parts);
  if (!attr) return tl::unexpected(attr.error());
  return MakeEntry(InfoNode(parts.object, *file, number), *attr);
}

Outcome<Attr> InfoZone::GetAttr(const Request& /*request*/, NodeId node) {
  if (node == kControlDirectory) return Attr{ControlDirectoryEntry(context_).attr, 0};
  const NodeParts parts = Parse(node);
  if (parts.kind == NodeKind::kFixed) return Attr{FileStat(context_, 0, false, Numbers().started_at_ms), 0};
  const auto attr = InfoStat(parts);
  if (!attr) return tl::unexpected(attr.error());
  return Attr{*attr, 0};
}

Outcome<NodeId> InfoZone::ParentOf(NodeId directory) {
  if (directory == kControlDirectory) return kRootNode;
  const NodeParts parts = Parse(directory);
  if (parts.info == InfoFile::kDirectory) return ObjectNode(parts.object);
  return InfoNode(parts.object, InfoFile::kDirectory);
}

Outcome<Place> InfoZone::PlaceOf(NodeId node) {
  switch (node) {
    case kControlDirectory:
      return Place{kRootNode, ".modelfs"};
    case kControlStatus:
      return Place{kControlDirectory, "status"};
    case kControlMetrics:
      return Place{kControlDirectory, "metrics"};
    case kControlErrors:
      return Place{kControlDirectory, "errors"};
    default:
      break;
  }
  const NodeParts parts = Parse(node);
  if (parts.kind != NodeKind::kInfo) return Zone::PlaceOf(node);
  const NodeId directory = InfoNode(parts.object, InfoFile::kDirectory);
  const std::string numbered = fmt::format("{}{}", parts.version_number, kJsonSuffix);
  switch (parts.info) {
    case InfoFile::kDirectory:
      return Place{ObjectNode(parts.object), ".info"};
    case InfoFile::kModelJson:
      return Place{directory, "model.json"};
    case InfoFile::kVersionsDirectory:
      return Place{directory, "versions"};
    case InfoFile::kVersionJson:
      return Place{InfoNode(parts.object, InfoFile::kVersionsDirectory), numbered};
    case InfoFile::kLineageDirectory:
      return Place{directory, "lineage"};
    case InfoFile::kLineageJson:
      return Place{InfoNode(parts.object, InfoFile::kLineageDirectory), numbered};
    case InfoFile::kActivity:
      return Place{directory, "activity.jsonl"};
  }
  return Zone::PlaceOf(node);
}

Outcome<std::string> InfoZone::ControlText(const Request& request, NodeId node) {
  if (node == kControlErrors) {
    return context_.refusals != nullptr ? RefusalLines(context_.refusals->Of(request.caller.uid))
                                        : std::string();
  }
  if (node == kControlMetrics) return MetricsText(context_, Numbers(), scrub_);
  CHECK(node == kControlStatus);
  const auto settings = context_.registry->Settings(context_.daemon);
  if (!settings.ok()) return Refuse(settings.error());
  return JsonText(StatusJson(context_, Numbers(), settings->id, scrub_), 2) + "\n";
}

Outcome<std::string> InfoZone::Activity(const Request& request, store::ObjectId model) {
  const auto records = context_.journal->Activity(request.caller, model, kActivityRecords);
  if (!records.ok()) return RefuseCaller(context_, model, records.error());
  std::string text;
  for (const store::AuditRecord& record : *records) text += JsonText(store::ActivityJson(record), -1) + "\n";
  return text;
}

std::string AccessLine(std::string_view operation, const Status& allowed) {
  Json line{{"kind", "access"}, {"operation", operation}, {"allowed", allowed.ok()}};
  if (!allowed.ok()) line["message"] = allowed.error().message();
  return JsonText(line, -1) + "\n";
}

// One JSON object a line. Of what is hidden from the caller, the registry's own sentence, as of what is not
// there.
std::string InfoZone::AccessText(const Request& request, std::string_view name) {
  // A catalog or schema is no model, and so has no version.
  const auto spec = store::ModelSpec::Parse(name);
  const auto full_name = spec.ok() ? Result<store::FullName>(spec->model) : store::FullName::Parse(name);
  if (!full_name.ok()) return AccessLine("see", full_name.error());
  const auto object = context_.registry->Lookup(request.caller, *full_name);
  if (!object.ok()) return AccessLine("see", object.error());
  std::string text;
  for (const Question& question : kQuestions) {
    if (question.of.value_or(object->kind) != object->kind) continue;
    text += AccessLine(question.name,
                       context_.governance->CheckAccess(request.caller, question.operation, object->id));
  }
  if (spec.ok()) text += VersionText(request, *object, spec->version);
  return text;
}

// That a READY version never changes, where the kernel refuses by itself to change something in it.
std::string InfoZone::VersionText(const Request& request, const ObjectInfo& model,
                                  const std::variant<std::monostate, VersionNumber, std::string>& which) {
  std::optional<VersionNumber> number;
  if (const auto* given = std::get_if<VersionNumber>(&which)) number = *given;
  if (const auto* alias = std::get_if<std::string>(&which)) {
    const auto found = context_.registry->ResolveAlias(request.caller, model.id, *alias);
    if (found.ok()) number = found->number;
  }
  if (!number) return "";
  const auto version = context_.registry->GetVersion(request.caller, model.id, *number);
  if (!version.ok() || version->status != store::VersionStatus::kReady) return "";
  return AccessLine(
      "change_files",
      Error(Code::kFailedPrecondition,
            fmt::format("{}: {}. Modes, owners and times of its files stay, too. To delete the version as a "
                        "whole: `rmdir versions/{}`",
                        store::VersionName(*version), NeverChanges(std::to_string(*number)), *number)));
}

Outcome<std::string> InfoZone::GetXattr(const Request& request, NodeId node, std::string_view name) {
  if (node != kControlDirectory || !name.starts_with(kAccessPrefix))
    return Zone::GetXattr(request, node, name);
  return AccessText(request, name.substr(kAccessPrefix.size()));
}

Outcome<std::string> InfoZone::InfoText(const Request& request, const NodeParts& parts) {
  if (parts.info == InfoFile::kActivity) return Activity(request, parts.object);
  if (parts.info == InfoFile::kModelJson) {
    const auto model = context_.registry->Get(request.caller, parts.object);
    if (!model.ok()) return RefuseCaller(context_, parts.object, model.error());
    const auto tags = context_.registry->Tags(request.caller, {parts.object, std::nullopt});
    if (!tags.ok()) return RefuseCaller(context_, parts.object, tags.error());
    return JsonText(store::ObjectJson(*model, *tags), 2) + "\n";
  }
  std::map<std::string, std::string> of_version;
  if (parts.version_number != 0) of_version["version_arg"] = std::to_string(parts.version_number);
  if (auto may = Permit(context_, request, ShownBy(parts.info), parts.object, std::move(of_version)); !may) {
    return tl::unexpected(may.error());
  }
  if (parts.info == InfoFile::kLineageJson) {
    const auto lineage = context_.registry->Lineage(request.caller, parts.object, parts.version_number);
    if (!lineage.ok()) return RefuseCaller(context_, {parts.object, parts.version_number}, lineage.error());
    return JsonText(store::LineageJson(*lineage), 2) + "\n";
  }
  const auto version = context_.registry->GetVersion(request.caller, parts.object, parts.version_number);
  if (!version.ok()) return RefuseCaller(context_, {parts.object, parts.version_number}, version.error());
  const auto tags = context_.registry->Tags(context_.daemon, {parts.object, parts.version_number});
  if (!tags.ok()) return Refuse(tags.error());
  return JsonText(store::VersionJson(*version, *tags), 2) + "\n";
}

Outcome<OpenedFile> InfoZone::Open(const Request& request, NodeId node, int flags) {
  if ((flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC) != 0) {
    return tl::unexpected(Unsupported("open for writing"));
  }
  const NodeParts parts = Parse(node);
  auto text = parts.kind == NodeKind::kFixed ? ControlText(request, node) : InfoText(request, parts);
  if (!text) return tl::unexpected(text.error());
  return OpenedFile{std::make_shared<TextHandle>(*std::move(text)), PageCache::kDirect};
}

Outcome<OpenedDirectory> InfoZone::OpenDirectory(const Request& request, NodeId node) {
  if (node == kControlDirectory) {
    return OpenedDirectory{MakeDirectoryHandle({{"errors", kControlErrors, S_IFREG, std::nullopt},
                                                {"metrics", kControlMetrics, S_IFREG, std::nullopt},
                                                {"status", kControlStatus, S_IFREG, std::nullopt}}),
                           false};
  }
  const NodeParts parts = Parse(node);
  const store::ObjectId model = parts.object;
  if (auto may = Permit(context_, request, ShownBy(parts.info), model); !may) {
    return tl::unexpected(may.error());
  }
  if (parts.info == InfoFile::kDirectory) {
    const auto at = [model](std::string name, InfoFile file) {
      return DirectoryEntry{std::move(name), InfoNode(model, file),
                            static_cast<mode_t>(IsInfoDirectory(file) ? S_IFDIR : S_IFREG), std::nullopt};
    };
    return OpenedDirectory{
        MakeDirectoryHandle(
            {at("activity.jsonl", InfoFile::kActivity), at("lineage", InfoFile::kLineageDirectory),
             at("model.json", InfoFile::kModelJson), at("versions", InfoFile::kVersionsDirectory)}),
        false};
  }
  std::vector<VersionNumber> numbers;
  std::string token;
  do {
    const auto page =
        context_.registry->ListVersions(context_.daemon, model, {.limit = kPage, .token = token});
    if (!page.ok()) return Refuse(page.error());
    for (const VersionInfo& version : page->items) numbers.push_back(version.number);
    token = page->next_token;
  } while (!token.empty());
  const InfoFile kind =
      parts.info == InfoFile::kVersionsDirectory ? InfoFile::kVersionJson : InfoFile::kLineageJson;
  return OpenedDirectory{std::make_shared<VersionFilesHandle>(model, kind, std::move(numbers)), false};
}

}  // namespace

std::unique_ptr<Zone> MakeInfoZone(Context& context, ScrubSource scrub) {
  return std::make_unique<InfoZone>(context, std::move(scrub));
}

Entry ControlDirectoryEntry(const Context& context) {
  const int64_t started_at_ms =
      context.statistics != nullptr ? context.statistics->Snapshot().started_at_ms : int64_t{0};
  // Its name is nobody else's and its node fixed, so it may be kept.
  return {.node = kControlDirectory,
          .attr = DirectoryStat(context, started_at_ms),
          .attr_ttl_s = kForever,
          .entry_ttl_s = kForever};
}

Entry InfoDirectoryEntry(const Context& context, const ObjectInfo& model) {
  return MakeEntry(InfoNode(model.id, InfoFile::kDirectory), InfoDirectoryStat(context, model));
}

}  // namespace modelfs::fs
