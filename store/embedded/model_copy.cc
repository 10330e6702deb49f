// Copies of whole models. One commit makes the model, each version has a commit of its own, and the last
// commit sets the aliases. Until then a record beside the model lists the work that is left
// (ModelCopyRecord).
#include <fmt/core.h>

#include <algorithm>
#include <unordered_map>

#include "cas/base/fail_point.h"
#include "store/embedded/embedded_registry_impl.h"
#include "store/records/keys.h"

namespace modelfs::store {
namespace {

constexpr size_t kStep = 1000;

// Calls `visit(number, record)` for the READY versions of a model with numbers in [begin, end), in order.
template <typename Visit>
Status EachReadyVersion(View& view, const StoredObject& model, VersionNumber begin, VersionNumber end,
                        Visit visit) {
  std::string from = keys::Version(model.record.id, begin);
  const std::string to = keys::Version(model.record.id, std::max(begin, end));
  for (bool more = true; more;) {
    ASSIGN_OR_RETURN(const std::vector<KvEntry> entries, view.snapshot().Range(from, to, kStep));
    for (const KvEntry& entry : entries) {
      const VersionNumber number = keys::SecondNumber(entry.key);
      ASSIGN_OR_RETURN(const VersionRecord record,
                       VersionRecord::Decode(entry.value, fmt::format("{} version {}", model.name, number)));
      if (record.status == VersionStatus::kReady) RETURN_IF_ERROR(visit(number, record));
    }
    more = entries.size() == kStep;
    if (more) from = keys::After(entries.back().key);
  }
  return OkStatus();
}

// The versions of `source` that `destination` has copies of, each with the copy's tree.
Result<std::unordered_map<VersionNumber, Digest>> CopiesIn(View& view, const StoredObject& destination,
                                                           ObjectId source) {
  std::unordered_map<VersionNumber, Digest> copies;
  RETURN_IF_ERROR(EachReadyVersion(view, destination, 0, destination.record.next_version,
                                   [&](VersionNumber, const VersionRecord& record) -> Status {
                                     const std::optional<ModelSpec> from = ParseModelSource(record.source);
                                     if (!from || record.source_model != source) return OkStatus();
                                     const auto* number = std::get_if<VersionNumber>(&from->version);
                                     if (number != nullptr) copies[*number] = record.tree;
                                     return OkStatus();
                                   }));
  return copies;
}

Result<std::optional<ModelCopyRecord>> CopyUnderWay(View& view, ObjectId model) {
  ASSIGN_OR_RETURN(const std::optional<KvEntry> entry, view.Get(keys::CopyUnderWay(model)));
  if (!entry) return std::optional<ModelCopyRecord>();
  ASSIGN_OR_RETURN(ModelCopyRecord record,
                   ModelCopyRecord::Decode(entry->value, fmt::format("copy {}", model)));
  return std::optional<ModelCopyRecord>(std::move(record));
}

std::map<std::string, VersionNumber> AliasTargets(const ObjectRecord& model) {
  std::map<std::string, VersionNumber> targets;
  for (const AliasInfo& alias : model.aliases) targets[alias.name] = alias.version;
  return targets;
}

}  // namespace

Result<EmbeddedRegistryImpl::CopyPlan> EmbeddedRegistryImpl::PlanCopy(View& view, const Caller& caller,
                                                                      ObjectId source_id, ObjectId object) {
  ASSIGN_OR_RETURN(const StoredObject source, view.Model(source_id));
  ASSIGN_OR_RETURN(const FullName source_name, view.NameOf(source));
  if (object == source_id) {
    return Error(Code::kInvalidArgument,
                 fmt::format("{}: a model cannot be copied onto itself", source_name.ToString()));
  }
  ASSIGN_OR_RETURN(const StoredObject there, view.Object(object));
  const ObjectKind kind = there.record.kind;
  RETURN_IF_ERROR(authorizer_.Check(view, caller, CreateOperation(kind), object));
  RETURN_IF_ERROR(CheckRoomIn(view, there));
  CopyPlan plan;
  std::optional<ModelCopyRecord> begun;
  std::unordered_map<VersionNumber, Digest> copied;
  Rules rules;
  if (kind == ObjectKind::kModel) {
    plan.destination = there;
    ASSIGN_OR_RETURN(begun, CopyUnderWay(view, object));
    if (begun && begun->source != source_id) begun.reset();
    if (!begun) {
      ASSIGN_OR_RETURN(copied, CopiesIn(view, there, source_id));
    }
    ASSIGN_OR_RETURN(rules, RulesFor(view, there));
  } else {
    std::vector<ObjectId> containers;
    if (kind == ObjectKind::kSchema) containers.push_back(there.parent);
    if (kind != ObjectKind::kMetastore) containers.push_back(object);
    ASSIGN_OR_RETURN(rules, RulesIn(view, containers));
  }
  plan.whole = begun || !plan.destination;
  RETURN_IF_ERROR(EachReadyVersion(
      view, source, begun ? begun->done + 1 : 0, begun ? begun->end : source.record.next_version,
      [&](VersionNumber number, const VersionRecord& record) -> Status {
        const auto copy = copied.find(number);
        if (copy != copied.end() && copy->second == record.tree) return OkStatus();
        const Status signature = CheckSignaturePolicy(rules, record.signature);
        if (!signature.ok()) {
          return signature.error().Wrap(fmt::format("{} version {}", source_name.ToString(), number));
        }
        plan.versions.push_back(number);
        return OkStatus();
      }));
  const uint64_t present = plan.destination ? plan.destination->record.children : 0;
  if (rules.max_versions && present + plan.versions.size() > rules.max_versions->most) {
    view.NoteRefused({CreateOperation(kind), object});
    return Error(
        Code::kResourceExhausted,
        fmt::format("{} has {} versions to copy; with the {} that exist there the copy would have more "
                    "than {}, the limit that was set (max-versions)",
                    source_name.ToString(), plan.versions.size(), present, rules.max_versions->most));
  }
  if (!plan.whole) return plan;
  const auto aliases = begun ? begun->aliases : AliasTargets(source.record);
  if (!aliases.empty() && plan.destination) {
    RETURN_IF_ERROR(authorizer_.Check(view, caller, Operation::kSetAlias, object));
  }
  std::vector<std::string_view> names;
  for (const auto& [alias, version] : aliases) names.push_back(alias);
  RETURN_IF_ERROR(CheckProtected(view, caller, rules, names));
  return plan;
}

Result<EmbeddedRegistryImpl::CopyPlan> EmbeddedRegistryImpl::CheckedPlan(
    const Caller& caller, ObjectId source, ObjectId object, std::optional<std::string_view> leaf) {
  Asked asked{Operation::kReadFiles, source};
  Refused refused{asked.operation, asked.object};
  Result<CopyPlan> plan = TryInspect(
      caller, asked.operation, source,
      [&](View& view) -> Result<CopyPlan> {
        ObjectId destination = object;
        if (leaf) {
          const Result<StoredObject> child = view.Child(object, *leaf);
          if (!child.ok() && child.error().code() != Code::kNotFound) return child.error();
          if (child.ok()) destination = child->record.id;
        }
        return PlanCopy(view, caller, source, destination);
      },
      refused);
  // The caller is about to copy: a refusal is recorded as if it had tried.
  if (!plan.ok()) NoteFailure(Call::kChange, caller, asked, refused, plan.error());
  return plan;
}

Status EmbeddedRegistryImpl::CheckModelCopy(const Caller& caller, ObjectId source, ObjectId object) {
  const Result<CopyPlan> plan = CheckedPlan(caller, source, object, std::nullopt);
  return plan.ok() ? OkStatus() : Status(plan.error());
}

Result<ModelCopy> EmbeddedRegistryImpl::CopyModel(const Caller& caller, ObjectId source, ObjectId schema,
                                                  std::string_view leaf) {
  RETURN_IF_ERROR(CheckObjectName(leaf));
  ASSIGN_OR_RETURN(const CopyPlan plan, CheckedPlan(caller, source, schema, leaf));
  ObjectId destination = plan.destination ? plan.destination->record.id : kMetastoreId;
  if (!plan.destination) {
    const Result<ObjectId> made = BeginCopy(caller, source, schema, leaf);
    // Another caller made the model meanwhile: plan again.
    if (!made.ok() && made.error().code() == Code::kAlreadyExists) {
      return CopyModel(caller, source, schema, leaf);
    }
    if (!made.ok()) return made.error();
    destination = *made;
    FAIL_POINT("copy.begun");
  }
  ModelCopy done;
  done.made = plan.whole;
  for (const VersionNumber number : plan.versions) {
    ASSIGN_OR_RETURN(const std::optional<VersionNumber> copy,
                     CopyStep(caller, source, number, destination, plan.whole));
    if (copy) done.versions.push_back({number, *copy});
    FAIL_POINT("copy.version");
  }
  if (plan.whole) RETURN_IF_ERROR(FinishCopy(caller, destination));
  FAIL_POINT("copy.finished");
  ASSIGN_OR_RETURN(done.model, Get(caller, destination));
  return done;
}

Result<ObjectId> EmbeddedRegistryImpl::BeginCopy(const Caller& caller, ObjectId source_id, ObjectId schema,
                                                 std::string_view leaf) {
  const Asked asked{Operation::kCreateModel, schema, {{"name", std::string(leaf)}}};
  return Mutate(caller, asked, [&](Change& change) -> Result<ObjectId> {
    RETURN_IF_ERROR(authorizer_.Check(change, caller, Operation::kReadFiles, source_id));
    ASSIGN_OR_RETURN(const StoredObject source, change.Model(source_id));
    ASSIGN_OR_RETURN(const FullName source_name, change.NameOf(source));
    ASSIGN_OR_RETURN(const std::string comment, change.Description(source_id, 0));
    ASSIGN_OR_RETURN(const auto tags, change.Tags(source_id, 0));
    ASSIGN_OR_RETURN(StoredObject container, change.Object(schema));
    ASSIGN_OR_RETURN(FullName name, change.NameOf(container));
    name.parts.emplace_back(leaf);
    ASSIGN_OR_RETURN(const std::optional<KvEntry> taken, change.Get(keys::Object(schema, leaf)));
    if (taken) {
      return Error(Code::kAlreadyExists, fmt::format("{}: the model exists already", name.ToString()));
    }
    StoredObject copy;
    copy.parent = schema;
    copy.name = leaf;
    copy.record.kind = ObjectKind::kModel;
    // The numbers below are kept for the copies: other versions that are registered meanwhile come after
    // them.
    copy.record.next_version = source.record.next_version;
    RETURN_IF_ERROR(AddObject(change, container, copy, comment));
    for (const auto& [key, value] : tags) change.Put(keys::Tag(copy.record.id, 0, key), EncodeText(value));
    ModelCopyRecord begun;
    begun.source = source_id;
    begun.end = source.record.next_version;
    begun.aliases = AliasTargets(source.record);
    change.Put(keys::CopyUnderWay(copy.record.id), begun.Encode());
    AuditModelCopy(change, copy, name, source, source_name, comment, tags);
    return copy.record.id;
  });
}

Result<std::optional<VersionNumber>> EmbeddedRegistryImpl::CopyStep(const Caller& caller, ObjectId source_id,
                                                                    VersionNumber number,
                                                                    ObjectId destination_id, bool whole) {
  const Asked asked{Operation::kCreateVersion, destination_id};
  const std::optional<VersionNumber> nothing;
  const auto step = [&](Change& change, CopiedTimes& times) -> Result<std::optional<VersionNumber>> {
    ASSIGN_OR_RETURN(StoredObject destination, change.Model(destination_id));
    if (whole) {
      ASSIGN_OR_RETURN(std::optional<ModelCopyRecord> begun, CopyUnderWay(change, destination_id));
      if (!begun || number <= begun->done) return nothing;
      begun->done = number;
      change.Put(keys::CopyUnderWay(destination_id), begun->Encode());
    }
    ASSIGN_OR_RETURN(const StoredObject source, change.Model(source_id));
    ASSIGN_OR_RETURN(const std::optional<KvEntry> there, change.Get(keys::Version(source_id, number)));
    if (!there) {
      change.Clear();
      return nothing;
    }
    ASSIGN_OR_RETURN(const VersionInfo copy, AddCopy(change, source, number, destination,
                                                     whole ? std::optional(number) : nothing, times));
    return std::optional(copy.number);
  };
  return MutateCopy(caller, asked, source_id, number, destination_id, step);
}

Status EmbeddedRegistryImpl::FinishCopy(const Caller& caller, ObjectId destination_id) {
  return Mutate(caller, {Operation::kCreateVersion, destination_id}, [&](Change& change) -> Status {
    ASSIGN_OR_RETURN(StoredObject model, change.Model(destination_id));
    ASSIGN_OR_RETURN(const std::optional<ModelCopyRecord> begun, CopyUnderWay(change, destination_id));
    if (!begun) return OkStatus();
    change.Delete(keys::CopyUnderWay(destination_id));
    if (begun->aliases.empty()) return OkStatus();
    RETURN_IF_ERROR(authorizer_.Check(change, caller, Operation::kSetAlias, destination_id));
    std::vector<std::string> set;
    for (const auto& [alias, number] : begun->aliases) {
      ASSIGN_OR_RETURN(const std::optional<KvEntry> version,
                       change.Get(keys::Version(destination_id, number)));
      if (!version) continue;  // it was deleted before it was copied, or since
      const Result<MovedAlias> pointed = PointAlias(change, model, alias, number, AliasMode::kCreateOnly);
      if (pointed.ok()) set.push_back(alias);
      // The copy has an alias of this name already: leave it as it is.
      if (!pointed.ok() && pointed.error().code() != Code::kAlreadyExists) return pointed.error();
    }
    if (set.empty()) return OkStatus();
    change.Tell(EventKind::kAliasSet, model);
    change.event().aliases = std::move(set);
    return OkStatus();
  });
}

}  // namespace modelfs::store
