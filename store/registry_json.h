// Values of the registry as JSON. This is the one place that chooses their names and shapes: the commands'
// --json and the generated files of a mount print what is made here. docs/formats.md, "JSON", lists each
// object.
#pragma once

#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "cas/tree.h"
#include "store/audit_settings.h"
#include "store/governance.h"
#include "store/journal.h"
#include "store/types.h"

namespace modelfs::store {

using Json = nlohmann::ordered_json;
using Tags = std::map<std::string, std::string>;

// A catalog, schema, model, or the metastore. `registry` is the registry's id, and needed for the metastore
// only.
Json ObjectJson(const ObjectInfo& object, const Tags& tags, std::string_view registry = {});
Json VersionJson(const VersionInfo& version, const Tags& tags);
Json AliasJson(const AliasInfo& alias);
Json TagsJson(const Tags& tags);
Json FileJson(const cas::TreeEntry& entry);

// The version, run or place that a version came from. Needs what Registry::Lineage fills.
Json LineageJson(const VersionInfo& version);

Json PrincipalJson(const PrincipalInfo& principal);
// `on` is the kind of the object that the grants are listed for.
Json GrantJson(const GrantInfo& grant, ObjectKind on);

Json SettingsJson(const ContainerSettings& settings);
// One object for each place with settings in effect in the container.
Json EffectiveSettingsJson(const FullName& container, const std::vector<EffectiveSettings>& effective);

Json AuditSettingsJson(const AuditSettings& settings);
// A record as Unity Catalog delivers it (reference section 11), and our fields after its.
Json AuditJson(const AuditRecord& record);
// A record from Registry::Activity, which has no hashes.
Json ActivityJson(const AuditRecord& record);

// The word of a field for what its enumeration says.
std::string_view SourceField(PrincipalSource source);     // "registry", "host"
std::string_view PrincipalKindField(PrincipalKind kind);  // "user", "service_principal", "group"
std::string_view SignatureField(bool required);           // "required", "if-mlmodel"
std::string_view OpensField(AuditSettings::Opens opens);  // "counted", "each"

// JSON for people and programs. `indent` < 0: on one line. No line break follows. Characters that could drive
// a terminal are escaped (cas/base/json_text.h), and bytes that are not UTF-8 are replaced.
std::string JsonText(const Json& json, int indent);
// AuditJson on one line with every character as it is: what an audit file holds and is compared with.
std::string AuditFileText(const AuditRecord& record);

}  // namespace modelfs::store
