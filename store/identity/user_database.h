// The host's database of users and groups (nsswitch.conf), behind an interface so that tests can have users
// of their own.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace modelfs::store {

// Thread-safe; may ask a network service.
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
  // The spellings in the host's own files of the users and groups that have the name `folded`, without regard
  // to case. Names that only a network service knows are left out: it would have to list all of its users.
  virtual std::vector<std::string> UserSpellings(const std::string& folded) = 0;
  virtual std::vector<std::string> GroupSpellings(const std::string& folded) = 0;
  // Changes when the database may give other answers than before, as far as the host's own files show. A
  // change in a network service is not seen.
  virtual uint64_t Stamp() = 0;
};

// getpwuid_r(3) and its kin. Lives for the whole process.
UserDatabase& HostUserDatabase();

}  // namespace modelfs::store
