// Decides whether a caller may do something. Every registry call asks here, in the transaction or on the
// snapshot that it works on. No other code decides about a caller.
//
// Decisions are cached for as long as the access epoch stands (store/records/keys.h). Every change to
// principals, grants and owners writes that key, so a decision costs one read of it and two look-ups in
// memory. Inside a change the read is an expectation: a revoke that comes in between makes the change start
// again.
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
#include "store/governance.h"
#include "store/records/change.h"

namespace modelfs::store {

// The principals that a caller acts as: itself, its groups, the groups they are in, `account users`.
struct Identity {
  uint64_t serial = 0;           // of this process, never given twice
  PrincipalId self = kNobodyId;  // kNobodyId if it has no record yet
  std::vector<PrincipalId> all;  // sorted
  bool refused_admin = false;    // holds nothing, because an admin's name is not shared (Caller::shared_name)
  bool Is(PrincipalId principal) const;
};

// The facts that decide about one caller and one object.
struct Facts {
  ObjectKind kind = ObjectKind::kMetastore;
  bool admin = false;
  bool admin_way = false;  // `admin` of the identity that opens the gates; an admin needs no gate except for
                           // bytes
  bool owner = false;
  bool container_owner = false;
  bool reach = false;        // the gates above the object
  bool in_reach = false;     // and, of a catalog or schema, its own: the caller can reach its children
  bool owns_schema = false;  // of a model: its schema
  PrivilegeSet effective;    // on the object: granted there or above; ALL PRIVILEGES expanded
  PrivilegeSet on_schema;    // of a model: effective on its schema
};
// The rule of one row.
bool Allows(const OperationRow& row, const Facts& facts);

// The children of a container that a caller may see.
struct Visibility {
  bool all = false;                   // every child
  bool full = false;                  // with all their metadata, not only that they exist
  std::unordered_set<ObjectId> some;  // children to check one by one, if not `all` or not `full`
};

struct Level;
struct Missing;

// Thread-safe.
class Authorizer {
 public:
  // `directory` may be null: then the host has no users and groups. It outlives this.
  Authorizer(RegistrySettings settings, PrincipalDirectory* directory)
      : settings_(std::move(settings)), directory_(directory) {}

  // Whether a refusal may name an object that the caller may not see: only if the caller itself named it. A
  // caller that came by the object's id, say with a file that it kept open, does not learn its present name.
  enum class Named { kIfSeen, kByCaller };
  // kPermissionDenied: the message names the missing privilege and the principals that can grant it, as far
  // as the caller may know them. kNotFound: no such object.
  Status Check(View& view, const Caller& caller, Operation operation, ObjectId object,
               Named named = Named::kIfSeen) const;
  // Whether the caller may see the object of that name, or could see one if it existed. A hidden object and
  // an absent one are refused in the same words, except that the words depend on the caller's own privileges
  // there. OK does not mean that the object exists.
  Status CheckSeeByName(View& view, const Caller& caller, const FullName& name) const;
  // Whether the caller may learn which children a container has. The words of kPermissionDenied do not depend
  // on the children.
  Status CheckInside(View& view, const Caller& caller, ObjectId container) const;
  // Whether Check would say OK.
  Result<bool> May(View& view, const Caller& caller, Operation operation, ObjectId object) const;

  Result<std::shared_ptr<const Identity>> IdentityOf(View& view, const Caller& caller) const;
  // The identity of a principal that makes no request; the directory gives a user's groups of the host.
  Result<Identity> IdentityOfPrincipal(View& view, const PrincipalInfo& principal) const;
  // Whether the caller could see every child of the container, whether it exists or not.
  Result<bool> SeesAllIn(View& view, const Caller& caller, ObjectId container) const;
  Result<Visibility> VisibleIn(View& view, const Caller& caller, ObjectId container) const;
  Result<ObjectAccess> AccessOf(View& view, ObjectId object) const;

  // The principal of a name; made here if only the host knows it. kNotFound says how to make one.
  Result<PrincipalInfo> Ensure(Change& change, std::string_view name) const;
  // The caller's own principal, likewise. kPermissionDenied for a caller without a name.
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

  // The epoch that `view` reads; 0 before the first change of access.
  Result<Revision> EpochOf(View& view) const;
  Result<std::shared_ptr<const Identity>> IdentityAt(View& view, Revision epoch, const Caller& caller) const;
  Result<Facts> FactsOf(View& view, const Caller& caller, ObjectId object) const;
  // Cached until a principal is made or deleted.
  Result<std::shared_ptr<const Namesakes>> NamesakesIn(View& view) const;
  Identity Nobody() const;
  Result<Identity> IdentityOfCaller(View& view, const Caller& caller) const;
  Result<Identity> ComputeIdentity(View& view, PrincipalId self,
                                   const std::vector<std::string>& groups) const;
  // kPermissionDenied for a caller that can hold no privilege, whatever is granted.
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
