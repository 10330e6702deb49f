// Names of the numbers in the kernel's requests: uid <-> user, gid <-> group, and the groups of a user. They
// come from the host's user database (nsswitch.conf), or from a mapping file in front of it:
//
//   # users of the mount
//   uid 1000 = ann@x.org
//   gid 100 = data-science
//   # uids that a cluster draws by chance, and every other one
//   uid 100000-165535 = batch
//   uid * = guests
//
// A uid's own line wins over a range, and a range over the default. A name by range or default belongs to
// many uids (Caller::shared_name), is never uid 0's, and UidsOf does not return them. A caller that needs a
// number for each name must check IsShared.
//
// With a mapping file, only the names that it maps exist. The members of a mapped group still come from the
// kernel (the request's gid) and from the user database (the supplementary groups of the uid's user there).
//
// Every answer is fetched again after kLifetimeMs, so that a change shows within the bound that a moved alias
// has. It is also fetched again when Generation rises, so that a caller that reacts to the rise gets nothing
// older.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cas/base/clock.h"
#include "cas/base/result.h"
#include "store/caller.h"
#include "store/identity/user_database.h"
#include "store/principal.h"

namespace spdlog {
class logger;
}

namespace modelfs::store {

// Thread-safe. A call may wait for the user database, and holds no lock meanwhile.
class HostIdentities : public PrincipalDirectory {
 public:
  static constexpr int64_t kLifetimeMs = 1000;
  static constexpr int64_t kAbsenceMs = 600'000;
  static constexpr size_t kMostCached = 16'384;  // of each kind of answer, absence included

  struct Options {
    std::string map_file;                 // empty: the user database has all names
    UserDatabase* database = nullptr;     // null: HostUserDatabase(); outlives this
    const Clock* clock = nullptr;         // null: SystemClock(); outlives this
    std::shared_ptr<spdlog::logger> log;  // gets an error if a changed mapping file cannot be read; may be
                                          // null
  };

  // kInvalidArgument names file and line, or says that the file is not a regular one; kPermissionDenied if
  // others can write the mapping file or replace it.
  static Result<std::unique_ptr<HostIdentities>> Open(Options options);
  ~HostIdentities() override;

  // A process with these ids: principal, groups and uid. The front end adds how they were proved.
  Caller CallerOf(uid_t uid, gid_t gid);
  // This process. `door` is for the audit record.
  Caller ProcessCaller(std::string door);

  // Empty if the name is unknown; several if a mapping file says so, or if the host has names that differ in
  // case only. Names compare as principals do. Without a mapping file the spellings that are tried are the
  // given one, the one in lower case, and those of UserDatabase's Spellings.
  std::vector<uid_t> UidsOf(std::string_view user);
  std::vector<gid_t> GidsOf(std::string_view group);
  // Whether a range of uids, or the default, has that name.
  bool IsShared(std::string_view user);
  // The uids that CallerOf gives one of these names, in the order of the names. Unlike UidsOf, it leaves out
  // a uid with another name before this one. For very many names of which few are users: an unused name is
  // cached until Generation rises, and for at most kAbsenceMs.
  std::vector<uid_t> UidsCalled(const std::vector<std::string>& names);

  // Rises when ids may mean other users than before: the mapping file was read again, or the user database's
  // stamp changed. A caller that keeps ids checks it now and then.
  uint64_t Generation();

  std::optional<Found> Find(std::string_view name) override;
  std::vector<std::string> GroupsOf(std::string_view user) override;

 private:
  class Impl;
  explicit HostIdentities(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace modelfs::store
