// Decisions of the registry about callers, cached while the registry does not change: most opens of a mount
// repeat a question.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_set>
#include <utility>

#include "cas/base/result.h"
#include "cas/base/thread.h"
#include "store/caller.h"
#include "store/governance.h"
#include "store/journal.h"
#include "store/operation.h"
#include "store/types.h"

namespace modelfs::fs {

// Thread-safe.
//
// Invariant: allowed_ holds answers that were read at revision_ or later. An acknowledged REVOKE has raised
// the registry's revision, so a question that is asked afterwards finds no older answer.
class Decisions {
 public:
  Decisions(store::Governance& governance, store::Journal& journal, store::Caller daemon)
      : governance_(governance), journal_(journal), daemon_(std::move(daemon)) {}

  // As Governance::CheckAccess. Only "yes" is cached: a GRANT is in force at once, and a refusal has its
  // sentence from the registry.
  Status Check(const store::Caller& caller, store::Operation operation, store::ObjectId object);

 private:
  store::Governance& governance_;
  store::Journal& journal_;
  const store::Caller daemon_;  // asks for the revision
  Mutex mu_;
  uint64_t revision_ GUARDED_BY(mu_) = 0;
  std::unordered_set<std::string> allowed_ GUARDED_BY(mu_);  // QuestionOf
};

}  // namespace modelfs::fs
