// The caller of a registry call: a principal, the proof of its identity, and its request. An edge makes it
// from something that was proved, never from something that was claimed.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cas/base/clock.h"

namespace modelfs::store {

enum class Proof {
  kProcess,     // the process itself: its uid, by getuid(2)
  kMount,       // the kernel's word in a FUSE request
  kUnixSocket,  // SO_PEERCRED
  kToken,       // a bearer token
};
std::string_view ProofName(Proof proof);  // "process", "mount", "unix_socket", "token"; else "unknown"

// The right to do the registry's own work: it reads everything, and changes nothing in anyone's name. Only
// the process that opened the engine can make one (EmbeddedRegistry::ForUpkeep). No bytes are decoded into
// one, so a client, a mount of a remote registry or a request never has it.
class Upkeep {
 public:
  Upkeep(const Upkeep& /*other*/) {}  // not trivial: std::bit_cast makes none either
  Upkeep& operator=(const Upkeep&) { return *this; }
  ~Upkeep() = default;

 private:
  friend class EmbeddedRegistry;
  Upkeep() {}
};

// The right of a mount to speak for users of this host, on the kernel's word. The registry grants and records
// it (EmbeddedRegistry::AdmitMount); a caller of a mount without one is refused.
class Speaker {
 public:
  enum class For : uint8_t { kOwner, kLocalUsers };

  const std::string& name() const { return *name_; }  // the mount as a principal: "mount /models"
  bool MaySpeakFor(uid_t uid) const { return speaks_for_ == For::kLocalUsers || uid == owner_; }

 private:
  friend class EmbeddedRegistry;
  Speaker(std::string name, For speaks_for, uid_t owner)
      : name_(std::make_shared<const std::string>(std::move(name))), speaks_for_(speaks_for), owner_(owner) {}

  std::shared_ptr<const std::string> name_;
  For speaks_for_;
  uid_t owner_;
};

// A front end's intention with an object that it has to look up first. If the look-up is refused, the audit
// log records the intention as refused, not the look-up.
struct Intent {
  std::string action = {};                         // as the audit log names it (store/actions.h)
  std::map<std::string, std::string> params = {};  // beside the object's name
  std::string full_name = {};                      // of the object; empty: of the object that is looked up
};

struct Caller {
  // --- the principal ---
  std::string principal;            // the user's name; "uid:1234" if the host has none
  std::vector<std::string> groups;  // names of the host's groups it is in
  // Many uids have the name: a range or the default of an identity map gave it to this one. So it is never a
  // metastore admin's.
  bool shared_name = false;

  // --- credential ---
  uid_t uid = 0;                        // of the process or the kernel's request
  Proof proof = Proof::kProcess;        // what the edge checked
  std::optional<Speaker> speaker = {};  // the mount that speaks for the principal
  std::string run_by;                   // the metastore admin that acts in the principal's name; else empty
  std::optional<Upkeep> upkeep = {};    // the registry's own work
  bool IsUpkeep() const { return upkeep.has_value(); }

  // --- the request ---
  std::string door;        // "cli", "mount /models": for the audit record
  std::string request_id;  // travels through logs and audit
  // A call does not wait for other callers or another host beyond this: kBusy, or kDeadlineExceeded.
  Deadline deadline = Deadline::Never();
  // Requested once the caller has given up: a change that waits for others then ends with kCancelled.
  std::stop_token stop = {};
  std::optional<Intent> intent = {};
};

}  // namespace modelfs::store
