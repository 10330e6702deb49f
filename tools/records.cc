#include "tools/records.h"

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

namespace modelfs::tools {

using store::Json;
using store::Tags;

Result<Json> ObjectRecord(Home& home, const store::ObjectInfo& object) {
  ASSIGN_OR_RETURN(const Tags tags, home.registry->Tags(home.caller, {object.id, std::nullopt}));
  return ObjectRecord(home, object, tags);
}

Result<Json> ObjectRecord(Home& home, const store::ObjectInfo& object, const Tags& tags) {
  if (object.kind != store::ObjectKind::kMetastore) return store::ObjectJson(object, tags);
  ASSIGN_OR_RETURN(const store::RegistrySettings registry, home.registry->Settings(home.caller));
  return store::ObjectJson(object, tags, registry.id);
}

Result<Json> VersionRecord(Home& home, const store::VersionInfo& version) {
  ASSIGN_OR_RETURN(const Tags tags, home.registry->Tags(home.caller, {version.model, version.number}));
  return store::VersionJson(version, tags);
}

Result<Json> ListedRecord(Home& home, const store::ObjectInfo& item) {
  ASSIGN_OR_RETURN(const store::Description found, home.registry->Describe(home.caller, {.object = item.id}));
  return ObjectRecord(home, found.object, found.tags);
}

Result<Json> ListedRecord(Home& home, const store::VersionInfo& item) {
  ASSIGN_OR_RETURN(const store::Description found,
                   home.registry->Describe(home.caller, {.object = item.model, .version = item.number}));
  return store::VersionJson(*found.version, found.tags);
}

}  // namespace modelfs::tools
