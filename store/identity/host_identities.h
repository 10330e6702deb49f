// Who the numbers are that the kernel names processes by: uid <-> user, gid <-> group, and which groups a
// user is in. Asked of the host's user database (nsswitch.conf), or of a mapping file, in front of it:
//
//   # who uses the mount
//   uid 1000 = ann@x.org
//   gid 100 = data-science
//   # uids that a cluster draws by chance, and every other one
//   uid 100000-165535 = batch
//   uid * = guests
//
// A uid's own line wins over a range, and a range over the default. A name by range or default is many
// uids' (Caller::shared_name), is never uid 0's, and is none of UidsOf's answers: whoever needs a number for
// each name asks IsShared.
//
// Where a mapping file is given, only what it maps exists. Who is in a mapped group is still said by the
// kernel (the request's gid) and by the user database (the supplementary groups of the uid's user there).
//
// Everything is asked again after kLifetimeMs, so that a change shows within the bound that a moved alias
// has; and when Generation rises, so that whoever works anew because it did, hears nothing of before.
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
#include "store/principal.h"

namespace spdlog {
class logger;
}

namespace modelfs::store {

// The host's user database. Thread-safe; may ask a network service.
class UserDatabase {
 public:
  struct User {
    std::string name;
    uid_t uid = 0;
    gid_t gid = 0;  // its primary group
  };
  struct Group {
    std::string name;
    gid_t gid = 0;
  };

  virtual ~UserDatabase() = default;
  virtual std::optional<User> UserOf(uid_t uid) = 0;
  virtual std::optional<User> UserNamed(const std::string& name) = 0;
  virtual std::optional<Group> GroupOf(gid_t gid) = 0;
  virtual std::optional<Group> GroupNamed(const std::string& name) = 0;
  virtual std::vector<gid_t> GroupsOf(const User& user) = 0;  // the primary group included
  // How the host's own files spell the users and groups whose name is `folded`, without regard to case. Of
  // those that only a network service knows nothing is told: it would have to be asked for all it has.
  virtual std::vector<std::string> UserSpellings(const std::string& folded) = 0;
  virtual std::vector<std::string> GroupSpellings(const std::string& folded) = 0;
  // Another number once it may answer otherwise than before, as far as the host's own files tell: what a
  // network service changes is not seen.
  virtual uint64_t Stamp() = 0;
};

// getpwuid_r(3) and its kin. Lives for the whole process.
UserDatabase& HostUserDatabase();

// Thread-safe. A call may wait for the user database, and holds no lock meanwhile.
class HostIdentities : public PrincipalDirectory {
 public:
  static constexpr int64_t kLifetimeMs = 1000;
  static constexpr int64_t kAbsenceMs = 600'000;
  static constexpr size_t kMostCached = 16'384;  // of each kind of answer, absence included

  struct Options {
    std::string map_file;                 // empty: the user database says it all
    UserDatabase* database = nullptr;     // HostUserDatabase() where it is null; outlives this
    const Clock* clock = nullptr;         // SystemClock() where it is null; outlives this
    std::shared_ptr<spdlog::logger> log;  // told of a mapping file that cannot be read again; may be null
  };

  // kInvalidArgument names file and line, or says that it is no regular file; kPermissionDenied where others
  // can write the mapping file or put another one in its place.
  static Result<std::unique_ptr<HostIdentities>> Open(Options options);
  ~HostIdentities() override;

  // A process with these ids: principal, groups and uid. The edge adds how that was proved.
  Caller CallerOf(uid_t uid, gid_t gid);
  // This process. `door` is for the audit record.
  Caller ProcessCaller(std::string door);

  // None where it is unknown; several where a mapping file says so, or where the host has names that differ
  // in case only. Names compare as principals do: found are, without a mapping file, the spelling that is
  // asked for, all in lower case, and those of UserDatabase's Spellings.
  std::vector<uid_t> UidsOf(std::string_view user);
  std::vector<gid_t> GidsOf(std::string_view group);
  // Whether a range of uids, or the default, has that name.
  bool IsShared(std::string_view user);
  // The users whose processes CallerOf calls by one of these names, in the order of the names: unlike
  // UidsOf's, none that has another name before this one. For very many names of which few are users: that a
  // name is nobody's is taken to hold until Generation rises, and for kAbsenceMs at the most.
  std::vector<uid_t> UidsCalled(const std::vector<std::string>& names);

  // Rises when ids may mean somebody else than before: the mapping file was read again, or the user
  // database's stamp moved. Whoever gave out ids and keeps them asks now and then.
  uint64_t Generation();

  std::optional<Found> Find(std::string_view name) override;
  std::vector<std::string> GroupsOf(std::string_view user) override;

 private:
  class Impl;
  explicit HostIdentities(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace modelfs::store
