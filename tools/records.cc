#include "tools/records.h"

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

namespace modelfs::tools {

using store::Json;
using store::Tags;

Result<Json> ObjectRecord(Session& session, const store::ObjectInfo& object) {
  ASSIGN_OR_RETURN(const Tags tags, session.registry->Tags(session.caller, {object.id, std::nullopt}));
  return ObjectRecord(session, object, tags);
}

Result<Json> ObjectRecord(Session& session, const store::ObjectInfo& object, const Tags& tags) {
  if (object.kind != store::ObjectKind::kMetastore) return store::ObjectJson(object, tags);
  ASSIGN_OR_RETURN(const store::RegistrySettings registry, session.registry->Settings(session.caller));
  return store::ObjectJson(object, tags, registry.id);
}

Result<Json> VersionRecord(Session& session, const store::VersionInfo& version) {
  ASSIGN_OR_RETURN(const Tags tags, session.registry->Tags(session.caller, {version.model, version.number}));
  return store::VersionJson(version, tags);
}

Result<Json> ListedRecord(Session& session, const store::ObjectInfo& item) {
  ASSIGN_OR_RETURN(const store::Description found,
                   session.registry->Describe(session.caller, {.object = item.id}));
  return ObjectRecord(session, found.object, found.tags);
}

Result<Json> ListedRecord(Session& session, const store::VersionInfo& item) {
  ASSIGN_OR_RETURN(
      const store::Description found,
      session.registry->Describe(session.caller, {.object = item.model, .version = item.number}));
  return store::VersionJson(*found.version, found.tags);
}

}  // namespace modelfs::tools
