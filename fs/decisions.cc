#include "fs/decisions.h"

#include <utility>

namespace modelfs::fs {

Outcome<void> Permit(const Context& context, const Request& request, store::Operation operation,
                     store::ObjectId object) {
  const Status allowed = context.registry->CheckAccess(request.caller, operation, object);
  if (allowed.ok()) return {};
  if (allowed.error().code() == Code::kPermissionDenied) {
    AuditDecision(context, request, operation, object, allowed);
  }
  return RefuseCaller(context, object, allowed.error());
}

bool May(const Context& context, const Request& request, store::Operation operation, store::ObjectId object) {
  return context.registry->CheckAccess(request.caller, operation, object).ok();
}

tl::unexpected<Refusal> RefuseCaller(const Context& context, store::ObjectId object, const Error& error) {
  if (error.code() != Code::kNotFound) return Refuse(error);
  const auto there = context.registry->Get(context.daemon, object);
  if (there.ok()) return Refuse(EACCES, error.message());
  // Who holds a nodeid of an object that is gone walks the path again on ESTALE.
  return there.error().code() == Code::kNotFound ? Refuse(ESTALE, there.error().message())
                                                 : Refuse(there.error());
}

void AuditDecision(const Context& context, const Request& request, store::Operation operation,
                   store::ObjectId object, const Status& decision,
                   std::map<std::string, std::string> params) {
  context.registry->RecordAudit(request.caller, operation, object, decision, std::move(params));
}

}  // namespace modelfs::fs
