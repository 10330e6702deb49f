// A shared mount and several users of one host, for tests: processes that really have those ids. The users
// exist only in a mount namespace that the test enters, in which /etc/passwd and /etc/group are the test's
// own, and so does the mount.
//
//   mfs-ann   60001   owns what is made here
//   mfs-bob   60002   a user
//   mfs-dora  60003   whose primary group is mfs-science (60100)
//   mfs-sam   60004   who has mfs-science as a supplementary group
//   mfs-eve   60005   whom nothing is granted to
//   MFS-Carl  60006   whom the registry may spell otherwise
//   root              like anybody else
// A group mfs-gates (60200) has no members: who runs as it is one.
// The metastore's admin is a name that no uid has.
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

// What `work` answers (0 to 255, as a rule an errno) in a process of that user.
int As(const User& user, const std::function<int()>& work);

class SharedMount {
 public:
  // Before anything is started: puts this process into a namespace with those users, and `more` of them, each
  // with a group of its own: mfs-1 (70001), mfs-2 (70002), …
  explicit SharedMount(size_t more = 0);
  ~SharedMount();

  Mounted& mounted() { return *mounted_; }
  const std::string& path() const { return mounted_->mount(); }

  // The registry as another process than the mount has it, with the admin's hand.
  store::Registry& registry() { return *registry_; }
  store::Caller admin() const;
  store::ObjectId Id(const std::string& dotted);
  void Grant(const std::string& dotted, const std::string& principal, store::PrivilegeSet privileges);
  void Revoke(const std::string& dotted, const std::string& principal, store::PrivilegeSet privileges);
  void GrantAll(const std::string& dotted, const std::vector<std::string>& principals,
                store::PrivilegeSet privileges);

  // Gives users other uids, as an administrator who replaces /etc/passwd.
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

// Until `condition` holds; false after a generous time.
bool Eventually(const std::function<bool()>& condition);

}  // namespace modelfs::fs
