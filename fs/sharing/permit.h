// What the mount asks the registry about a caller before it opens, lists or shows something: the exact answer
// behind the kernel's outer bound (fs/sharing/posix_acl.h). Changes need no question here: the registry's own
// calls decide.
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

// EACCES with the registry's sentence, and a record in the audit log, in which `params` say what was asked
// for beside the object; ESTALE where the object is gone.
Outcome<void> Permit(const Context& context, const Request& request, store::Operation operation,
                     store::ObjectId object, std::map<std::string, std::string> params = {});

// The two halves of Permit, for a caller whose `params` cost time: the decision, and what follows from one
// that is not OK.
Status Decide(const Context& context, const Request& request, store::Operation operation,
              store::ObjectId object);
tl::unexpected<Refusal> Refused(const Context& context, const Request& request, store::Operation operation,
                                store::ObjectId object, const Status& decision,
                                std::map<std::string, std::string> params);

// Whether Permit would say yes; for what is shown in part.
bool May(const Context& context, const Request& request, store::Operation operation, store::ObjectId object);

// For what tells the numbers of a model's versions: they are for who may have its metadata, and for who makes
// the next one. As Permit, or whether that would say yes.
Outcome<void> PermitNumbers(const Context& context, const Request& request, store::ObjectId model);
bool MayKnowNumbers(const Context& context, const Request& request, store::ObjectId model);

// Whether the caller may be told what the node is called, which is for who may see the model that it belongs
// to: a file that was kept open outlives that, and renames.
bool MayKnowName(const Context& context, const Request& request, NodeId node);

// What a sentence that nothing was permitted for calls the object: "this model" to a caller who may not see
// it. (Catalogs and schemas keep their names: whoever has a nodeid of one had its name.)
std::string ShownName(const Context& context, const Request& request, const store::ObjectInfo& object);
// Likewise the version, as NameOf; and without its number to who may see the model, not its versions.
std::string ShownName(const Context& context, const Request& request, const store::VersionInfo& version);
// The version's number, and "N" to who may not know it.
std::string ShownNumber(const Context& context, const Request& request, const store::VersionInfo& version);
// What is said to who would change something in a READY version of that number.
std::string NeverChanges(std::string_view number);
// The command that copies a model, or one of its versions, by their names.
std::string HowToCopy(std::string_view from, std::string_view to);
// "prod.ml.iris/3", for whom it was permitted to see.
std::string NameOf(const store::VersionInfo& version);

// For what a registry call in the caller's name answered about an object whose name the kernel knows: what is
// hidden from the caller is then not absent but EACCES.
tl::unexpected<Refusal> RefuseCaller(const Context& context, store::ObjectId object, const Error& error);
// Likewise about a version, which is ESTALE where somebody has deleted it meanwhile.
tl::unexpected<Refusal> RefuseCaller(const Context& context, const store::Target& target, const Error& error);

// The mount's word to the audit log about what it decided itself: an open, let through or refused, once for
// each handle; or another refusal. The one place for it.
void AuditDecision(const Context& context, const Request& request, store::Operation operation,
                   store::ObjectId object, const Status& decision,
                   std::map<std::string, std::string> params = {});

}  // namespace modelfs::fs
