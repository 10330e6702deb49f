#include "tools/settings.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "cas/base/text.h"
#include "store/registry_json.h"

namespace modelfs::tools {
namespace {

constexpr std::string_view kSignature = "signature";
constexpr std::string_view kProtectedAlias = "protected-alias.";
constexpr std::string_view kMaxModels = "max-models";
constexpr std::string_view kMaxVersions = "max-versions";

Error UnknownKey(std::string_view key) {
  return Error(Code::kInvalidArgument,
               fmt::format("\"{}\" is not a setting; the settings are {}, {}ALIAS, {} and {}",
                           Printable(key.substr(0, kNameMaxBytes)), kSignature, kProtectedAlias, kMaxModels,
                           kMaxVersions));
}

// nullopt if `key` is not "protected-alias.<Alias>".
Result<std::optional<std::string>> ProtectedAlias(std::string_view key) {
  if (!key.starts_with(kProtectedAlias)) return std::optional<std::string>();
  const std::string_view alias = key.substr(kProtectedAlias.size());
  RETURN_IF_ERROR(store::CheckAliasName(alias));
  return std::optional(std::string(alias));
}

// The limit that a key names; nullptr for another key.
std::optional<uint64_t>* LimitOf(std::string_view key, store::ContainerSettings& settings) {
  if (key == kMaxModels) return &settings.max_models;
  if (key == kMaxVersions) return &settings.max_versions;
  return nullptr;
}

}  // namespace

bool HasSettings(const store::ObjectInfo& object) {
  const bool container =
      object.kind == store::ObjectKind::kCatalog || object.kind == store::ObjectKind::kSchema;
  return container && !object.browse_only;
}

std::vector<std::pair<std::string, std::string>> SettingsList(const store::ContainerSettings& settings) {
  std::vector<std::pair<std::string, std::string>> list;
  if (settings.signature_required)
    list.emplace_back(kSignature, store::SignatureField(*settings.signature_required));
  for (const auto& alias : settings.protected_aliases) {
    list.emplace_back(fmt::format("{}{}", kProtectedAlias, alias.first), alias.second);
  }
  if (settings.max_models) list.emplace_back(kMaxModels, std::to_string(*settings.max_models));
  if (settings.max_versions) list.emplace_back(kMaxVersions, std::to_string(*settings.max_versions));
  return list;
}

std::vector<std::string> RuleLines(const store::ObjectInfo& container, const store::ContainerSettings& set,
                                   const std::vector<store::EffectiveSettings>& effective) {
  std::vector<std::string> lines;
  std::vector<std::pair<std::string, std::string>> holding;
  std::vector<std::string> from_elsewhere;
  for (const store::EffectiveSettings& place : effective) {
    auto list = SettingsList(place.settings);
    if (place.from == container.full_name) {
      holding = std::move(list);
      continue;
    }
    const std::string from =
        place.from_kind == store::ObjectKind::kMetastore
            ? "the registry"
            : fmt::format("{} {}", store::KindName(place.from_kind), place.from.ToString());
    for (const auto& each : list) {
      from_elsewhere.push_back(fmt::format("{} = {} (from {})", each.first, each.second, from));
    }
  }
  for (const auto& each : SettingsList(set)) {
    const bool holds = std::find(holding.begin(), holding.end(), each) != holding.end();
    lines.push_back(
        fmt::format("{} = {}{}", each.first, each.second, holds ? "" : " (a stricter rule applies)"));
  }
  lines.insert(lines.end(), from_elsewhere.begin(), from_elsewhere.end());
  return lines;
}

Status ApplySetting(std::string_view key, std::string_view value, store::ContainerSettings& settings) {
  const auto refuse = [&](std::string_view possible) {
    return Error(Code::kInvalidArgument, fmt::format("{} cannot be \"{}\"; it must be {}", key,
                                                     Printable(value.substr(0, kNameMaxBytes)), possible));
  };
  if (key == kSignature) {
    if (value != store::SignatureField(true) && value != store::SignatureField(false)) {
      return refuse("required or if-mlmodel");
    }
    settings.signature_required = value == store::SignatureField(true);
    return OkStatus();
  }
  if (std::optional<uint64_t>* limit = LimitOf(key, settings)) {
    uint64_t number = 0;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
    if (error != std::errc() || end != value.data() + value.size()) return refuse("a number, 0 or more");
    *limit = number;
    return OkStatus();
  }
  ASSIGN_OR_RETURN(const std::optional<std::string> alias, ProtectedAlias(key));
  if (!alias) return UnknownKey(key);
  RETURN_IF_ERROR(store::CheckPrincipalName(value));
  settings.protected_aliases[*alias] = value;
  return OkStatus();
}

Status RemoveSetting(std::string_view key, store::ContainerSettings& settings) {
  if (key == kSignature) {
    settings.signature_required.reset();
    return OkStatus();
  }
  if (std::optional<uint64_t>* limit = LimitOf(key, settings)) {
    limit->reset();
    return OkStatus();
  }
  ASSIGN_OR_RETURN(const std::optional<std::string> alias, ProtectedAlias(key));
  if (!alias) return UnknownKey(key);
  settings.protected_aliases.erase(*alias);
  return OkStatus();
}

}  // namespace modelfs::tools
