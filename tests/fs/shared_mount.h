// A shared mount and several users of one host, for tests: processes that really have those ids. The users
// exist only in a mount namespace that the test enters, where /etc/passwd and /etc/group are the test's own.
// The mount is in that namespace, too.
//
//   mfs-ann   60001   owns the test's models
//   mfs-bob   60002   a user
//   mfs-dora  60003   her primary group is mfs-science (60100)
//   mfs-sam   60004   mfs-science is one of his supplementary groups
//   mfs-eve   60005   has no grants
//   MFS-Carl  60006   the registry may spell his name otherwise
//   root              a user like the others
// A group mfs-gates (60200) has no members: a process that takes its gid is one. The metastore's admin is a
// name that no uid has.
#pragma once

#include <sys/types.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "cas/local/local_store.h"
#include "store/embedded/embedded_registry.h"
#include "store/identity/host_identities.h"
#include "store/kv/kv.h"
#include "tests/fs/mounted.h"

namespace modelfs::fs {

struct User {
  std::string name;
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups;  // supplementary
};
inline const User kAnn{"mfs-ann", 60001, 60001, {}};
inline const User kBob{"mfs-bob", 60002, 60002, {}};
inline const User kDora{"mfs-dora", 60003, 60100, {}};
inline const User kSam{"mfs-sam", 60004, 60004, {60100}};
inline const User kEve{"mfs-eve", 60005, 60005, {}};
inline const User kCarl{"MFS-Carl", 60006, 60006, {}};
inline const User kRootUser{"root", 0, 0, {}};
inline const std::string kScience = "mfs-science";
inline const std::string kGates = "mfs-gates";
inline constexpr gid_t kGatesId = 60200;

// Runs `work` in a process of that user and returns its result (0 to 255, as a rule an errno).
int As(const User& user, const std::function<int()>& work);

class SharedMount {
 public:
  // Create it before starting anything: it puts this process into a namespace with those users, and `more` of
  // them, each with a group of its own: mfs-1 (70001), mfs-2 (70002), …
  explicit SharedMount(size_t more = 0);
  ~SharedMount();

  Mounted& mounted() { return *mounted_; }
  const std::string& path() const { return mounted_->mount(); }

  // The registry as another process sees it; the caller is the admin.
  store::EmbeddedRegistry& registry() { return *registry_; }
  store::Caller admin() const;
  store::ObjectId Id(const std::string& dotted);
  void Grant(const std::string& dotted, const std::string& principal, store::PrivilegeSet privileges);
  void Revoke(const std::string& dotted, const std::string& principal, store::PrivilegeSet privileges);
  void GrantAll(const std::string& dotted, const std::vector<std::string>& principals,
                store::PrivilegeSet privileges);

  // Gives users other uids, as if an administrator replaced /etc/passwd.
  void Renumber(const std::map<std::string, uid_t>& uids);

  // As mfs-ann, by system calls: cat/sch/<name> with a version of MLmodel, run.sh and data/weights, and an
  // alias Champion. Everyone may pass through cat and cat/sch.
  std::string MakeModel(const std::string& name);

 private:
  std::unique_ptr<Mounted> mounted_;
  std::unique_ptr<store::Kv> kv_;
  std::unique_ptr<cas::LocalStore> blobs_;
  std::unique_ptr<store::HostIdentities> identities_;
  std::unique_ptr<store::EmbeddedRegistry> registry_;
};

// Waits until `condition` holds; returns false after a generous time.
bool Eventually(const std::function<bool()>& condition);

}  // namespace modelfs::fs
