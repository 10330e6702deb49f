#include "store/registry_json.h"

#include <fmt/core.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <utility>
#include <variant>

#include "cas/base/json_text.h"

namespace modelfs::store {
namespace {

// The parts of a full name, under the names that Unity Catalog's record of this kind has for them.
void AddNameParts(Json& json, const FullName& name, const char* leaf_field) {
  const size_t parts = name.parts.size();
  if (parts >= 1) json[parts == 1 ? leaf_field : "catalog_name"] = name.parts[0];
  if (parts >= 2) json[parts == 2 ? leaf_field : "schema_name"] = name.parts[1];
  if (parts >= 3) json[leaf_field] = name.parts[2];
}

// As the commands take it.
std::string NameOf(ObjectKind kind, const FullName& name) {
  return kind == ObjectKind::kMetastore ? std::string(KindName(kind)) : name.ToString();
}

// Unity Catalog's fields of a grant or setting that holds in an object and was made above it.
void AddInheritedFrom(Json& json, ObjectKind kind, const FullName& from) {
  json["inherited_from_type"] = KindName(kind);
  json["inherited_from_name"] = NameOf(kind, from);
}

Json AliasesJson(const std::vector<AliasInfo>& aliases) {
  Json json = Json::array();
  for (const AliasInfo& alias : aliases) json.push_back(AliasJson(alias));
  return json;
}

void AddTimes(Json& json, int64_t created_at_ms, const std::string& created_by, int64_t updated_at_ms,
              const std::string& updated_by) {
  json["created_at"] = created_at_ms;
  json["created_by"] = created_by;
  json["updated_at"] = updated_at_ms;
  json["updated_by"] = updated_by;
}

Json ParentJson(const ModelSpec& parent) {
  Json json{{"kind", "parent_version"}, {"full_name", parent.model.ToString()}};
  if (const auto* number = std::get_if<VersionNumber>(&parent.version)) {
    json["full_name"] = fmt::format("{}/{}", parent.model.ToString(), *number);
    json["version"] = *number;
  }
  return json;
}

// Bytes that are not UTF-8 may stand in an old record; they must not throw here.
std::string Dump(const Json& json, int indent) {
  return json.dump(indent, ' ', false, Json::error_handler_t::replace);
}

}  // namespace

Json AliasJson(const AliasInfo& alias) {
  return {{"kind", "alias"},
          {"alias_name", alias.name},
          {"version", alias.version},
          {"updated_at", alias.updated_at_ms}};
}

Json TagsJson(const Tags& tags) {
  Json json = Json::object();
  for (const auto& tag : tags) json[tag.first] = tag.second;
  return json;
}

Json ObjectJson(const ObjectInfo& object, const Tags& tags, std::string_view registry) {
  Json json = Json::object();
  json["kind"] = KindName(object.kind);
  AddNameParts(json, object.full_name, "name");
  if (object.kind == ObjectKind::kMetastore) json["name"] = KindName(object.kind);
  json["full_name"] = NameOf(object.kind, object.full_name);
  if (object.kind == ObjectKind::kMetastore) json["registry"] = registry;
  json["id"] = object.id;
  json["owner"] = object.owner;
  json["comment"] = object.comment;
  if (object.browse_only) json["browse_only"] = true;
  if (object.kind == ObjectKind::kModel) {
    json["aliases"] = AliasesJson(object.aliases);
    json["latest_version"] = object.latest_ready == 0 ? Json(nullptr) : Json(object.latest_ready);
  }
  json["tags"] = TagsJson(tags);
  AddTimes(json, object.created_at_ms, object.created_by, object.updated_at_ms, object.updated_by);
  return json;
}

Json VersionJson(const VersionInfo& version, const Tags& tags) {
  const bool ready = version.status == VersionStatus::kReady;
  Json json = Json::object();
  json["kind"] = "version";
  AddNameParts(json, version.model_name, "model_name");
  json["version"] = version.number;
  json["full_name"] = VersionName(version);
  json["id"] = version.id;
  json["status"] = StatusName(version.status);
  json["status_message"] = version.status_message;
  json["source"] = version.source;
  json["run_id"] = version.run_id;
  json["comment"] = version.comment;
  json["aliases"] = AliasesJson(version.aliases);
  json["tags"] = TagsJson(tags);
  json["signature"] = version.signature == Signature::kPresent;
  json["digest"] = ready ? Json(version.tree.ToString()) : Json(nullptr);
  json["size_bytes"] = ready ? Json(version.total_bytes) : Json(nullptr);
  json["file_count"] = ready ? Json(version.file_count) : Json(nullptr);
  AddTimes(json, version.created_at_ms, version.created_by, version.updated_at_ms, version.updated_by);
  return json;
}

Json FileJson(const cas::TreeEntry& entry) {
  if (entry.kind == cas::EntryKind::kEmptyDirectory) return {{"kind", "directory"}, {"path", entry.path}};
  return {{"kind", "file"},
          {"path", entry.path},
          {"size_bytes", entry.blob.size_bytes},
          {"executable", entry.executable},
          {"digest", entry.blob.ToString()}};
}

Json LineageJson(const VersionInfo& version) {
  Json upstream = Json::array();
  if (version.source_masked) {
    upstream.push_back(Json{{"kind", "parent_version"}, {"masked", true}});
  } else if (const auto parent = ParseModelSource(version.source)) {
    upstream.push_back(ParentJson(*parent));
  } else if (!version.source.empty()) {
    upstream.push_back(Json{{"kind", "source"}, {"uri", version.source}});
  }
  if (!version.run_id.empty()) upstream.push_back(Json{{"kind", "run"}, {"run_id", version.run_id}});
  return {{"kind", "lineage"},
          {"full_name", VersionName(version)},
          {"version", version.number},
          {"created_at", version.created_at_ms},
          {"created_by", version.created_by},
          {"upstream", std::move(upstream)}};
}

Json PrincipalJson(const PrincipalInfo& principal) {
  return {{"kind", PrincipalKindField(principal.kind)},
          {"name", principal.name},
          {"id", principal.id},
          {"source", SourceField(principal.source)},
          {"created_at", principal.created_at_ms},
          {"created_by", principal.created_by}};
}

Json GrantJson(const GrantInfo& grant, ObjectKind on) {
  Json privileges = Json::array();
  for (const Privilege each : grant.privileges.ToList()) privileges.push_back(PrivilegeName(each));
  Json json = {{"kind", "grant"},
               {"principal", grant.principal},
               {"principal_id", grant.principal_id},
               {"principal_kind", PrincipalKindField(grant.kind)},
               {"privileges", std::move(privileges)}};
  if (grant.from_kind != on) AddInheritedFrom(json, grant.from_kind, grant.from);
  return json;
}

Json SettingsJson(const ContainerSettings& settings) {
  Json json = Json::object();
  json["kind"] = "settings";
  if (settings.signature_required) json["signature"] = SignatureField(*settings.signature_required);
  if (!settings.protected_aliases.empty()) json["protected_aliases"] = TagsJson(settings.protected_aliases);
  if (settings.max_models) json["max_models"] = *settings.max_models;
  if (settings.max_versions) json["max_versions"] = *settings.max_versions;
  return json;
}

Json EffectiveSettingsJson(const FullName& container, const std::vector<EffectiveSettings>& effective) {
  Json list = Json::array();
  for (const EffectiveSettings& place : effective) {
    Json json = SettingsJson(place.settings);
    if (place.from != container) AddInheritedFrom(json, place.from_kind, place.from);
    list.push_back(std::move(json));
  }
  return list;
}

Json AuditSettingsJson(const AuditSettings& settings) {
  constexpr int64_t kSecondMs = 1000;
  return {{"kind", "audit_settings"},
          {"opens", OpensField(settings.opens)},
          {"rotate_size_bytes", settings.most_bytes},
          {"rotate_age_s", settings.longest_ms / kSecondMs}};
}

Json ActivityJson(const AuditRecord& record) {
  Json json = AuditJson(record);
  json.erase("previousHash");
  json.erase("hash");
  return json;
}

Json AuditJson(const AuditRecord& record) {
  const std::string& run_by = record.run_by.empty() ? record.principal : record.run_by;
  Json json;
  json["version"] = "2.0";
  json["timestamp"] = record.time_ms;
  json["serviceName"] = "unityCatalog";
  json["actionName"] = record.action;
  json["requestId"] = record.request_id;
  json["userIdentity"] = Json{{"email", record.principal}};
  json["identityMetadata"] = Json{{"runBy", run_by}, {"runAs", record.principal}};
  json["sourceIPAddress"] = nullptr;
  json["userAgent"] = record.door;
  json["requestParams"] = TagsJson(record.params);
  json["response"] = Json{{"statusCode", record.status},
                          {"errorMessage", record.error.empty() ? Json(nullptr) : Json(record.error)},
                          {"result", nullptr}};
  json["auditLevel"] = "ACCOUNT_LEVEL";
  json["fullName"] = record.full_name;
  json["objectId"] = record.object;
  json["sequence"] = record.sequence;
  json["previousHash"] = Digest{record.previous_hash, 0}.Hex();
  json["hash"] = Digest{record.hash, 0}.Hex();
  json["proof"] = ProofName(record.proof);
  return json;
}

std::string_view SourceField(PrincipalSource source) {
  return source == PrincipalSource::kHost ? "host" : "registry";
}

std::string_view PrincipalKindField(PrincipalKind kind) {
  return kind == PrincipalKind::kServicePrincipal ? "service_principal" : PrincipalKindName(kind);
}

std::string_view SignatureField(bool required) { return required ? "required" : "if-mlmodel"; }

std::string_view OpensField(AuditSettings::Opens opens) {
  return opens == AuditSettings::Opens::kEach ? "each" : "counted";
}

std::string JsonText(const Json& json, int indent) { return VisibleJson(Dump(json, indent)); }
std::string AuditFileText(const AuditRecord& record) { return Dump(AuditJson(record), -1); }

}  // namespace modelfs::store
