#include "tools/session.h"

#include <fmt/core.h>

#include <optional>
#include <utility>
#include <variant>

#include "cas/base/text.h"
#include "store/actions.h"

namespace modelfs::tools {
namespace {

store::Caller CallerWith(const Session& session, const store::Intent& intent) {
  store::Caller caller = session.caller;
  if (!intent.action.empty()) caller.intent = intent;
  return caller;
}

}  // namespace

store::Intent ToAsk(store::Operation operation, const Place& place,
                    std::map<std::string, std::string> params) {
  store::Intent intent;
  intent.action = store::ActionOf(operation, static_cast<store::ObjectKind>(place.name.parts.size()));
  if (place.HasVersion()) {
    using store::Operation;
    if (operation == Operation::kGet) intent.action = "getModelVersion";
    if (operation == Operation::kTag) intent.action = "setModelVersionTag";
    if (operation == Operation::kDescribe) intent.action = "updateModelVersion";
    if (operation == Operation::kDelete) intent.action = "deleteModelVersion";
  }
  intent.params = std::move(params);
  if (const auto* number = std::get_if<store::VersionNumber>(&place.version)) {
    intent.params.emplace("version_arg", std::to_string(*number));
  } else if (const auto* alias = std::get_if<std::string>(&place.version)) {
    intent.params.emplace("alias_arg", *alias);
  }
  return intent;
}

store::Intent ToRemove(store::Intent setting) {
  constexpr std::string_view kSet = "set";
  setting.action.replace(0, kSet.size(), "delete");
  return setting;
}

Result<store::ObjectInfo> FindObject(Session& session, const Place& place, const store::Intent& intent) {
  const store::Caller caller = CallerWith(session, intent);
  if (place.name.parts.empty()) return session.registry->Get(caller, store::kMetastoreId);
  return session.registry->Lookup(caller, place.name);
}

Result<store::Target> FindTarget(Session& session, const Place& place, const store::Intent& intent) {
  const auto* number = std::get_if<store::VersionNumber>(&place.version);
  if (place.HasVersion() && number == nullptr) {
    ASSIGN_OR_RETURN(const store::VersionInfo version, FindVersion(session, place, intent));
    return store::Target{version.model, version.number};
  }
  ASSIGN_OR_RETURN(const store::ObjectInfo object, FindObject(session, place, intent));
  // A number needs no lookup of the version: a caller that may tag it may not be allowed to see it.
  if (number != nullptr) return store::Target{object.id, *number};
  return store::Target{object.id, std::nullopt};
}

Result<store::VersionInfo> FindVersion(Session& session, const Place& place, store::Intent intent) {
  const std::string name = place.name.ToString();
  if (place.name.parts.size() != 3) {
    return Error(Code::kInvalidArgument,
                 fmt::format("\"{}\" names no version; write catalog.schema.model/3 or "
                             "catalog.schema.model@Alias",
                             name));
  }
  if (!place.HasVersion()) {
    return Error(Code::kInvalidArgument,
                 fmt::format("{} is a model; say which version: {}/3 or {}@Alias", name, name, name));
  }
  if (intent.action.empty()) intent = ToAsk(store::Operation::kGet, place);
  const store::Caller caller = CallerWith(session, intent);
  ASSIGN_OR_RETURN(const store::ObjectInfo model, session.registry->Lookup(caller, place.name));
  if (const auto* number = std::get_if<store::VersionNumber>(&place.version)) {
    return session.registry->GetVersion(caller, model.id, *number);
  }
  if (const auto* alias = std::get_if<std::string>(&place.version)) {
    return session.registry->ResolveAlias(caller, model.id, *alias);
  }
  if (model.latest_ready == 0) return Error(Code::kNotFound, fmt::format("{} has no READY version", name));
  return session.registry->GetVersion(caller, model.id, model.latest_ready);
}

}  // namespace modelfs::tools
