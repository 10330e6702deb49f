// Principals can hold a privilege or own something: users, service principals, groups, and `account users`,
// which contains everyone. A principal has an id that is never given again; its name only leads to the id. So
// a principal that was deleted and made again under the same name inherits nothing.
//
// Names compare without regard to case and are kept as they were first written (reference §2.3).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cas/base/result.h"

namespace modelfs::store {

using PrincipalId = uint64_t;
inline constexpr PrincipalId kNobodyId = 0;        // no principal; holds nothing
inline constexpr PrincipalId kAccountUsersId = 1;  // the group of every caller that has a name
inline constexpr std::string_view kAccountUsers = "account users";

// Limits: each is refused with kResourceExhausted (reference §5, "Identity").
inline constexpr size_t kMaxUsers = 10'000;  // users and service principals
inline constexpr size_t kMaxGroups = 5'000;
inline constexpr size_t kMaxMemberships = 1'500;  // direct, of one principal
inline constexpr size_t kMaxGroupNesting = 10;

enum class PrincipalKind : uint8_t { kUser = 1, kServicePrincipal = 2, kGroup = 3 };
std::string_view PrincipalKindName(PrincipalKind kind);  // "user", "service principal", "group"

// The origin of a principal, and for a group the place of its members.
enum class PrincipalSource : uint8_t {
  kRegistry = 1,  // made here; a group's members are recorded here
  kHost = 2,      // the host knows it; a group's members are the host's affair
};

struct PrincipalInfo {
  PrincipalId id = kNobodyId;
  PrincipalKind kind = PrincipalKind::kUser;
  PrincipalSource source = PrincipalSource::kRegistry;
  bool deleted = false;  // only the id and the name it had are still known
  std::string name;
  int64_t created_at_ms = 0;
  std::string created_by;
};

// 1 to 255 bytes of printable UTF-8 in NFC, without outer spaces. "uid:…" and "gid:…" are reserved for users
// and groups that have no name on the host. kInvalidArgument says which rule.
Status CheckPrincipalName(std::string_view name);

// True for "uid:1234", a user that has no name on the host and no rights here, and for "".
bool IsNobody(std::string_view principal);

// Names outside of the registry: the host's users and groups (store/identity/host_identities.h). Thread-safe.
// May query a network service; no caller holds a lock across a call.
class PrincipalDirectory {
 public:
  virtual ~PrincipalDirectory() = default;
  // A user or group of that name; the user if both exist. The name compares as principals do.
  struct Found {
    std::string name;  // as the host writes it
    PrincipalKind kind = PrincipalKind::kUser;
  };
  virtual std::optional<Found> Find(std::string_view name) = 0;
  // The names of the host's groups that a user is in; empty if the host has no such user.
  virtual std::vector<std::string> GroupsOf(std::string_view user) = 0;
};

}  // namespace modelfs::store
