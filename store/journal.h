// The journal: events, by which others follow the registry's changes, and the audit log.
//
// Thread-safe. Calls may wait for the disk. Errors that any call may return, besides its own: as Registry
// (store/registry.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "cas/base/clock.h"
#include "cas/base/digest.h"
#include "cas/base/result.h"
#include "store/caller.h"
#include "store/names.h"
#include "store/operation.h"
#include "store/types.h"

namespace modelfs::store {

// A change, in the order of commits. `revision` is the engine's own commit revision.
enum class EventKind : uint8_t {
  kCreated = 1,
  kUpdated,
  kRenamed,
  kDeleted,  // objects
  kVersionCreated,
  kVersionReady,
  kVersionFailed,
  kVersionUpdated,
  kVersionDeleted,
  kAliasSet,
  kAliasDeleted,
  kTagsChanged,
  kOther,
  kAccessChanged,      // grants on the object, or its owner: concerns everything below it too
  kPrincipalsChanged,  // principals or memberships: concerns everything
  kSettingsChanged,    // a container's settings
};
struct Event {
  uint64_t revision = 0;
  int64_t time_ms = 0;
  EventKind kind = EventKind::kOther;
  ObjectKind object_kind = ObjectKind::kMetastore;
  ObjectId object = 0;  // a model for version and alias events
  ObjectId parent = 0;  // the object's container
  std::string name;     // the object's leaf name; after the change for kRenamed
  // kRenamed: the leaf name before. kPrincipalsChanged: the name of a deleted principal, if one was deleted.
  std::string old_name;
  std::optional<VersionNumber> version;
  VersionId version_id = 0;
  std::vector<std::string> aliases;  // the aliases that were set, moved or removed
};

struct EventPage {
  std::vector<Event> events;
  uint64_t through = 0;  // the page ends here: continue after it, also if it has no event
};

// One line of the audit log. The chain: `hash` = SHA-256 over the record's encoding, which holds
// `previous_hash`. Format and field names: docs/formats.md.
struct AuditRecord {
  uint8_t format = 2;     // of its encoding, which the hash is over; 1 has no run_by, status and error
  uint64_t sequence = 0;  // 1, 2, 3, … without gaps
  int64_t time_ms = 0;
  std::string principal;
  std::string run_by;  // the admin that acted in the principal's name (`--as`); else empty
  Proof proof = Proof::kProcess;
  std::string door;
  std::string request_id;
  std::string action;     // "setRegisteredModelAlias", names as Unity Catalog's
  std::string full_name;  // "prod.ml.iris"
  ObjectId object = 0;
  std::map<std::string, std::string> params;
  bool change = true;     // made in the transaction of a change; else a question, or a refusal
  uint16_t status = 200;  // as an HTTP status: 200 done, 403 refused
  std::string error;      // the refusal's sentence
  Sha256 previous_hash{};
  Sha256 hash{};
};

// Selects the records of the audit log that pass every field that is set.
struct AuditQuery {
  uint64_t after_sequence = 0;            // a greater sequence
  uint64_t before_sequence = UINT64_MAX;  // a smaller one
  std::optional<int64_t> since_ms = {};   // at this time or later
  std::optional<int64_t> until_ms = {};   // before this time
  std::string principal = {};             // acted, or in its name; in any case of letters
  std::string action = {};
  // An object and its contents, under the names that they have or had; also a deleted one.
  std::string full_name = {};
  enum class Outcome : uint8_t { kAny, kRefused };
  Outcome outcome = Outcome::kAny;
  enum class Order : uint8_t { kOldestFirst, kNewestFirst };
  Order order = Order::kOldestFirst;
  size_t limit = 1000;
};

// The files of a version were opened for reading; Unity Catalog's word for handing out access to them.
inline constexpr std::string_view kOpenAction = "generateTemporaryModelVersionCredential";

// Ends when it is destroyed, before its registry.
class Subscription {
 public:
  virtual ~Subscription() = default;
};

class Journal {
 public:
  virtual ~Journal() = default;

  // --- events ---
  // The events after a revision, oldest first: of at most `limit` commits, those that the caller may know of.
  // - An event of an object that the caller may see is whole; without the right to its metadata it has no
  //   version and no aliases, and events of versions and aliases alone are left out.
  // - An event of any other object is left out, unless it may take away what the caller saw: then it comes
  //   without names. These are deletions, and changes of access and principals; of the object they have the
  //   id and the kind.
  // kOutOfRange if some are no longer kept (those of the last 100,000 revisions are): read the present state
  // and continue from CurrentRevision.
  virtual Result<EventPage> Events(const Caller& caller, uint64_t after_revision, size_t limit) = 0;
  virtual Result<uint64_t> CurrentRevision(const Caller& caller) = 0;
  // Calls `on_event` when an event after a revision exists, of any process and also one that the caller may
  // not know of, and again for later ones, until the subscription ends. Several events may be one call, and a
  // call may be for none: read Events. Calls come from a thread of the registry, which serves all
  // subscribers: they return soon, and end no subscription. Ending one waits for its call in progress.
  //   kResourceExhausted   the host starts no more threads
  virtual Result<std::unique_ptr<Subscription>> Watch(const Caller& caller, uint64_t after_revision,
                                                      std::function<void()> on_event) = 0;
  // Returns when Watch would call; at the deadline; or when stopped. Commits without an event, such as those
  // of leases, do not end it.
  virtual void WaitForChange(const Caller& caller, uint64_t after_revision, const Deadline& deadline,
                             const std::stop_token& stop) = 0;

  // --- the audit log ---
  // For callers that may read it. kDataLoss names a record that cannot be read.
  virtual Result<std::vector<AuditRecord>> Audit(const Caller& caller, const AuditQuery& query) = 0;
  // The changes of one object, oldest first: the newest `limit` of those that no rotation moved to files. For
  // callers that may read the object's metadata. A source that the caller may not see
  // (VersionInfo::source_masked) is empty. A caller that may not see all grants sees its own and its groups'.
  // The hashes of each record are zero, because they would prove a guess of the masked text.
  virtual Result<std::vector<AuditRecord>> Activity(const Caller& caller, ObjectId object, size_t limit) = 0;
  // Records a decision of a front end about a caller, after CheckAccess: a file was opened, or a request
  // refused. `params` says more about it; never contents, never tokens. Returns at once, or within a fraction
  // of a second if very many records are waiting to be written; then some are dropped, and their number is
  // recorded. Opens of one version by one caller within a minute are one record and a count, unless the
  // registry's settings ask for each. The registry records refusals of its other calls by itself.
  virtual void RecordAudit(const Caller& caller, Operation operation, ObjectId object, const Status& decision,
                           std::map<std::string, std::string> params) = 0;
  // Returns when a record after this one exists, of any process; at the deadline; or when stopped. Returns
  // the sequence of the last record.
  virtual Result<uint64_t> WaitForAudit(uint64_t after_sequence, const Deadline& deadline,
                                        const std::stop_token& stop) = 0;
  // Walks the whole chain, beginning with the files, and returns the number of records. kDataLoss names the
  // first record that was removed, edited or reordered.
  virtual Result<uint64_t> VerifyAudit(const Caller& caller) = 0;
};

}  // namespace modelfs::store
