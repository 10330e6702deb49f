// The one place that says who may do what. Every registry call asks here, in the transaction or on the
// snapshot that it works on; nothing else in the project decides about a caller.
//
// What is worked out is kept for as long as the access epoch stands (store/records/keys.h): every change to
// principals, grants and owners writes that key, so a decision costs one read of it and two look-ups in
// memory. Inside a change the read is an expectation: a revoke that comes in between makes it start again.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "cas/base/result.h"
#include "cas/base/thread.h"
#include "store/access/operation_table.h"
#include "store/caller.h"
#include "store/records/change.h"
#include "store/registry.h"

namespace modelfs::store {

// Everyone that a caller is: itself, its groups, the groups they are in, `account users`.
struct Identity {
  uint64_t serial = 0;           // of this process, never given twice
  PrincipalId self = kNobodyId;  // kNobodyId where it has no record yet
  std::vector<PrincipalId> all;  // sorted
  bool refused_admin = false;    // nobody, since an admin's name is not shared (Caller::shared_name)
  bool Is(PrincipalId principal) const;
};

// What a decision about one caller and one object rests on.
struct Facts {
  ObjectKind kind = ObjectKind::kMetastore;
  bool admin = false;
  bool admin_way = false;  // an admin's way, who needs no gate but for bytes; where it is one's own: `admin`
  bool owner = false;
  bool container_owner = false;
  bool reach = false;        // the gates above the object
  bool in_reach = false;     // and, of a catalog or schema, its own: what lies in it can be reached
  bool owns_schema = false;  // of a model: its schema
  PrivilegeSet effective;    // on the object: granted there or above; ALL PRIVILEGES expanded
  PrivilegeSet on_schema;    // of a model: effective on its schema
};
// The rule of one row.
bool Allows(const OperationRow& row, const Facts& facts);

// Which children of a container a caller may see.
struct Visibility {
  bool all = false;                   // of those: also
  bool full = false;                  // with all their metadata, not only that they are there
  std::unordered_set<ObjectId> some;  // where not `all` or not `full`: those to be asked about one by one
};

struct Level;
struct Missing;

// Thread-safe.
class Authorizer {
 public:
  // `directory` may be null: then no host knows anybody. It outlives this.
  Authorizer(RegistrySettings settings, PrincipalDirectory* directory)
      : settings_(std::move(settings)), directory_(directory) {}

  // Whether a refusal may name the object where the caller may not see it: only where the caller named it.
  // Who came by its id, with a file that was kept open, say, is not told what it is called by now.
  enum class Named { kIfSeen, kByCaller };
  // kPermissionDenied: the message names what is missing and whom to ask, as far as the caller may know it.
  // kNotFound: no such object.
  Status Check(View& view, const Caller& caller, Operation operation, ObjectId object,
               Named named = Named::kIfSeen) const;
  // Whether the caller may see what has that name, or would see it: what is hidden and what is absent are
  // refused in the same words, but for what the caller itself holds there. OK says nothing of whether it is
  // there.
  Status CheckSeeByName(View& view, const Caller& caller, const FullName& name) const;
  // Whether the caller may learn what is in a container and what is not. kPermissionDenied, in words that
  // tell neither.
  Status CheckInside(View& view, const Caller& caller, ObjectId container) const;
  // Whether Check would say OK.
  Result<bool> May(View& view, const Caller& caller, Operation operation, ObjectId object) const;

  Result<std::shared_ptr<const Identity>> IdentityOf(View& view, const Caller& caller) const;
  // Of someone who is not asking: a user's groups of the host as the directory knows them.
  Result<Identity> IdentityOfPrincipal(View& view, const PrincipalInfo& principal) const;
  // Whether no child of the container, there or not, is hidden from the caller.
  Result<bool> SeesAllIn(View& view, const Caller& caller, ObjectId container) const;
  Result<Visibility> VisibleIn(View& view, const Caller& caller, ObjectId container) const;
  Result<ObjectAccess> AccessOf(View& view, ObjectId object) const;

  // The principal of a name, made where only the host knows it. kNotFound says how one is made.
  Result<PrincipalInfo> Ensure(Change& change, std::string_view name) const;
  // The caller's own principal, likewise. kPermissionDenied for nobody.
  Result<PrincipalId> EnsureSelf(Change& change, const Caller& caller) const;

  const RegistrySettings& settings() const { return settings_; }

 private:
  struct Cache {
    Revision epoch = 0;
    std::unordered_map<std::string, std::shared_ptr<const Identity>> identities;
    struct Question {
      uint64_t who = 0;  // an identity's serial
      ObjectId object = 0;
      bool operator==(const Question&) const = default;
    };
    struct Hash {
      size_t operator()(const Question& question) const;
    };
    std::unordered_map<Question, Facts, Hash> facts;
  };

  // The cache of the epoch that `view` is of, and nothing where a newer one has been started.
  Result<Revision> EpochOf(View& view) const;
  Result<std::shared_ptr<const Identity>> IdentityAt(View& view, Revision epoch, const Caller& caller) const;
  Result<Facts> FactsOf(View& view, const Caller& caller, ObjectId object) const;
  // Kept for as long as nobody is made or deleted.
  Result<std::shared_ptr<const Namesakes>> NamesakesIn(View& view) const;
  Identity Nobody() const;
  Result<Identity> IdentityOfCaller(View& view, const Caller& caller) const;
  Result<Identity> ComputeIdentity(View& view, PrincipalId self,
                                   const std::vector<std::string>& groups) const;
  // kPermissionDenied for somebody who can hold no privilege, whatever is granted.
  Status CheckHasName(View& view, const Caller& caller) const;
  Result<Error> Refusal(View& view, const Caller& caller, const OperationRow& row,
                        const std::vector<Level>& levels, const FullName& name, bool told) const;
  Result<std::string> HowToGet(View& view, const Caller& caller, const std::vector<Level>& levels,
                               const std::vector<Missing>& missing, const FullName& name, bool told) const;

  const RegistrySettings settings_;
  mutable std::atomic<uint64_t> next_identity_{1};
  PrincipalDirectory* const directory_;
  mutable Mutex mu_;
  mutable Cache cache_ GUARDED_BY(mu_);
  mutable std::shared_ptr<const Namesakes> namesakes_ GUARDED_BY(mu_);
  mutable Revision namesakes_revision_ GUARDED_BY(mu_) = 0;  // of the counter of principals
};

}  // namespace modelfs::store
