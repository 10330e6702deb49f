// The source of a version, and the callers that may know it (reference §2.4, 24, and §8).
#include <fmt/core.h>

#include <map>
#include <nlohmann/json.hpp>

#include "cas/base/text.h"
#include "store/embedded/embedded_registry_impl.h"

namespace modelfs::store {
namespace {

// Parameters of the audit record of a version's creation.
constexpr std::string_view kSourceParam = "source";
constexpr std::string_view kSourceModelParam = "source_model_id";

// The most that the record shows of a tag's value; it shows the beginning of a longer value, and all keys.
constexpr size_t kMostShownValueBytes = 255;

std::string ShownTags(const std::map<std::string, std::string>& tags) {
  nlohmann::json shown = nlohmann::json::object();
  for (const auto& [key, value] : tags) {
    const bool cut = value.size() > kMostShownValueBytes;
    shown[key] = cut ? value.substr(0, kMostShownValueBytes) + "…" : value;
  }
  // A character that was cut in two is replaced.
  return shown.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string SourceText(const FullName& model, const ModelSpec& spec) {
  std::string text = "models:/" + model.ToString();
  if (const auto* number = std::get_if<VersionNumber>(&spec.version)) text += fmt::format("/{}", *number);
  if (const auto* alias = std::get_if<std::string>(&spec.version)) text += "@" + *alias;
  return text;
}

}  // namespace

// The model that a source names matters, whether a copy or a person wrote the source. It is read as of the
// snapshot, and the change does not rely on it. A name that is hidden from the writer is kept as text, like
// the name of an absent model: else masking it would reveal that the model exists.
Result<ObjectId> EmbeddedRegistryImpl::SourceModel(Snapshot& snapshot, const Caller& caller,
                                                   std::string_view source) {
  const std::optional<ModelSpec> spec = ParseModelSource(source);
  if (!spec) return ObjectId{0};
  View view(snapshot);
  ASSIGN_OR_RETURN(const std::optional<StoredObject> model, view.Find(spec->model));
  if (!model) return ObjectId{0};
  ASSIGN_OR_RETURN(const bool seen, authorizer_.May(view, caller, Operation::kSee, model->record.id));
  return seen ? model->record.id : ObjectId{0};
}

Result<std::optional<std::string>> EmbeddedRegistryImpl::SourceFor(View& view, const Caller& caller,
                                                                   const Source& source) {
  const std::optional<std::string> as_recorded = source.text;
  const std::optional<std::string> masked;
  const std::optional<ModelSpec> spec = ParseModelSource(source.text);
  if (!spec) return as_recorded;
  bool lost = false;
  if (source.model.value_or(0) != 0) {
    const Result<StoredObject> parent = view.Object(*source.model);
    if (parent.ok()) {
      ASSIGN_OR_RETURN(const bool seen, authorizer_.May(view, caller, Operation::kSee, *source.model));
      if (!seen) return masked;
      ASSIGN_OR_RETURN(const FullName name, view.NameOf(*parent));
      return std::optional(SourceText(name, *spec));
    }
    if (parent.error().code() != Code::kNotFound) return parent.error();
    lost = true;
  } else {
    // Known by its name only. Either the text named no model here when it was recorded, or the record is old,
    // and its parent may have been renamed or deleted since.
    const Result<ObjectInfo> seen = LookupIn(view, caller, spec->model);
    const bool unseen = !seen.ok() && (seen.error().code() == Code::kNotFound ||
                                       seen.error().code() == Code::kPermissionDenied);
    if (!seen.ok() && !unseen) return seen.error();
    lost = unseen && !source.model;
  }
  if (!lost) return as_recorded;
  ASSIGN_OR_RETURN(const bool may_know, MayKnowLostParent(view, caller, source.recorded));
  return may_know ? as_recorded : masked;
}

// The registry no longer knows which callers could see the parent. So only two see its name: a caller from
// which nothing here is hidden, and the one that recorded it.
Result<bool> EmbeddedRegistryImpl::MayKnowLostParent(View& view, const Caller& caller,
                                                     const Stamp& recorded) {
  if (caller.IsUpkeep()) return true;
  ASSIGN_OR_RETURN(const bool admin, IsAdmin(view, caller));
  return admin ? Result<bool>(true) : IsBy(view, recorded, caller);
}

Result<bool> EmbeddedRegistryImpl::IsBy(View& view, const Stamp& stamp, const Caller& caller) {
  if (FoldCase(stamp.by) != FoldCase(caller.principal)) return false;
  ASSIGN_OR_RETURN(const std::optional<PrincipalInfo> now, view.FindPrincipal(caller.principal));
  if (now && now->created_at_ms <= stamp.at_ms) return true;
  // The caller's record may be younger than the stamp, made by a GRANT for example. The stamp is still the
  // caller's, unless a principal of this name was deleted: then the name may have been another's. A group
  // makes no calls.
  if (now && now->kind == PrincipalKind::kGroup) return false;
  ASSIGN_OR_RETURN(const std::optional<KvEntry> burned, view.Peek(keys::Burned(FoldCase(caller.principal))));
  return !burned;
}

void EmbeddedRegistryImpl::AuditCreation(Change& change, const FullName& name, ObjectId model,
                                         VersionNumber number, const VersionRecord& record,
                                         const NewVersion& fields) {
  Change::Params params{{"full_name_arg", name.ToString()},
                        {"version_arg", std::to_string(number)},
                        {std::string(kSourceParam), record.source},
                        {"run_id", record.run_id},
                        {"status", std::string(StatusName(record.status))}};
  if (record.status == VersionStatus::kReady) params["tree"] = record.tree.ToString();
  if (record.source_model && ParseModelSource(record.source)) {
    params[std::string(kSourceModelParam)] = std::to_string(*record.source_model);
  }
  if (!fields.tags.empty()) params["tags"] = ShownTags(fields.tags);
  if (!fields.comment.empty()) params["comment_bytes"] = std::to_string(fields.comment.size());
  change.Audit("createModelVersion", name, model, std::move(params));
}

void EmbeddedRegistryImpl::AuditModelCopy(Change& change, const StoredObject& copy, const FullName& name,
                                          const StoredObject& source, const FullName& source_name,
                                          std::string_view comment,
                                          const std::map<std::string, std::string>& tags) {
  Change::Params params{{"name", copy.name},
                        {"comment_bytes", std::to_string(comment.size())},
                        {std::string(kSourceParam), SourceText(source_name, {source_name, {}})},
                        {std::string(kSourceModelParam), std::to_string(source.record.id)}};
  if (!tags.empty()) params["tags"] = ShownTags(tags);
  change.Audit("createRegisteredModel", name, copy.record.id, std::move(params));
}

Status EmbeddedRegistryImpl::MaskSource(View& view, const Caller& caller, AuditRecord& record) {
  const auto text = record.params.find(std::string(kSourceParam));
  if (text == record.params.end()) return OkStatus();
  Source source{text->second, std::nullopt, {record.time_ms, record.principal}};
  const auto model = record.params.find(std::string(kSourceModelParam));
  if (model != record.params.end()) source.model = ParseVersionNumber(model->second).value_or(0);
  ASSIGN_OR_RETURN(const std::optional<std::string> known, SourceFor(view, caller, source));
  if (known) return OkStatus();  // by the name that it had then
  text->second.clear();
  record.params.erase(std::string(kSourceModelParam));
  return OkStatus();
}

}  // namespace modelfs::store
