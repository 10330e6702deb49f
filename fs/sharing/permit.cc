#include "fs/sharing/permit.h"

#include <fmt/core.h>

#include <utility>

#include "cas/base/shell_word.h"
#include "fs/base/node_id.h"
#include "fs/base/tree_cache.h"
#include "fs/drafts/draft_table.h"
#include "fs/sharing/decisions.h"

namespace modelfs::fs {

Outcome<void> Permit(const Context& context, const Request& request, store::Operation operation,
                     store::ObjectId object, std::map<std::string, std::string> params) {
  const Status allowed = Decide(context, request, operation, object);
  if (allowed.ok()) return {};
  return Refused(context, request, operation, object, allowed, std::move(params));
}

Status Decide(const Context& context, const Request& request, store::Operation operation,
              store::ObjectId object) {
  if (context.decisions != nullptr) return context.decisions->Check(request.caller, operation, object);
  return context.governance->CheckAccess(request.caller, operation, object);
}

tl::unexpected<Refusal> Refused(const Context& context, const Request& request, store::Operation operation,
                                store::ObjectId object, const Status& decision,
                                std::map<std::string, std::string> params) {
  if (decision.error().code() == Code::kPermissionDenied) {
    AuditDecision(context, request, operation, object, decision, std::move(params));
  }
  return RefuseCaller(context, object, decision.error());
}

bool May(const Context& context, const Request& request, store::Operation operation, store::ObjectId object) {
  return Decide(context, request, operation, object).ok();
}

Outcome<void> PermitNumbers(const Context& context, const Request& request, store::ObjectId model) {
  if (May(context, request, store::Operation::kCreateVersion, model)) return {};
  return Permit(context, request, store::Operation::kGet, model);
}

bool MayKnowNumbers(const Context& context, const Request& request, store::ObjectId model) {
  return May(context, request, store::Operation::kCreateVersion, model) ||
         May(context, request, store::Operation::kGet, model);
}

bool MayKnowName(const Context& context, const Request& request, NodeId node) {
  const NodeParts parts = Parse(node);
  store::ObjectId object = parts.object;
  switch (parts.kind) {
    case NodeKind::kFixed:
    case NodeKind::kHeld:
      return true;
    case NodeKind::kObject:
    case NodeKind::kVersions:
    case NodeKind::kAliases:
    case NodeKind::kInfo:
      break;
    case NodeKind::kTree:
    case NodeKind::kAliasTree:
    case NodeKind::kAliasLink: {
      // The record is enough: a version has a name even if its files cannot be read.
      const auto version = context.registry->GetVersionById(context.daemon, parts.version);
      if (!version.ok()) return false;
      object = version->model;
      break;
    }
    case NodeKind::kDraft: {
      const DraftTable::RecordPtr record =
          context.draft_table != nullptr ? context.draft_table->Get(parts.draft) : nullptr;
      if (record == nullptr) return false;
      object = record->model;
      break;
    }
  }
  return May(context, request, store::Operation::kSee, object);
}

std::string ShownName(const Context& context, const Request& request, const store::ObjectInfo& object) {
  if (object.kind == store::ObjectKind::kMetastore) return "the registry";
  const bool told =
      object.kind != store::ObjectKind::kModel || May(context, request, store::Operation::kSee, object.id);
  return told ? object.full_name.ToString() : "this model";
}

std::string ShownName(const Context& context, const Request& request, const store::VersionInfo& version) {
  if (!May(context, request, store::Operation::kSee, version.model)) return "this version";
  if (MayKnowNumbers(context, request, version.model)) return store::VersionName(version);
  return fmt::format("this version of {}", version.model_name.ToString());
}

std::string ShownNumber(const Context& context, const Request& request, const store::VersionInfo& version) {
  return MayKnowNumbers(context, request, version.model) ? std::to_string(version.number) : "N";
}

std::string NeverChanges(std::string_view number) {
  return fmt::format(
      "a READY version never changes; make a draft of it with `cp -r versions/{} versions/draft`, change "
      "that, "
      "and `mv versions/draft versions/next`",
      number);
}

std::string HowToCopy(std::string_view from, std::string_view to) {
  return ShellCommand({"modelfs", "cp"}, {std::string(from), std::string(to)});
}

tl::unexpected<Refusal> RefuseCaller(const Context& context, store::ObjectId object, const Error& error) {
  if (error.code() != Code::kNotFound) return Refuse(error);
  const auto there = context.registry->Get(context.daemon, object);
  if (there.ok()) return Refuse(EACCES, error.message());
  // On ESTALE the kernel looks up the path of a deleted object again.
  return there.error().code() == Code::kNotFound ? Refuse(ESTALE, there.error().message())
                                                 : Refuse(there.error());
}

tl::unexpected<Refusal> RefuseCaller(const Context& context, const store::Target& target,
                                     const Error& error) {
  if (error.code() == Code::kNotFound && target.version) {
    const auto there = context.registry->GetVersion(context.daemon, target.object, *target.version);
    // Without its name: it was not asked whether the caller may see the version.
    if (!there.ok() && there.error().code() == Code::kNotFound)
      return Refuse(ESTALE, "this version was deleted");
  }
  return RefuseCaller(context, target.object, error);
}

void AuditDecision(const Context& context, const Request& request, store::Operation operation,
                   store::ObjectId object, const Status& decision,
                   std::map<std::string, std::string> params) {
  context.journal->RecordAudit(request.caller, operation, object, decision, std::move(params));
}

}  // namespace modelfs::fs
