// Versions: PENDING, READY, FAILED; numbers, copies, deletion.
#include <fmt/core.h>

#include <algorithm>

#include "cas/base/fail_point.h"
#include "cas/base/text.h"
#include "cas/tree_store.h"
#include "store/embedded/embedded_registry_impl.h"
#include "store/embedded/mlmodel.h"
#include "store/records/keys.h"

namespace modelfs::store {
namespace {

constexpr std::string_view kMlmodelName = "MLmodel";
// Notes of origin, shown to people; a longer one is a mistake.
constexpr size_t kMostSourceBytes = 8192;
constexpr size_t kMostRunIdBytes = 255;
constexpr size_t kMostReasonBytes = 4096;

std::string ListQuery(ObjectId model) { return fmt::format("versions {}", model); }

// Text that only people read keeps its odd bytes as \xNN instead of being refused.
std::string ReadableText(std::string_view text) {
  return IsValidUtf8(text) && text.find('\0') == std::string_view::npos ? std::string(text) : Printable(text);
}

Status CheckFields(const NewVersion& fields) {
  if (fields.source.size() > kMostSourceBytes) {
    return Error(Code::kInvalidArgument, fmt::format("source is longer than {} bytes", kMostSourceBytes));
  }
  if (fields.run_id.size() > kMostRunIdBytes || !IsValidUtf8(fields.run_id) ||
      HasHiddenCharacters(fields.run_id)) {
    return Error(Code::kInvalidArgument,
                 fmt::format("run id \"{}\" is not at most {} bytes of printable text",
                             Printable(fields.run_id.substr(0, kMostRunIdBytes)), kMostRunIdBytes));
  }
  RETURN_IF_ERROR(CheckDescription(fields.comment));
  if (fields.tags.size() > kMaxTagsPerObject) {
    return Error(Code::kResourceExhausted,
                 fmt::format("{} tags; a version has at most {}", fields.tags.size(), kMaxTagsPerObject));
  }
  for (const auto& [key, value] : fields.tags) {
    RETURN_IF_ERROR(CheckTagKey(key));
    RETURN_IF_ERROR(CheckTagValue(value));
  }
  return OkStatus();
}

// The parameters that the audit log records if the call is refused.
Change::Params ParamsOf(const NewVersion& fields, std::optional<VersionNumber> expected) {
  Change::Params params{{"source", ReadableText(fields.source)}, {"run_id", fields.run_id}};
  if (expected) params["version_arg"] = std::to_string(*expected);
  return params;
}

Status CheckNumber(std::string_view model, VersionNumber next, std::optional<VersionNumber> expected) {
  if (!expected || *expected == next) return OkStatus();
  return Error(Code::kOutOfRange, fmt::format("{}: the next version is {}, not {}", model, next, *expected));
}

void TellVersion(Change& change, EventKind kind, const StoredObject& model, VersionNumber number,
                 VersionId id) {
  change.Tell(kind, model);
  change.event().version = number;
  change.event().version_id = id;
}

std::vector<AliasInfo> AliasesOf(const ObjectRecord& model, VersionNumber number) {
  std::vector<AliasInfo> aliases = model.aliases;
  std::erase_if(aliases, [number](const AliasInfo& alias) { return alias.version != number; });
  return aliases;
}

Result<VersionWhereRecord> WhereIs(View& view, VersionId id) {
  ASSIGN_OR_RETURN(const std::optional<KvEntry> entry, view.Get(keys::VersionWhere(id)));
  if (!entry) {
    return Error(Code::kNotFound, fmt::format("version id {} does not exist (any more)", id));
  }
  return VersionWhereRecord::Decode(entry->value, fmt::format("version id {}", id));
}

}  // namespace

Result<VersionInfo> EmbeddedRegistryImpl::InfoOf(View& view, const StoredObject& model, VersionNumber number,
                                                 const VersionRecord& record) {
  VersionInfo info;
  info.id = record.id;
  info.model = model.record.id;
  ASSIGN_OR_RETURN(info.model_name, view.NameOf(model));
  info.number = number;
  info.status = record.status;
  info.status_message = record.status_message;
  info.tree = record.tree;
  info.total_bytes = record.total_bytes;
  info.file_count = record.file_count;
  if (record.status == VersionStatus::kReady) info.committed_at_ms = CommittedAtMs(record);
  if (record.commit) info.times = record.commit->times;
  info.signature = record.signature;
  info.source = record.source;
  info.run_id = record.run_id;
  info.aliases = AliasesOf(model.record, number);
  info.created_at_ms = record.created.at_ms;
  info.created_by = record.created.by;
  info.updated_at_ms = record.updated.at_ms;
  info.updated_by = record.updated.by;
  return info;
}

Result<VersionInfo> EmbeddedRegistryImpl::InfoFor(View& view, const Caller& caller, const StoredObject& model,
                                                  VersionNumber number, const VersionRecord& record) {
  ASSIGN_OR_RETURN(VersionInfo info, InfoOf(view, model, number, record));
  ASSIGN_OR_RETURN(std::optional<std::string> source,
                   SourceFor(view, caller, {record.source, record.source_model, record.created}));
  info.source_masked = !source;
  info.source = std::move(source).value_or("");
  return info;
}

Result<EmbeddedRegistryImpl::CheckedTree> EmbeddedRegistryImpl::CheckTree(const Caller& caller,
                                                                          const Asked& asked,
                                                                          const StoredTree& content) {
  Result<CheckedTree> checked = CheckTree(content);
  if (!checked.ok()) {
    NoteFailure(Call::kChange, caller, asked, {asked.operation, asked.object}, checked.error());
  }
  return checked;
}

Result<EmbeddedRegistryImpl::CheckedTree> EmbeddedRegistryImpl::CheckTree(const StoredTree& content) {
  const auto refuse = [](const Error& error, const std::string& subject) -> Error {
    if (error.code() != Code::kNotFound) return error.Wrap(subject);
    return {Code::kFailedPrecondition,
            fmt::format("{} is not stored; store it and its files first", subject)};
  };
  Result<cas::Tree> tree = cas::ReadTree(blobs_, content.tree);
  if (!tree.ok()) return refuse(tree.error(), fmt::format("tree {}", content.tree.ToString()));
  if (tree->file_count() == 0) {
    return Error(Code::kFailedPrecondition, "it contains no file; a version needs at least one");
  }
  std::optional<cas::TreeTimes> times;
  if (content.times) {
    Result<cas::TreeTimes> read = cas::ReadTreeTimes(blobs_, *content.times, tree->file_count());
    if (!read.ok()) return refuse(read.error(), fmt::format("tree times {}", content.times->ToString()));
    times = *std::move(read);
  }
  ASSIGN_OR_RETURN(const Signature signature, CheckSignature(*tree));
  const uint64_t total_bytes = tree->total_bytes();
  const uint64_t file_count = tree->file_count();
  return CheckedTree{
      .total_bytes = total_bytes,
      .file_count = file_count,
      .signature = signature,
      .times = TimesPlan(VersionTimes(blobs_, *std::move(tree), times, VersionTimes::Origin::kNew), times,
                         content.times)};
}

Result<Signature> EmbeddedRegistryImpl::CheckSignature(const cas::Tree& tree) {
  const cas::TreeEntry* mlmodel = tree.Find(kMlmodelName);
  if (mlmodel == nullptr || mlmodel->kind != cas::EntryKind::kFile) return Signature::kNone;
  if (mlmodel->blob.size_bytes > kMlmodelMaxBytes) {
    return Error(Code::kFailedPrecondition, fmt::format("MLmodel has {} bytes; at most {} are read",
                                                        mlmodel->blob.size_bytes, kMlmodelMaxBytes));
  }
  ASSIGN_OR_RETURN(const std::string yaml, blobs_.ReadAll(mlmodel->blob, kMlmodelMaxBytes));
  RETURN_IF_ERROR(CheckMlmodelSignature(yaml));
  return Signature::kPresent;
}

Status EmbeddedRegistryImpl::CheckSignaturePolicy(View& view, const StoredObject& model,
                                                  Signature signature) {
  if (signature == Signature::kPresent) return OkStatus();
  ASSIGN_OR_RETURN(const Rules rules, RulesFor(view, model));
  return CheckSignaturePolicy(rules, signature);
}

Status EmbeddedRegistryImpl::CheckSignaturePolicy(const Rules& rules, Signature signature) {
  if (signature == Signature::kPresent || !rules.signature_required_by) return OkStatus();
  return Error(Code::kFailedPrecondition,
               "the MLmodel file is missing, and every version here needs a signature; save the model with "
               "MLflow and a signature (mlflow.models.infer_signature)");
}

Result<VersionNumber> EmbeddedRegistryImpl::AddVersion(Change& change, StoredObject& model,
                                                       VersionRecord& record, const NewVersion& fields,
                                                       std::optional<VersionNumber> kept) {
  RETURN_IF_ERROR(CheckRoomIn(change, model));
  const VersionNumber number = kept ? *kept : model.record.next_version++;
  ++model.record.children;
  record.source = ReadableText(fields.source);
  ASSIGN_OR_RETURN(record.source_model, SourceModel(change.snapshot(), change.caller(), record.source));
  record.run_id = fields.run_id;
  record.has_description = !fields.comment.empty();
  record.created = record.updated = change.stamp();
  if (record.status == VersionStatus::kReady) {
    model.record.latest_ready = std::max(model.record.latest_ready, number);
  }
  change.TouchObject(model);
  change.PutVersion(model, number, record);
  change.Put(keys::VersionWhere(record.id), VersionWhereRecord{model.record.id, number}.Encode());
  if (record.status == VersionStatus::kPending) {
    change.Put(keys::Pending(model.record.id, number), EncodeText(""));
  }
  if (!fields.comment.empty()) {
    change.Put(keys::Description(model.record.id, number), EncodeText(fields.comment));
  }
  for (const auto& [key, value] : fields.tags) {
    change.Put(keys::Tag(model.record.id, number, key), EncodeText(value));
  }
  return number;
}

Status EmbeddedRegistryImpl::MakeReady(Change& change, StoredObject& model, VersionRecord& record,
                                       const Digest& tree, CheckedTree& checked, const Lease& lease) {
  ASSIGN_OR_RETURN(record.commit, DecideCommit(change, model, checked.times, lease.epoch));
  record.status = VersionStatus::kReady;
  record.status_message.clear();
  record.tree = tree;
  record.total_bytes = checked.total_bytes;
  record.file_count = checked.file_count;
  record.signature = checked.signature;
  record.updated = change.stamp();
  return OkStatus();
}

Status EmbeddedRegistryImpl::CheckNewVersion(const Caller& caller, ObjectId object, const NewVersion& fields,
                                             std::optional<VersionNumber> expected) {
  const Asked asked{Operation::kUse, object, ParamsOf(fields, expected)};
  Refused refused{asked.operation, asked.object, {}};
  const auto check = [&](View& view) -> Status {
    ASSIGN_OR_RETURN(const StoredObject there, view.Object(object));
    RETURN_IF_ERROR(authorizer_.Check(view, caller, CreateOperation(there.record.kind), object));
    if (there.record.kind == ObjectKind::kModel) {
      ASSIGN_OR_RETURN(const FullName name, view.NameOf(there));
      RETURN_IF_ERROR(CheckNumber(name.ToString(), there.record.next_version, expected));
    } else {
      RETURN_IF_ERROR(CheckNumber("a new model", ObjectRecord().next_version, expected));
    }
    return CheckRoomIn(view, there);
  };
  const Status checked = TryInspect(caller, asked.operation, object, check, refused);
  // The caller is about to make the version: a refusal is recorded as if it had tried.
  if (!checked.ok()) NoteFailure(Call::kChange, caller, asked, refused, checked.error());
  RETURN_IF_ERROR(checked);
  return CheckFields(fields);
}

Result<VersionInfo> EmbeddedRegistryImpl::CommitVersion(const Caller& caller, ObjectId model_id,
                                                        const StoredTree& content, const Lease& lease,
                                                        const NewVersion& fields,
                                                        std::optional<VersionNumber> expected) {
  Asked asked{Operation::kCreateVersion, model_id, ParamsOf(fields, expected)};
  asked.params["tree"] = content.tree.ToString();
  // Checked before the bytes are read, and again in the transaction.
  RETURN_IF_ERROR(Demand(caller, asked));
  RETURN_IF_ERROR(CheckFields(fields));
  ASSIGN_OR_RETURN(CheckedTree checked, CheckTree(caller, asked, content));
  RETURN_IF_ERROR(PrepareTimes(model_id, checked.times));
  FAIL_POINT("version.checked");
  return Mutate(caller, asked, [&](Change& change) -> Result<VersionInfo> {
    ASSIGN_OR_RETURN(StoredObject model, change.Model(model_id));
    ASSIGN_OR_RETURN(const FullName name, change.NameOf(model));
    RETURN_IF_ERROR(CheckNumber(name.ToString(), model.record.next_version, expected));
    RETURN_IF_ERROR(CheckSignaturePolicy(change, model, checked.signature));
    RETURN_IF_ERROR(ExpectLease(change, lease));
    VersionRecord record;
    ASSIGN_OR_RETURN(record.id, change.NextVersionId());
    RETURN_IF_ERROR(MakeReady(change, model, record, content.tree, checked, lease));
    ASSIGN_OR_RETURN(const VersionNumber number, AddVersion(change, model, record, fields));
    AuditCreation(change, name, model_id, number, record, fields);
    TellVersion(change, EventKind::kVersionReady, model, number, record.id);
    ASSIGN_OR_RETURN(VersionInfo info, InfoOf(change, model, number, record));
    info.comment = fields.comment;
    return info;
  });
}

Result<VersionInfo> EmbeddedRegistryImpl::BeginVersion(const Caller& caller, ObjectId model_id,
                                                       const NewVersion& fields) {
  RETURN_IF_ERROR(CheckFields(fields));
  const Asked asked{Operation::kCreateVersion, model_id, ParamsOf(fields, std::nullopt)};
  return Mutate(caller, asked, [&](Change& change) -> Result<VersionInfo> {
    ASSIGN_OR_RETURN(StoredObject model, change.Model(model_id));
    ASSIGN_OR_RETURN(const FullName name, change.NameOf(model));
    VersionRecord record;
    ASSIGN_OR_RETURN(record.id, change.NextVersionId());
    ASSIGN_OR_RETURN(const VersionNumber number, AddVersion(change, model, record, fields));
    AuditCreation(change, name, model_id, number, record, fields);
    TellVersion(change, EventKind::kVersionCreated, model, number, record.id);
    ASSIGN_OR_RETURN(VersionInfo info, InfoOf(change, model, number, record));
    info.comment = fields.comment;
    return info;
  });
}

Result<VersionInfo> EmbeddedRegistryImpl::FinalizeVersion(const Caller& caller, ObjectId model_id,
                                                          VersionNumber number, const StoredTree& content,
                                                          const Lease& lease) {
  const Asked asked{Operation::kCreateVersion,
                    model_id,
                    {{"version_arg", std::to_string(number)}, {"tree", content.tree.ToString()}},
                    "finalizeModelVersion"};
  RETURN_IF_ERROR(Demand(caller, asked));
  const auto fail = [&](const Error& error) {
    FailVersion(caller, model_id, number, error.message()).IgnoreError("the caller needs the refusal itself");
    return error;
  };
  Result<CheckedTree> checked = CheckTree(caller, asked, content);
  if (!checked.ok()) {
    return checked.error().code() == Code::kFailedPrecondition ? fail(checked.error()) : checked.error();
  }
  RETURN_IF_ERROR(PrepareTimes(model_id, checked->times));
  bool unsigned_version = false;
  const auto finalized = Mutate(caller, asked, [&](Change& change) -> Result<VersionInfo> {
    ASSIGN_OR_RETURN(StoredObject model, change.Model(model_id));
    ASSIGN_OR_RETURN(const FullName name, change.NameOf(model));
    ASSIGN_OR_RETURN(VersionRecord record, change.Version(model, number));
    if (record.status == VersionStatus::kReady && record.tree == content.tree) {
      return InfoOf(change, model, number, record);
    }
    if (record.status != VersionStatus::kPending) {
      return Error(Code::kFailedPrecondition,
                   fmt::format("{} version {} is {}; only a pending one can be finalized", name.ToString(),
                               number, StatusName(record.status)));
    }
    RETURN_IF_ERROR(CheckFinalizer(change, caller, model, record));
    if (const Status policy = CheckSignaturePolicy(change, model, checked->signature); !policy.ok()) {
      unsigned_version = true;
      return policy.error();
    }
    RETURN_IF_ERROR(ExpectLease(change, lease));
    RETURN_IF_ERROR(MakeReady(change, model, record, content.tree, *checked, lease));
    model.record.latest_ready = std::max(model.record.latest_ready, number);
    change.TouchObject(model);
    change.PutVersion(model, number, record);
    change.Delete(keys::Pending(model_id, number));
    change.Audit(asked.action, name, model_id,
                 {{"full_name_arg", name.ToString()},
                  {"version_arg", std::to_string(number)},
                  {"tree", content.tree.ToString()}});
    TellVersion(change, EventKind::kVersionReady, model, number, record.id);
    return InfoOf(change, model, number, record);
  });
  return unsigned_version ? fail(finalized.error()) : finalized;
}

Status EmbeddedRegistryImpl::CheckFinalizer(View& view, const Caller& caller, const StoredObject& model,
                                            const VersionRecord& version) {
  ASSIGN_OR_RETURN(const std::shared_ptr<const Identity> self, authorizer_.IdentityOf(view, caller));
  ASSIGN_OR_RETURN(const PrincipalId owner, view.OwnerOf(model.record));
  if (self->Is(owner)) return OkStatus();
  ASSIGN_OR_RETURN(const bool began, IsBy(view, version.created, caller));
  if (began) return OkStatus();
  return Error(Code::kPermissionDenied,
               fmt::format("only {} (it began this version) and the owner of {} may finish it",
                           Printable(version.created.by), model.name));
}

Status EmbeddedRegistryImpl::FailVersion(const Caller& caller, ObjectId model_id, VersionNumber number,
                                         std::string_view reason) {
  return FailPending(caller, Operation::kCreateVersion, model_id, model_id, number, reason);
}

Status EmbeddedRegistryImpl::FailPending(const Caller& caller, Operation operation, ObjectId object,
                                         ObjectId model_id, VersionNumber number, std::string_view reason) {
  const std::string shown_reason = ReadableText(reason.substr(0, kMostReasonBytes));
  const Asked asked{operation,
                    object,
                    {{"version_arg", std::to_string(number)}, {"reason", shown_reason}},
                    "failModelVersion"};
  return Mutate(caller, asked, [&](Change& change) -> Status {
    ASSIGN_OR_RETURN(const StoredObject model, change.Model(model_id));
    ASSIGN_OR_RETURN(const FullName name, change.NameOf(model));
    ASSIGN_OR_RETURN(VersionRecord record, change.Version(model, number));
    if (record.status == VersionStatus::kFailed) return OkStatus();
    if (record.status != VersionStatus::kPending) {
      return Error(Code::kFailedPrecondition, fmt::format("{} version {} is {} and stays so", name.ToString(),
                                                          number, StatusName(record.status)));
    }
    if (operation == Operation::kCreateVersion) {
      RETURN_IF_ERROR(CheckFinalizer(change, caller, model, record));
    }
    record.status = VersionStatus::kFailed;
    record.status_message = shown_reason;
    record.updated = change.stamp();
    change.PutVersion(model, number, record);
    change.Delete(keys::Pending(model_id, number));
    change.Audit(asked.action, name, model_id,
                 {{"full_name_arg", name.ToString()},
                  {"version_arg", std::to_string(number)},
                  {"reason", record.status_message}});
    TellVersion(change, EventKind::kVersionFailed, model, number, record.id);
    return OkStatus();
  });
}

Result<VersionInfo> EmbeddedRegistryImpl::GetVersion(const Caller& caller, ObjectId model_id,
                                                     VersionNumber number) {
  return Inspect(
      caller, Asked{Operation::kGet, model_id, {{"version_arg", std::to_string(number)}}, "getModelVersion"},
      [&](View& view) { return FullVersion(view, caller, model_id, number); });
}

Result<VersionInfo> EmbeddedRegistryImpl::FullVersion(View& view, const Caller& caller, ObjectId model_id,
                                                      VersionNumber number) {
  ASSIGN_OR_RETURN(const StoredObject model, view.Model(model_id));
  ASSIGN_OR_RETURN(const VersionRecord record, view.Version(model, number));
  ASSIGN_OR_RETURN(VersionInfo info, InfoFor(view, caller, model, number, record));
  if (record.has_description) {
    ASSIGN_OR_RETURN(info.comment, view.Description(model_id, number));
  }
  return info;
}

Result<VersionInfo> EmbeddedRegistryImpl::Lineage(const Caller& caller, ObjectId model_id,
                                                  VersionNumber number) {
  return Inspect(
      caller, Asked{Operation::kSee, model_id, {{"version_arg", std::to_string(number)}}, "getModelVersion"},
      [&](View& view) -> Result<VersionInfo> {
        ASSIGN_OR_RETURN(const StoredObject model, view.Model(model_id));
        ASSIGN_OR_RETURN(const VersionRecord record, view.Version(model, number));
        ASSIGN_OR_RETURN(VersionInfo all, InfoFor(view, caller, model, number, record));
        VersionInfo lineage;
        lineage.number = all.number;
        lineage.model = all.model;
        lineage.model_name = std::move(all.model_name);
        lineage.source = std::move(all.source);
        lineage.source_masked = all.source_masked;
        lineage.run_id = std::move(all.run_id);
        lineage.created_at_ms = all.created_at_ms;
        lineage.created_by = std::move(all.created_by);
        return lineage;
      });
}

Result<VersionInfo> EmbeddedRegistryImpl::GetVersionById(const Caller& caller, VersionId id) {
  Asked asked{Operation::kUse, kMetastoreId};
  return Inspect(caller, asked, [&](View& view) -> Result<VersionInfo> {
    ASSIGN_OR_RETURN(const VersionWhereRecord where, WhereIs(view, id));
    asked = {
        Operation::kGet, where.model, {{"version_arg", std::to_string(where.number)}}, "getModelVersion"};
    RETURN_IF_ERROR(authorizer_.Check(view, caller, asked.operation, asked.object));
    return FullVersion(view, caller, where.model, where.number);
  });
}

Result<VersionInfo> EmbeddedRegistryImpl::OpenVersion(const Caller& caller, VersionId id,
                                                      const std::map<std::string, std::string>& params) {
  Asked asked{Operation::kUse, kMetastoreId};
  return Inspect(caller, asked, [&](View& view) -> Result<VersionInfo> {
    ASSIGN_OR_RETURN(const VersionWhereRecord where, WhereIs(view, id));
    asked = {Operation::kReadFiles, where.model, params};
    RETURN_IF_ERROR(authorizer_.Check(view, caller, asked.operation, asked.object));
    ASSIGN_OR_RETURN(const StoredObject model, view.Model(where.model));
    ASSIGN_OR_RETURN(const VersionRecord record, view.Version(model, where.number));
    return InfoFor(view, caller, model, where.number, record);
  });
}

Result<VersionInfo> EmbeddedRegistryImpl::ResolveAlias(const Caller& caller, ObjectId model_id,
                                                       std::string_view alias) {
  return Inspect(
      caller, Asked{Operation::kGet, model_id, {{"alias_arg", std::string(alias)}}, "getModelVersionByAlias"},
      [&](View& view) -> Result<VersionInfo> {
        ASSIGN_OR_RETURN(const StoredObject model, view.Model(model_id));
        for (const AliasInfo& info : model.record.aliases) {
          if (info.name != alias) continue;
          ASSIGN_OR_RETURN(const VersionRecord record, view.Version(model, info.version));
          ASSIGN_OR_RETURN(VersionInfo version, InfoFor(view, caller, model, info.version, record));
          if (record.has_description) {
            ASSIGN_OR_RETURN(version.comment, view.Description(model_id, info.version));
          }
          return version;
        }
        ASSIGN_OR_RETURN(const FullName name, view.NameOf(model));
        return Error(Code::kNotFound, fmt::format("{} has no alias {}", name.ToString(), Printable(alias)));
      });
}

Result<Page<VersionInfo>> EmbeddedRegistryImpl::ListVersions(const Caller& caller, ObjectId model_id,
                                                             const PageRequest& page) {
  const size_t limit = PageLimit(page);
  std::string begin = keys::Version(model_id, 0);
  if (!page.token.empty()) {
    ASSIGN_OR_RETURN(const std::string last, DecodePageToken(ListQuery(model_id), page.token));
    begin = keys::Version(model_id, ParseVersionNumber(last).value_or(0) + 1);
  }
  return Inspect(
      caller, Asked{Operation::kGet, model_id, {}, "listModelVersions"},
      [&](View& view) -> Result<Page<VersionInfo>> {
        ASSIGN_OR_RETURN(const StoredObject model, view.Model(model_id));
        const std::string end =
            keys::AfterPrefix(keys::Version(model_id, 0).substr(0, keys::Where(model_id).size()));
        ASSIGN_OR_RETURN(const std::vector<KvEntry> entries, view.snapshot().Range(begin, end, limit + 1));
        Page<VersionInfo> answer;
        for (const KvEntry& entry : entries) {
          if (answer.items.size() == limit) {
            answer.next_token =
                EncodePageToken(ListQuery(model_id), std::to_string(answer.items.back().number));
            break;
          }
          const VersionNumber number = keys::SecondNumber(entry.key);
          ASSIGN_OR_RETURN(
              const VersionRecord record,
              VersionRecord::Decode(entry.value, fmt::format("{} version {}", model.name, number)));
          ASSIGN_OR_RETURN(VersionInfo info, InfoFor(view, caller, model, number, record));
          answer.items.push_back(std::move(info));
        }
        return answer;
      });
}

Status EmbeddedRegistryImpl::DeleteVersion(const Caller& caller, ObjectId model_id, VersionNumber number) {
  const Asked asked{Operation::kDeleteVersion, model_id, {{"version_arg", std::to_string(number)}}};
  return Mutate(caller, asked, [&](Change& change) -> Status {
    ASSIGN_OR_RETURN(StoredObject model, change.Model(model_id));
    ASSIGN_OR_RETURN(const FullName name, change.NameOf(model));
    ASSIGN_OR_RETURN(const VersionRecord record, change.Version(model, number));
    const std::vector<AliasInfo> gone = AliasesOf(model.record, number);
    ASSIGN_OR_RETURN(const Rules rules, RulesFor(change, model));
    for (const AliasInfo& alias : gone) {
      if (rules.protected_aliases.count(FoldCase(alias.name)) == 0) continue;
      return Error(Code::kFailedPrecondition,
                   fmt::format("{} version {} has the protected alias {}; move the alias first",
                               name.ToString(), number, alias.name));
    }
    change.SetReserve(Reserve::kPart);
    std::erase_if(model.record.aliases, [&](const AliasInfo& alias) { return alias.version == number; });
    if (model.record.children > 0) --model.record.children;
    if (model.record.latest_ready == number) {
      ASSIGN_OR_RETURN(const std::optional<NumberedVersion> latest, change.ReadyBelow(model, number));
      model.record.latest_ready = latest ? latest->number : 0;
    }
    change.TouchObject(model);
    change.Delete(keys::Version(model_id, number));
    change.Delete(keys::VersionWhere(record.id));
    if (record.status == VersionStatus::kPending) change.Delete(keys::Pending(model_id, number));
    if (record.has_description) change.Delete(keys::Description(model_id, number));
    ASSIGN_OR_RETURN(const auto tags, change.Tags(model_id, number));
    for (const auto& [key, value] : tags) change.Delete(keys::Tag(model_id, number, key));
    Change::Params params{{"full_name_arg", name.ToString()}, {"version_arg", std::to_string(number)}};
    std::vector<std::string> gone_names;
    for (const AliasInfo& alias : gone) {
      std::string& list = params["aliases"];
      list += (list.empty() ? "" : ",") + alias.name;
      gone_names.push_back(alias.name);
    }
    change.Audit("deleteModelVersion", name, model_id, std::move(params));
    TellVersion(change, EventKind::kVersionDeleted, model, number, record.id);
    change.event().aliases = std::move(gone_names);
    return OkStatus();
  });
}

Result<VersionInfo> EmbeddedRegistryImpl::CopyVersion(const Caller& caller, ObjectId source_id,
                                                      VersionNumber number, ObjectId destination_id) {
  Asked asked{Operation::kCreateVersion, destination_id};
  return MutateCopy(caller, asked, source_id, number, destination_id,
                    [&](Change& change, CopiedTimes& times) -> Result<VersionInfo> {
                      ASSIGN_OR_RETURN(const StoredObject source, change.Model(source_id));
                      ASSIGN_OR_RETURN(const FullName source_name, change.NameOf(source));
                      asked.params["source"] = fmt::format("models:/{}/{}", source_name.ToString(), number);
                      ASSIGN_OR_RETURN(StoredObject destination, change.Model(destination_id));
                      return AddCopy(change, source, number, destination, std::nullopt, times);
                    });
}

Result<VersionInfo> EmbeddedRegistryImpl::AddCopy(Change& change, const StoredObject& source,
                                                  VersionNumber number, StoredObject& destination,
                                                  std::optional<VersionNumber> kept, CopiedTimes& times) {
  const ObjectId source_id = source.record.id;
  RETURN_IF_ERROR(authorizer_.Check(change, change.caller(), Operation::kReadFiles, source_id));
  ASSIGN_OR_RETURN(const FullName source_name, change.NameOf(source));
  // The commit expects that it still exists: until then it keeps the tree from a sweep.
  ASSIGN_OR_RETURN(VersionRecord record, change.Version(source, number));
  if (record.status != VersionStatus::kReady) {
    return Error(Code::kFailedPrecondition,
                 fmt::format("{} version {} is {}; only a READY version can be copied",
                             source_name.ToString(), number, StatusName(record.status)));
  }
  ASSIGN_OR_RETURN(const FullName name, change.NameOf(destination));
  RETURN_IF_ERROR(CheckSignaturePolicy(change, destination, record.signature));
  NewVersion fields;
  fields.source = fmt::format("models:/{}/{}", source_name.ToString(), number);
  fields.run_id = record.run_id;
  if (record.has_description) {
    ASSIGN_OR_RETURN(fields.comment, change.Description(source_id, number));
  }
  ASSIGN_OR_RETURN(fields.tags, change.Tags(source_id, number));
  ASSIGN_OR_RETURN(record.commit, DecideCopy(change, record, destination, times));
  ASSIGN_OR_RETURN(record.id, change.NextVersionId());
  ASSIGN_OR_RETURN(const VersionNumber copied, AddVersion(change, destination, record, fields, kept));
  AuditCreation(change, name, destination.record.id, copied, record, fields);
  TellVersion(change, EventKind::kVersionReady, destination, copied, record.id);
  ASSIGN_OR_RETURN(VersionInfo info, InfoOf(change, destination, copied, record));
  info.comment = fields.comment;
  return info;
}

}  // namespace modelfs::store
