// Ordered keys with snapshots and optimistic transactions: what LMDB and etcd both keep by default.
//
// Keys are bytes, 1 to kKvMaxKeyBytes, in bytewise order. Every key remembers the revision of the
// commit that last wrote it. A commit names the revisions it read and is kAborted if one moved; the
// caller reads again and retries. Each commit may append one entry to the log. The entry's sequence number is
// the commit's own revision: watchers resume from it. Revisions only grow, across restarts too.
//
// Thread-safe, but no thread holds a Snapshot across a Commit or another Read of its own: an engine may
// have to wait for every snapshot of the process to end before it can go on.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "cas/base/clock.h"
#include "cas/base/result.h"

namespace modelfs::store {

inline constexpr size_t kKvMaxKeyBytes = 500;  // LMDB's 511 less what the engine puts in front
inline constexpr size_t kKvMaxOperations = 128;
inline constexpr size_t kKvMaxCommitBytes = size_t{1536} << 10U;

using Revision = uint64_t;  // 0 is before the first commit

struct KvEntry {
  std::string key;
  std::string value;
  Revision revision = 0;
};

// The state after one commit, unmoved by later ones. Short-lived: an old snapshot keeps an engine
// from reusing space. One thread at a time.
class Snapshot {
 public:
  virtual ~Snapshot() = default;
  virtual Revision revision() const = 0;
  virtual Result<std::optional<KvEntry>> Get(std::string_view key) = 0;
  // The entries of several keys, in the order of the keys: in one round trip, if the engine is on another
  // host. For reads that do not depend on each other. By default, each key by Get.
  virtual Result<std::vector<std::optional<KvEntry>>> GetMany(const std::vector<std::string>& keys);
  // Up to `limit` entries with begin <= key < end, in order; an empty `end` is the end of all keys.
  virtual Result<std::vector<KvEntry>> Range(std::string_view begin, std::string_view end, size_t limit) = 0;
  // The last entry with begin <= key < end.
  virtual Result<std::optional<KvEntry>> Last(std::string_view begin, std::string_view end) = 0;
};

struct KvWrite {
  std::string key;
  std::optional<std::string> value;  // nothing: delete
};

struct KvExpectation {
  std::string key;
  Revision revision = 0;  // 0: the key is absent
};

// How much a transaction may use of the space that is reserved on a full disk. A transaction that only
// deletes may always use it: it leaves nothing behind, and its pages are free after it. A transaction that
// leaves something for ever (an audit record) uses the reserve up, however much it deletes. An engine without
// such a reserve ignores this.
enum class Reserve : uint8_t {
  kNone,
  kPart,  // until half of it is gone
  kAll,
};

// How long a commit waits for other writers.
struct Patience {
  Deadline until = Deadline::Never();  // the engine may give up earlier: Kv::NewPatience
  std::stop_token stop = {};
};

struct KvTransaction {
  std::vector<KvExpectation> expectations;
  std::vector<KvWrite> writes;
  std::optional<std::string> log_entry;
  Reserve reserve = Reserve::kNone;
  Patience patience = {};

  void Expect(std::string_view key, const std::optional<KvEntry>& read) {
    expectations.push_back({std::string(key), read ? read->revision : 0});
  }
  void Put(std::string_view key, std::string value) {
    writes.push_back({std::string(key), std::move(value)});
  }
  void Delete(std::string_view key) { writes.push_back({std::string(key), std::nullopt}); }
};

struct LogEntry {
  Revision revision = 0;
  std::string payload;
};

// The care for an engine's own files, of engines that have files on this host.
class Maintenance {
 public:
  virtual ~Maintenance() = default;

  // Reads the engine's own data, damage of which no other call would notice: every page of its index and of
  // its free space. Values are for the caller to check.
  //   kDataLoss
  virtual Status CheckPages() = 0;
};

class Kv {
 public:
  virtual ~Kv() = default;

  virtual Result<std::unique_ptr<Snapshot>> Read() = 0;

  // All of it or nothing, durable on OK. Returns the commit's revision.
  //   kAborted           an expectation does not hold
  //   kInvalidArgument   a key's length, one key written twice, or more than kKvMaxOperations
  //                      (expectations and writes together) or kKvMaxCommitBytes; nothing was written
  //   kNoSpace           disk full; nothing was written. Some (Reserve) may use a reserve that others may
  //                      not, so that a full disk can be tidied up.
  //   kBusy              the transaction's patience, or the engine's, ended while others wrote; names the
  //   writer kCancelled         a stop was requested while others wrote
  virtual Result<Revision> Commit(const KvTransaction& transaction) = 0;

  // The most patience that this engine has with other writers, from now on.
  virtual Patience NewPatience(std::stop_token stop) const = 0;
  // The error for a caller that could not wait for its turn among the changes of its own process: as the
  // kBusy of Commit.
  virtual Error Busy() const = 0;

  // Deletes keys, as many as there are, whether they are present or not: durable on OK, and all of them or
  // some of them otherwise. For what nobody expects or watches and what must go in bulk, such as records that
  // were moved elsewhere. May use the reserve to its end.
  //   kInvalidArgument   a key's length
  virtual Status DeleteKeys(const std::vector<std::string>& keys) = 0;

  // Up to `limit` log entries with revision > after, oldest first.
  //   kOutOfRange   entries after `after` were trimmed: start again from a snapshot
  virtual Result<std::vector<LogEntry>> ReadLog(Revision after, size_t limit) = 0;
  // Forgets log entries with revision <= through, in steps.
  virtual Status TrimLog(Revision through) = 0;

  // Null if the engine has no files on this host. Lives as long as the engine.
  virtual Maintenance* maintenance() { return nullptr; }

  // Returns when a commit after `after` may have been made, by any process; at the deadline; or when
  // stopped. Spurious returns are allowed: read the log to know.
  virtual void WaitForCommit(Revision after, const Deadline& deadline, const std::stop_token& stop) = 0;
};

// kInvalidArgument where it cannot be a key.
Status CheckKey(std::string_view key);
// The errors that every engine returns before it looks at its data: the kInvalidArgument of Commit.
Status CheckTransaction(const KvTransaction& transaction);
// The kOutOfRange of ReadLog.
Error LogTrimmed(Revision after);

}  // namespace modelfs::store
