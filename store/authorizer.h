// The one place that says who may do what. Every registry call asks here before it answers or changes
// anything; nothing else in the project decides about a caller.
#pragma once

#include "cas/base/result.h"
#include "store/caller.h"
#include "store/registry.h"

namespace modelfs::store {

enum class Operation {
  kUse,  // anything at all
  kRead,
  kCreateChild,
  kDelete,
  kRename,
  kSetOwner,
  kDescribe,
  kTag,
  kCreateVersion,
  kDeleteVersion,
  kSetAlias,
  kReadAudit,
  kLease,
  kReclaim,
};

// Immutable, hence thread-safe.
class Authorizer {
 public:
  explicit Authorizer(RegistrySettings settings) : settings_(std::move(settings)) {}

  // kPermissionDenied; the message says what would allow it. The rule at present: whoever made the registry
  // may do everything, nobody else anything, root included.
  Status Check(const Caller& caller, Operation operation, ObjectId object) const;

  const RegistrySettings& settings() const { return settings_; }

 private:
  RegistrySettings settings_;
};

}  // namespace modelfs::store
