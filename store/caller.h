// Who is asking. Every registry call carries one, made at the edge from something that was proved,
// never from something that was claimed.
#pragma once

#include <unistd.h>

#include <cstdint>
#include <map>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

namespace modelfs::store {

enum class Proof {
  kProcess,     // the process itself: its uid, by getuid(2)
  kMount,       // the kernel's word in a FUSE request
  kUnixSocket,  // SO_PEERCRED
  kToken,       // a bearer token
};
std::string_view ProofName(Proof proof);  // "process", "mount", "unix_socket", "token"; else "unknown"

// What a front end is about to ask of an object that it has to look up first. Where the look-up is refused,
// the audit log records this as refused, not the look-up.
struct Intent {
  std::string action = {};                         // as the audit log names it (store/audit/actions.h)
  std::map<std::string, std::string> params = {};  // beside the object's name
  std::string full_name = {};                      // of the object; empty: of what is looked up
};

struct Caller {
  // kUpkeep is the program itself: it reads everything, and changes nothing in anyone's name.
  enum class Role : uint8_t { kPrincipal, kUpkeep };

  std::string principal;            // the user's name; "uid:1234" where the host has none
  std::vector<std::string> groups;  // names of the host's groups it is in
  uid_t uid = 0;
  // Many uids have the name: a range or the default of an identity map gave it to this one. So it is never a
  // metastore admin's.
  bool shared_name = false;
  Role role = Role::kPrincipal;
  std::string run_by;  // who really acts, where a metastore admin acts in another's name; else empty
  Proof proof = Proof::kProcess;
  std::string door;        // "cli", "mount /models": for the audit record
  std::string request_id;  // travels through logs and audit
  // Requested once the one who asks has given up: a change that waits for others then ends with kCancelled.
  std::stop_token stop = {};
  std::optional<Intent> intent = {};
};

}  // namespace modelfs::store
