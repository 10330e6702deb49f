// The settings of catalogs and schemas as text: key and value.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cas/base/result.h"
#include "store/governance.h"

namespace modelfs::tools {

// True for catalogs and schemas. False if the caller may only browse the object, because its settings are
// then hidden.
bool HasSettings(const store::ObjectInfo& object);

// The settings that are set, in the order "signature", "protected-alias.<Alias>", "max-models",
// "max-versions".
std::vector<std::pair<std::string, std::string>> SettingsList(const store::ContainerSettings& settings);

// One line for each setting of the container itself and for each that it inherits.
std::vector<std::string> RuleLines(const store::ObjectInfo& container, const store::ContainerSettings& set,
                                   const std::vector<store::EffectiveSettings>& effective);

// kInvalidArgument: an unknown key, or an invalid value; the message lists the valid ones.
Status ApplySetting(std::string_view key, std::string_view value, store::ContainerSettings& settings);
// kInvalidArgument: an unknown key. OK if the key is not set.
Status RemoveSetting(std::string_view key, store::ContainerSettings& settings);

}  // namespace modelfs::tools
