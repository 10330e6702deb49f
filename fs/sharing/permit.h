// Questions of the mount to the registry about a caller, before it opens, lists or shows something. They give
// the exact answer behind the kernel's outer bound (fs/sharing/posix_acl.h). A change needs no question here,
// because the registry's own call decides.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "fs/base/context.h"
#include "fs/base/node_id.h"
#include "fs/base/zone.h"
#include "store/operation.h"
#include "store/types.h"

namespace modelfs::fs {

// EACCES with the registry's sentence if the caller may not do it; `params` then describe the request in the
// audit log beside the object. ESTALE if the object is gone.
Outcome<void> Permit(const Context& context, const Request& request, store::Operation operation,
                     store::ObjectId object, std::map<std::string, std::string> params = {});

// The two halves of Permit, if `params` cost time: the decision, and the refusal that follows from a decision
// that is not OK.
Status Decide(const Context& context, const Request& request, store::Operation operation,
              store::ObjectId object);
tl::unexpected<Refusal> Refused(const Context& context, const Request& request, store::Operation operation,
                                store::ObjectId object, const Status& decision,
                                std::map<std::string, std::string> params);

// Whether Permit would allow it; for something that is shown in part.
bool May(const Context& context, const Request& request, store::Operation operation, store::ObjectId object);

// For an answer that shows the numbers of a model's versions. Callers that may read its metadata, or make its
// next version, may know them. As Permit, and as May.
Outcome<void> PermitNumbers(const Context& context, const Request& request, store::ObjectId model);
bool MayKnowNumbers(const Context& context, const Request& request, store::ObjectId model);

// Whether the caller may know the node's name: it must see the model that the node belongs to. An open file
// outlives that right, and renames of the model.
bool MayKnowName(const Context& context, const Request& request, NodeId node);

// The object's name in a sentence before any permission: "this model" for a caller that may not see it.
// (Catalogs and schemas keep their names, because a caller with the nodeid of one had its name.)
std::string ShownName(const Context& context, const Request& request, const store::ObjectInfo& object);
// Likewise the version's, as store::VersionName; without its number for a caller that may see the model, but
// no versions.
std::string ShownName(const Context& context, const Request& request, const store::VersionInfo& version);
// The version's number, or "N" for a caller that may not know it.
std::string ShownNumber(const Context& context, const Request& request, const store::VersionInfo& version);
// The refusal of a change in a READY version of that number.
std::string NeverChanges(std::string_view number);
// The command that copies a model, or one of its versions, by their names.
std::string HowToCopy(std::string_view from, std::string_view to);

// For an error of a registry call in the caller's name, about an object that has a name in the kernel: if the
// object is hidden from the caller, the refusal is EACCES and not ENOENT.
tl::unexpected<Refusal> RefuseCaller(const Context& context, store::ObjectId object, const Error& error);
// Likewise about a version; ESTALE if it was deleted meanwhile.
tl::unexpected<Refusal> RefuseCaller(const Context& context, const store::Target& target, const Error& error);

// Reports a decision of the mount to the audit log: an allowed or refused open, once for each handle, or
// another refusal. No other place does that.
void AuditDecision(const Context& context, const Request& request, store::Operation operation,
                   store::ObjectId object, const Status& decision,
                   std::map<std::string, std::string> params = {});

}  // namespace modelfs::fs
