// The settings of catalogs and schemas as people write them: key and value.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cas/base/result.h"
#include "store/registry.h"
#include "tools/print/output.h"

namespace modelfs::tools {

// Catalogs and schemas have settings; who may only browse one is not told them.
bool HasSettings(const store::ObjectInfo& object);

// In the order: "signature", "protected-alias.<Alias>", "max-models", "max-versions"; those that are set.
std::vector<std::pair<std::string, std::string>> SettingsList(const store::ContainerSettings& settings);
// The same as an object: `signature`, `protected_aliases`, `max_models`, `max_versions`.
Json SettingsJson(const store::ContainerSettings& settings);

// What is set on a container, and what holds in it from elsewhere, a line each.
std::vector<std::string> RuleLines(const store::ObjectInfo& container, const store::ContainerSettings& set,
                                   const std::vector<store::EffectiveSettings>& effective);
// Objects as SettingsJson makes them; of another place also `inherited_from_type`, `inherited_from_name`.
Json EffectiveSettingsJson(const store::ObjectInfo& container,
                           const std::vector<store::EffectiveSettings>& effective);

// kInvalidArgument: no such key, or a value that it cannot have; says what there is.
Status ApplySetting(std::string_view key, std::string_view value, store::ContainerSettings& settings);
// kInvalidArgument: no such key. One that is not set: OK.
Status RemoveSetting(std::string_view key, store::ContainerSettings& settings);

}  // namespace modelfs::tools
