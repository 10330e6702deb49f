#include "store/kv/lmdb_kv.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <lmdb.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <system_error>
#include <utility>

#include "cas/base/chandle.h"
#include "cas/base/codec.h"
#include "cas/base/fail_point.h"
#include "cas/base/fd.h"
#include "cas/base/thread.h"
#include "store/kv/lmdb_file.h"
#include "store/kv/lock_file.h"
#include "store/kv/map_fault.h"

namespace modelfs::store {
namespace {

using TxnHandle = CHandle<MDB_txn, mdb_txn_abort>;
using CursorHandle = CHandle<MDB_cursor, mdb_cursor_close>;
using EnvHandle = CHandle<MDB_env, mdb_env_close>;

// One unnamed database; the first byte of a key says which kind it is (docs/formats.md, "data.mdb").
constexpr char kDataPrefix = 'k';
constexpr char kLogPrefix = 'l';
constexpr std::string_view kHeadKey = "m";
constexpr uint8_t kHeadVersion = 1;

constexpr unsigned kMaxReaders = 1024;       // slots of 64 bytes in lock.mdb, one a snapshot
constexpr size_t kIdleReaders = 64;          // of them, kept for the next snapshots of this process
constexpr uint64_t kReaderCheckEvery = 256;  // commits
constexpr size_t kTrimStep = 2048;           // entries a transaction
constexpr size_t kCopyStep = 8192;           // entries a transaction of a copy
constexpr uint64_t kCopyMapSlack = uint64_t{16} << 20U;
constexpr uint64_t kReserveBytes = 1U << 20U;  // of disk, behind the data: kv.h, Reserve
// A commit that is known to come is looked for again after this, and then each time after twice as long.
constexpr std::chrono::milliseconds kFirstLook{1};
// How long an opener waits for a live writer that has written its commit, to see that commit at once.
constexpr std::chrono::milliseconds kOpenerWait = std::chrono::seconds(1);
// Readers and openers also take a lock for a moment. They wait for it at least this long, even if the wait
// for a writer is shorter.
constexpr std::chrono::milliseconds kLeastTableWait = std::chrono::seconds(1);
std::chrono::milliseconds TableWait(std::chrono::milliseconds lock_wait) {
  return std::max(lock_wait, kLeastTableWait);
}
constexpr mode_t kDirectoryMode = 0700;
constexpr mode_t kFileMode = 0600;

struct Head {
  Revision revision = 0;
  Revision trimmed_through = 0;
};

MDB_val ValueOf(std::string_view bytes) {
  return {bytes.size(), const_cast<char*>(bytes.data())};  // LMDB's inputs are not const, and not written
}
std::string_view ViewOf(const MDB_val& value) {
  return {static_cast<const char*>(value.mv_data), value.mv_size};
}

std::string DataKey(std::string_view key) {
  std::string prefixed(1, kDataPrefix);
  prefixed += key;
  return prefixed;
}
// The end of a range of data keys: an empty one means all of them.
std::string DataEnd(std::string_view end) {
  return end.empty() ? std::string(1, static_cast<char>(kDataPrefix + 1)) : DataKey(end);
}
std::string LogKey(Revision revision) {
  return Encoder().Raw(std::string_view(&kLogPrefix, 1)).U64(revision).Take();
}

Error LmdbError(int rc, const std::string& subject) {
  if (rc > 0) return ErrnoError(rc, subject);
  // A tree that is too deep for a cursor is one that leads in a circle.
  if (rc == MDB_CORRUPTED || rc == MDB_PAGE_NOTFOUND || rc == MDB_INVALID || rc == MDB_VERSION_MISMATCH ||
      rc == MDB_CURSOR_FULL) {
    return {Code::kDataLoss, fmt::format("{}: {}; {}", subject, mdb_strerror(rc), kRestoreAdvice)};
  }
  const Code code = rc == MDB_READERS_FULL ? Code::kUnavailable : Code::kInternal;
  return {code, fmt::format("{}: {}", subject, mdb_strerror(rc))};
}

// A process's rule for its map: it may be moved only while no transaction of the process is open.
// Transactions hold the shared side, from any thread and possibly handed between threads.
class MapGate {
 public:
  class Pass {
   public:
    explicit Pass(MapGate& gate) : gate_(&gate) { gate.Enter(); }
    ~Pass() { gate_->Leave(); }
    Pass(const Pass&) = delete;
    Pass& operator=(const Pass&) = delete;

   private:
    MapGate* gate_;
  };

  template <typename Change>
  Status ChangeMap(Change change) {
    {
      const MutexLock lock(mu_);
      while (changing_) cv_.Wait(mu_);
      changing_ = true;  // no thread enters from now on
      while (inside_ > 0) cv_.Wait(mu_);
    }
    Status changed = change();
    const MutexLock lock(mu_);
    changing_ = false;
    cv_.NotifyAll();
    return changed;
  }

 private:
  void Enter() {
    const MutexLock lock(mu_);
    while (changing_) cv_.Wait(mu_);
    ++inside_;
  }
  void Leave() {
    const MutexLock lock(mu_);
    --inside_;
    if (inside_ == 0) cv_.NotifyAll();
  }

  Mutex mu_;
  CondVar cv_;
  int inside_ GUARDED_BY(mu_) = 0;
  bool changing_ GUARDED_BY(mu_) = false;
};

// One environment; shared by every Kv and Snapshot of this process that uses the directory.
class Environment {
 public:
  Environment(EnvHandle env, std::string directory, int data_fd, std::unique_ptr<LockFile> locks,
              std::chrono::milliseconds lock_wait)
      : env_(std::move(env)),
        directory_(std::move(directory)),
        data_fd_(data_fd),
        locks_(std::move(locks)),
        lock_wait_(lock_wait),
        lock_file_map_(directory_ + "/lock.mdb") {}

  // Closing takes the same locks of LMDB's as opening does (mdb.c, mdb_env_close0), with as little regard for
  // others.
  ~Environment() {
    const auto closing = locks_->Take(LockFile::Lock::kOpening, Deadline::After(TableWait(lock_wait_)));
    idle_.clear();
    env_.reset();
  }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

  MDB_env* get() const { return env_.get(); }
  MapGate& gate() { return gate_; }
  const LockFile& locks() const { return *locks_; }
  std::string DataPath() const { return directory_ + "/data.mdb"; }
  Patience NewPatience(std::stop_token stop) const {
    return {.until = Deadline::After(lock_wait_), .stop = std::move(stop)};
  }

  // An open read transaction, inside the gate. Its LMDB transaction is kept for the next reader of this
  // environment, because a new one takes a slot in LMDB's table of readers, under a mutex that all processes
  // share.
  class Reader {
   public:
    Reader() = default;
    Reader(Environment& env, TxnHandle txn) : env_(&env), txn_(std::move(txn)) {}
    ~Reader() {
      if (txn_ != nullptr) env_->GiveBack(std::move(txn_));
    }
    Reader(Reader&&) = delete;
    Reader& operator=(Reader&& other) noexcept {
      std::swap(env_, other.env_);
      std::swap(txn_, other.txn_);
      return *this;
    }
    MDB_txn* get() const { return txn_.get(); }

   private:
    Environment* env_ = nullptr;
    TxnHandle txn_;
  };

  // Reads the newest whole commit. A commit that a process wrote before it died, and did not publish to
  // readers (IsBehind), is published first. Returns LMDB's code if only LMDB failed.
  enum class Wait : uint8_t { kNo, kYes };  // for a writer that is still at work
  Result<int> BeginRead(Reader* reader, Wait wait = Wait::kNo) {
    ASSIGN_OR_RETURN(int rc, BeginReadAsItIs(reader));
    if (rc != 0 || !IsBehind(reader->get())) return rc;
    const std::optional<LockFile::Held> writer = TakeWriter(wait);
    if (!writer) return rc;
    ASSIGN_OR_RETURN(rc, BeginReadAsItIs(reader));
    if (rc != 0 || !IsBehind(reader->get())) return rc;
    RETURN_IF_ERROR(Publish());
    return BeginReadAsItIs(reader);
  }

  // Whether a commit is written that readers do not get yet: a writer is about to publish it, or died before
  // (mdb.c, mdb_env_write_meta: first the page that says where the tree is, then mti_txnid).
  bool IsBehind(MDB_txn* read) const { return Info().me_last_txnid > mdb_txn_id(read); }

  Error Failure(int rc, std::string_view what) const {
    const std::string subject = fmt::format("{}: {}", DataPath(), what);
    if (rc == ENOSPC || rc == EDQUOT || rc == EFBIG) return ErrnoError(ENOSPC, subject);
    // LMDB returns EIO for a write that the disk took only in part.
    struct statvfs disk {};
    if (rc == EIO && ::fstatvfs(data_fd_, &disk) == 0 && disk.f_bavail * disk.f_frsize < kReserveBytes) {
      return ErrnoError(ENOSPC, subject);
    }
    return LmdbError(rc, subject);
  }

  // Opens a transaction inside the gate, and calls `use` with it. If another process has made the map larger,
  // or this process's map turns out to be too small, changes the map and starts over. `use` returns LMDB's
  // code.
  template <typename Use>  // int(MDB_txn*)
  Status WithRead(std::string_view what, Use use) {
    return Attempt(what, [&]() -> Result<int> {
      Reader reader;
      ASSIGN_OR_RETURN(const int rc, BeginRead(&reader));
      return rc == 0 ? use(reader.get()) : rc;
    });
  }
  // For an opener: completes a commit that another process left half done. If a live process is at it for
  // longer than kOpenerWait, returns without that.
  Status CompleteCommit() {
    return Attempt("open", [&] {
      Reader reader;
      return BeginRead(&reader, Wait::kYes);
    });
  }
  template <typename Use>  // int(TxnHandle)
  Status WithWrite(std::string_view what, const Patience& patience, Use use) {
    const Deadline deadline = Deadline::At(std::min(patience.until.at(), Deadline::After(lock_wait_).at()));
    // Outside of the gate, which others need meanwhile.
    ASSIGN_OR_RETURN(const LockFile::Held writer,
                     locks_->Take(LockFile::Lock::kWriter, deadline, patience.stop));
    return Attempt(what, [&]() -> Result<int> {
      TxnHandle txn;
      ASSIGN_OR_RETURN(const int rc, BeginWrite(&txn));
      return rc == 0 ? use(std::move(txn)) : rc;
    });
  }

  void ClearDeadReaders() {
    // A failure leaves a stale reader, which costs space only; the next check tries again.
    const auto readers = locks_->Take(LockFile::Lock::kReaders, Deadline::After(TableWait(lock_wait_)));
    int cleared = 0;
    if (readers.ok()) static_cast<void>(mdb_reader_check(env_.get(), &cleared));
  }

  // Keeps some disk behind the data allocated, so that a full disk is noticed while there is still room for
  // deletions. False if less than `bytes`, at most kReserveBytes, is left of it.
  bool HasReserve(uint64_t bytes) {
    struct stat info {};
    if (::fstat(data_fd_, &info) != 0) return true;
    const auto size = static_cast<uint64_t>(info.st_size);
    if (size + bytes <= reserved_through_.load()) return true;
    // Any process may have allocated it already. Allocating it again makes the commit's fsync dearer, and on
    // a full disk xfs refuses to.
    for (const uint64_t wanted : {2 * kReserveBytes, bytes}) {
      if (IsAllocated(data_fd_, size, wanted)) {
        reserved_through_ = size + wanted;
        return true;
      }
    }
    // The second size matters if the file system does not report allocation (IsAllocated): it may be
    // allocated already.
    for (const uint64_t wanted : {2 * kReserveBytes, bytes}) {
      if (::fallocate(data_fd_, FALLOC_FL_KEEP_SIZE, static_cast<off_t>(size), static_cast<off_t>(wanted)) ==
          0) {
        reserved_through_ = size + wanted;
        return true;
      }
      if (errno != ENOSPC && errno != EDQUOT) return true;  // a file system that cannot reserve: go without
    }
    return false;
  }

  std::atomic<uint64_t> commits{0};

 private:
  // Calls `attempt` inside the gate, until it returns something else than a map of the wrong size.
  template <typename Body>  // Result<int>()
  Status Attempt(std::string_view what, Body attempt) {
    for (bool cleared_readers = false;;) {
      size_t map_bytes = 0;
      Result<int> rc = 0;
      {
        const MapGate::Pass pass(gate_);
        if (unusable_)
          return Error(Code::kInternal, fmt::format("{}: the map was lost; start again", DataPath()));
        map_bytes = MapBytes();
        const InsideMap inside;
        rc = attempt();
      }
      if (!rc.ok()) return std::move(rc).error();
      if (*rc == 0) return OkStatus();
      if (*rc == MDB_MAP_FULL) {
        RETURN_IF_ERROR(ResizeMap(map_bytes, map_bytes * 2));
      } else if (*rc == MDB_MAP_RESIZED) {
        RETURN_IF_ERROR(ResizeMap(map_bytes, 0));
      } else if (*rc == MDB_READERS_FULL && !cleared_readers) {
        cleared_readers = true;
        ClearDeadReaders();
      } else {
        return Failure(*rc, what);
      }
    }
  }

  MDB_envinfo Info() const {
    MDB_envinfo info{};
    mdb_env_info(env_.get(), &info);
    return info;
  }
  size_t MapBytes() const { return Info().me_mapsize; }

  Result<int> BeginReadAsItIs(Reader* reader) {
    *reader = Reader();
    TxnHandle txn;
    {
      const MutexLock lock(idle_mu_);
      if (!idle_.empty()) {
        txn = std::move(idle_.back());
        idle_.pop_back();
      }
    }
    if (txn != nullptr) {
      const int rc = mdb_txn_renew(txn.get());
      *reader = Reader(*this, std::move(txn));
      return rc;
    }
    ASSIGN_OR_RETURN(const LockFile::Held readers,
                     locks_->Take(LockFile::Lock::kReaders, Deadline::After(TableWait(lock_wait_))));
    MDB_txn* raw = nullptr;
    const int rc = mdb_txn_begin(env_.get(), nullptr, MDB_RDONLY, &raw);
    if (rc == 0) *reader = Reader(*this, TxnHandle(raw));
    return rc;
  }

  void GiveBack(TxnHandle txn) {
    mdb_txn_reset(txn.get());
    const MutexLock lock(idle_mu_);
    if (idle_.size() < kIdleReaders) idle_.push_back(std::move(txn));
  }

  // With the writer lock held. LMDB first completes or drops the work of a dead writer: its own mutex reports
  // the death, and it takes the readers' mutex to clear the table.
  Result<int> BeginWrite(TxnHandle* txn) {
    ASSIGN_OR_RETURN(const LockFile::Held readers,
                     locks_->Take(LockFile::Lock::kReaders, Deadline::After(TableWait(lock_wait_))));
    MDB_txn* raw = nullptr;
    const int rc = mdb_txn_begin(env_.get(), nullptr, 0, &raw);
    if (rc == 0) txn->reset(raw);
    return rc;
  }

  std::optional<LockFile::Held> TakeWriter(Wait wait) {
    if (wait == Wait::kNo) return locks_->TryTake(LockFile::Lock::kWriter);
    Result<LockFile::Held> taken =
        locks_->Take(LockFile::Lock::kWriter, Deadline::After(std::min(lock_wait_, kOpenerWait)));
    return taken.ok() ? std::optional(std::move(*taken)) : std::nullopt;
  }

  // With the writer lock held. LMDB's mutex reports the holder's death to the next writer, and its last write
  // may not have reached the disk. After this sync LMDB uses the newest page, and nothing is left to write.
  Status Publish() {
    if (const int rc = mdb_env_sync(env_.get(), 1); rc != 0) return Failure(rc, "sync");
    TxnHandle txn;
    ASSIGN_OR_RETURN(const int rc, BeginWrite(&txn));
    // The transaction that needs a larger map changes it.
    return rc == 0 || rc == MDB_MAP_RESIZED ? OkStatus() : Status(Failure(rc, "complete a commit"));
  }

  // `to_bytes` 0 adopts the size that another process chose.
  Status ResizeMap(size_t from_bytes, size_t to_bytes) {
    return gate_.ChangeMap([&]() -> Status {
      if (unusable_ || (to_bytes != 0 && MapBytes() != from_bytes))
        return OkStatus();  // done by another thread
      const int rc = mdb_env_set_mapsize(env_.get(), to_bytes);
      if (rc == 0) return OkStatus();
      unusable_ = true;  // LMDB has unmapped the old one by now
      return Failure(rc, fmt::format("map {} bytes", to_bytes));
    });
  }

  EnvHandle env_;
  std::string directory_;
  int data_fd_;  // LMDB's own
  std::unique_ptr<LockFile> locks_;
  const std::chrono::milliseconds lock_wait_;
  const LockFileMap lock_file_map_;
  MapGate gate_;
  Mutex idle_mu_;
  std::vector<TxnHandle> idle_ GUARDED_BY(idle_mu_);  // reset; each keeps its slot
  std::atomic<bool> unusable_{false};
  std::atomic<uint64_t> reserved_through_{0};
};

int ReadHead(MDB_txn* txn, Head* head) {
  MDB_val key = ValueOf(kHeadKey);
  MDB_val value{};
  if (const int rc = mdb_get(txn, 1, &key, &value); rc != 0) return rc == MDB_NOTFOUND ? MDB_INVALID : rc;
  Decoder decoder(ViewOf(value));
  if (decoder.U8() != kHeadVersion) return MDB_VERSION_MISMATCH;
  head->revision = decoder.U64();
  head->trimmed_through = decoder.U64();
  return decoder.Finish("head").ok() ? 0 : MDB_INVALID;
}

int WriteHead(MDB_txn* txn, const Head& head) {
  const std::string bytes = Encoder().U8(kHeadVersion).U64(head.revision).U64(head.trimmed_through).Take();
  MDB_val key = ValueOf(kHeadKey);
  MDB_val value = ValueOf(bytes);
  return mdb_put(txn, 1, &key, &value, 0);
}

// The unnamed database has the fixed number 1 (MAIN_DBI), but a transaction must have opened it once.
int OpenMain(MDB_txn* txn) {
  MDB_dbi dbi = 0;
  return mdb_dbi_open(txn, nullptr, 0, &dbi);
}

constexpr size_t kRevisionBytes = 8;

KvEntry DecodeEntry(const MDB_val& key, const MDB_val& value) {
  const std::string_view stored = ViewOf(value);
  KvEntry entry;
  entry.key = ViewOf(key).substr(1);
  entry.revision = Decoder(stored.substr(0, kRevisionBytes)).U64();
  entry.value = stored.substr(std::min(kRevisionBytes, stored.size()));
  return entry;
}

class LmdbSnapshot : public Snapshot {
 public:
  LmdbSnapshot(std::shared_ptr<Environment> env) : env_(std::move(env)), pass_(env_->gate()) {}

  // LMDB's code; the transaction lives on in the snapshot.
  Result<int> Begin() {
    const InsideMap inside;
    ASSIGN_OR_RETURN(const int begun, env_->BeginRead(&txn_));
    if (begun != 0) return begun;
    Head head;
    if (const int rc = ReadHead(txn_.get(), &head); rc != 0) return rc;
    revision_ = head.revision;
    return 0;
  }

  Revision revision() const override { return revision_; }

  Result<std::optional<KvEntry>> Get(std::string_view key) override {
    const InsideMap inside;
    const std::string prefixed = DataKey(key);
    MDB_val wanted = ValueOf(prefixed);
    MDB_val value{};
    const int rc = mdb_get(txn_.get(), 1, &wanted, &value);
    if (rc == MDB_NOTFOUND) return std::optional<KvEntry>();
    if (rc != 0) return env_->Failure(rc, "get");
    return std::optional<KvEntry>(DecodeEntry(wanted, value));
  }

  Result<std::vector<KvEntry>> Range(std::string_view begin, std::string_view end, size_t limit) override {
    const InsideMap inside;
    std::vector<KvEntry> entries;
    ASSIGN_OR_RETURN(const CursorHandle cursor, OpenCursor());
    const std::string first = DataKey(begin);
    const std::string stop = DataEnd(end);
    MDB_val key = ValueOf(first);
    MDB_val value{};
    int rc = mdb_cursor_get(cursor.get(), &key, &value, MDB_SET_RANGE);
    while (rc == 0 && entries.size() < limit && ViewOf(key) < stop) {
      entries.push_back(DecodeEntry(key, value));
      rc = mdb_cursor_get(cursor.get(), &key, &value, MDB_NEXT);
    }
    if (rc != 0 && rc != MDB_NOTFOUND) return env_->Failure(rc, "range");
    return entries;
  }

  Result<std::optional<KvEntry>> Last(std::string_view begin, std::string_view end) override {
    const InsideMap inside;
    ASSIGN_OR_RETURN(const CursorHandle cursor, OpenCursor());
    const std::string stop = DataEnd(end);
    MDB_val key = ValueOf(stop);
    MDB_val value{};
    int rc = mdb_cursor_get(cursor.get(), &key, &value, MDB_SET_RANGE);
    rc = mdb_cursor_get(cursor.get(), &key, &value, rc == 0 ? MDB_PREV : MDB_LAST);
    if (rc == MDB_NOTFOUND || (rc == 0 && ViewOf(key) < DataKey(begin))) return std::optional<KvEntry>();
    if (rc != 0) return env_->Failure(rc, "last");
    return std::optional<KvEntry>(DecodeEntry(key, value));
  }

 private:
  Result<CursorHandle> OpenCursor() {
    MDB_cursor* raw = nullptr;
    if (const int rc = mdb_cursor_open(txn_.get(), 1, &raw); rc != 0) return env_->Failure(rc, "cursor");
    return CursorHandle(raw);
  }

  std::shared_ptr<Environment> env_;
  MapGate::Pass pass_;  // outlives the transaction below
  Environment::Reader txn_;
  Revision revision_ = 0;
};

int ApplyWrites(MDB_txn* txn, const KvTransaction& transaction, Revision revision) {
  for (const KvWrite& write : transaction.writes) {
    const std::string prefixed = DataKey(write.key);
    MDB_val key = ValueOf(prefixed);
    if (!write.value) {
      const int rc = mdb_del(txn, 1, &key, nullptr);
      if (rc != 0 && rc != MDB_NOTFOUND) return rc;
      continue;
    }
    const std::string stamped = Encoder().U64(revision).Raw(*write.value).Take();
    MDB_val value = ValueOf(stamped);
    if (const int rc = mdb_put(txn, 1, &key, &value, 0); rc != 0) return rc;
  }
  if (!transaction.log_entry) return 0;
  const std::string log_key = LogKey(revision);
  MDB_val key = ValueOf(log_key);
  MDB_val value = ValueOf(*transaction.log_entry);
  return mdb_put(txn, 1, &key, &value, 0);
}

// Sets `holds` to whether every key still has the revision that the transaction read.
int CheckExpectations(MDB_txn* txn, const KvTransaction& transaction, bool* holds) {
  *holds = true;
  for (const KvExpectation& expectation : transaction.expectations) {
    const std::string prefixed = DataKey(expectation.key);
    MDB_val key = ValueOf(prefixed);
    MDB_val value{};
    const int rc = mdb_get(txn, 1, &key, &value);
    if (rc != 0 && rc != MDB_NOTFOUND) return rc;
    const Revision now = rc == 0 ? Decoder(ViewOf(value).substr(0, kRevisionBytes)).U64() : 0;
    if (now != expectation.revision) *holds = false;
  }
  return 0;
}

// Calls `check(key, value)`, which returns LMDB's code, for every entry of a database, and compares the
// number of entries with LMDB's count.
template <typename Check>
int CheckEach(MDB_txn* txn, MDB_dbi dbi, Check check) {
  MDB_cursor* raw = nullptr;
  if (const int rc = mdb_cursor_open(txn, dbi, &raw); rc != 0) return rc;
  const CursorHandle cursor(raw);
  MDB_stat stat{};
  if (const int rc = mdb_stat(txn, dbi, &stat); rc != 0) return rc;
  MDB_val key{};
  MDB_val value{};
  size_t entries = 0;
  int rc = mdb_cursor_get(cursor.get(), &key, &value, MDB_FIRST);
  for (; rc == 0; rc = mdb_cursor_get(cursor.get(), &key, &value, MDB_NEXT)) {
    if (++entries > stat.ms_entries) return MDB_CORRUPTED;  // also if the pages lead in a circle
    if (const int checked = check(key, value); checked != 0) return checked;
  }
  if (rc != MDB_NOTFOUND) return rc;
  return entries == stat.ms_entries ? 0 : MDB_CORRUPTED;
}

// Checks the pages that future commits will overwrite: database 0. Its values are a count and that many page
// numbers, the largest first (midl.h).
int CheckFreeList(MDB_txn* txn, size_t last_page) {
  constexpr MDB_dbi kFreeList = 0;
  constexpr size_t kMetaPages = 2;
  std::vector<bool> seen(last_page + 1);
  return CheckEach(txn, kFreeList, [&](const MDB_val& key, const MDB_val& value) -> int {
    if (key.mv_size != sizeof(size_t) || value.mv_size % sizeof(size_t) != 0) return MDB_CORRUPTED;
    std::vector<size_t> pages(value.mv_size / sizeof(size_t));
    std::memcpy(pages.data(), value.mv_data, value.mv_size);
    if (pages.empty() || pages[0] >= pages.size()) return MDB_CORRUPTED;
    for (size_t i = 1; i <= pages[0]; ++i) {
      if (pages[i] < kMetaPages || pages[i] > last_page || seen[pages[i]]) return MDB_CORRUPTED;
      seen[pages[i]] = true;
    }
    return 0;
  });
}

int CheckEntries(MDB_txn* txn) {
  std::string last;
  return CheckEach(txn, 1, [&](const MDB_val& key, const MDB_val& value) -> int {
    const std::string_view now = ViewOf(key);
    if (now <= last) return MDB_CORRUPTED;  // out of order: some keys would not be found
    last = now;
    if (now == kHeadKey) return 0;  // read by every transaction
    if (now[0] == kDataPrefix) return value.mv_size >= kRevisionBytes ? 0 : MDB_CORRUPTED;
    return now[0] == kLogPrefix && now.size() == LogKey(0).size() ? 0 : MDB_CORRUPTED;
  });
}

// How much of the reserve must be left for the transaction to begin.
uint64_t ReserveToLeave(const KvTransaction& transaction) {
  const bool only_deletes =
      !transaction.log_entry && std::none_of(transaction.writes.begin(), transaction.writes.end(),
                                             [](const KvWrite& write) { return write.value.has_value(); });
  if (only_deletes || transaction.reserve == Reserve::kAll) return 0;
  return transaction.reserve == Reserve::kPart ? kReserveBytes / 2 : kReserveBytes;
}

class LmdbKv : public Kv, private Maintenance {
 public:
  LmdbKv(std::shared_ptr<Environment> env, std::chrono::milliseconds poll_every)
      : env_(std::move(env)), poll_every_(poll_every) {}

  Result<std::unique_ptr<Snapshot>> Read() override {
    for (;;) {
      auto snapshot = std::make_unique<LmdbSnapshot>(env_);
      ASSIGN_OR_RETURN(const int rc, snapshot->Begin());
      if (rc == 0) return std::unique_ptr<Snapshot>(std::move(snapshot));
      snapshot.reset();  // leaves the gate, which WithRead may have to close
      // Repairs what it can (a larger map, dead readers), and else returns the error.
      RETURN_IF_ERROR(env_->WithRead("read", [](MDB_txn* txn) {
        Head head;
        return ReadHead(txn, &head);
      }));
    }
  }

  Result<Revision> Commit(const KvTransaction& transaction) override {
    RETURN_IF_ERROR(CheckTransaction(transaction));
    if (const uint64_t left = ReserveToLeave(transaction); !env_->HasReserve(kReserveBytes)) {
      if (left == kReserveBytes || (left > 0 && !env_->HasReserve(left))) {
        return env_->Failure(
            ENOSPC,
            "the rest of the disk is reserved for deleting models and versions, and for taking rights away");
      }
    }
    Head head;
    bool holds = false;
    FAIL_POINT("kv.commit.begin");
    RETURN_IF_ERROR(env_->WithWrite("commit", transaction.patience, [&](TxnHandle txn) {
      if (const int rc = ReadHead(txn.get(), &head); rc != 0) return rc;
      if (const int rc = CheckExpectations(txn.get(), transaction, &holds); rc != 0 || !holds) return rc;
      ++head.revision;
      if (const int rc = ApplyWrites(txn.get(), transaction, head.revision); rc != 0) return rc;
      if (const int rc = WriteHead(txn.get(), head); rc != 0) return rc;
      FAIL_POINT("kv.commit.applied");
      return mdb_txn_commit(txn.release());
    }));
    if (!holds) return Error(Code::kAborted, "another commit changed what this one had read");
    FAIL_POINT("kv.commit.done");
    if (++env_->commits % kReaderCheckEvery == 0) env_->ClearDeadReaders();
    return head.revision;
  }

  Patience NewPatience(std::stop_token stop) const override { return env_->NewPatience(std::move(stop)); }
  Error Busy() const override { return env_->locks().Busy(LockFile::Lock::kWriter); }

  Status DeleteKeys(const std::vector<std::string>& keys) override {
    for (const std::string& key : keys) RETURN_IF_ERROR(CheckKey(key));
    RETURN_IF_ERROR(env_->WithWrite("delete", {}, [&](TxnHandle txn) {
      for (const std::string& each : keys) {
        const std::string prefixed = DataKey(each);
        MDB_val key = ValueOf(prefixed);
        if (const int rc = mdb_del(txn.get(), 1, &key, nullptr); rc != 0 && rc != MDB_NOTFOUND) return rc;
      }
      return mdb_txn_commit(txn.release());
    }));
    if (++env_->commits % kReaderCheckEvery == 0) env_->ClearDeadReaders();
    return OkStatus();
  }

  Result<std::vector<LogEntry>> ReadLog(Revision after, size_t limit) override {
    std::vector<LogEntry> entries;
    bool trimmed = false;
    RETURN_IF_ERROR(env_->WithRead("read log", [&](MDB_txn* txn) {
      entries.clear();
      Head head;
      if (const int rc = ReadHead(txn, &head); rc != 0) return rc;
      trimmed = after < head.trimmed_through;
      if (trimmed || after == ~Revision{0}) return 0;
      MDB_cursor* raw = nullptr;
      if (const int rc = mdb_cursor_open(txn, 1, &raw); rc != 0) return rc;
      const CursorHandle cursor(raw);
      const std::string first = LogKey(after + 1);
      MDB_val key = ValueOf(first);
      MDB_val value{};
      int rc = mdb_cursor_get(cursor.get(), &key, &value, MDB_SET_RANGE);
      while (rc == 0 && entries.size() < limit && ViewOf(key)[0] == kLogPrefix) {
        entries.push_back({Decoder(ViewOf(key).substr(1)).U64(), std::string(ViewOf(value))});
        rc = mdb_cursor_get(cursor.get(), &key, &value, MDB_NEXT);
      }
      return rc == MDB_NOTFOUND ? 0 : rc;
    }));
    if (trimmed) return LogTrimmed(after);
    return entries;
  }

  Status TrimLog(Revision through) override {
    for (bool more = true; more;) {
      RETURN_IF_ERROR(env_->WithWrite("trim log", {}, [&](TxnHandle txn) {
        Head head;
        if (const int rc = ReadHead(txn.get(), &head); rc != 0) return rc;
        head.trimmed_through = std::max(head.trimmed_through, std::min(through, head.revision));
        if (const int rc = WriteHead(txn.get(), head); rc != 0) return rc;
        if (const int rc = DeleteLogEntries(txn.get(), head.trimmed_through, &more); rc != 0) return rc;
        return mdb_txn_commit(txn.release());
      }));
    }
    return OkStatus();
  }

  Maintenance* maintenance() override { return this; }

  Status CheckPages() override {
    constexpr int kAttempts = 8;  // another one only if a commit came between two reads
    Status trees = OkStatus();
    for (int attempt = 0; attempt < kAttempts; ++attempt) {
      RETURN_IF_ERROR(env_->WithRead("check", [&](MDB_txn* txn) {
        trees = CheckTrees(env_->DataPath(), mdb_txn_id(txn));
        return 0;
      }));
      if (trees.ok() || trees.error().code() != Code::kAborted) break;
    }
    RETURN_IF_ERROR(trees);
    return env_->WithRead("check", [&](MDB_txn* txn) {
      MDB_envinfo info{};  // of now, or a little later: then a few pages more
      mdb_env_info(env_->get(), &info);
      const int rc = CheckFreeList(txn, info.me_last_pgno);
      return rc == 0 ? CheckEntries(txn) : rc;
    });
  }

  void WaitForCommit(Revision after, const Deadline& deadline, const std::stop_token& stop) override {
    const Fd bell(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
    const Fd stopped(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (bell.valid()) {
      ::inotify_add_watch(bell.get(), env_->DataPath().c_str(), IN_MODIFY);
      // A process that ends may leave a commit for this one to complete.
      ::inotify_add_watch(bell.get(), env_->locks().path().c_str(), IN_CLOSE_WRITE);
    }
    const std::stop_callback wake(stop, [&stopped] { ::eventfd_write(stopped.get(), 1); });
    std::chrono::milliseconds next_look = kFirstLook;
    while (!stop.stop_requested() && !deadline.Passed()) {
      // The watch is set before the revision is read, so a commit in between triggers it by its write. LMDB
      // publishes the commit to readers a moment later (mdb.c, mdb_env_write_meta: the page, then mti_txnid).
      const Result<Newest> now = ReadNewest();
      if (!now.ok() || now->revision > after) return;  // the caller's next call returns the error
      const auto wait = now->more_to_come ? next_look : poll_every_;
      next_look = now->more_to_come ? std::min(next_look * 2, poll_every_) : kFirstLook;
      const auto left = std::min<std::chrono::steady_clock::duration>(
          wait, deadline.at() - std::chrono::steady_clock::now());
      const auto left_ms = std::chrono::ceil<std::chrono::milliseconds>(left).count();
      std::array<pollfd, 2> wanted = {pollfd{bell.get(), POLLIN, 0}, pollfd{stopped.get(), POLLIN, 0}};
      ::poll(wanted.data(), wanted.size(), static_cast<int>(std::max<int64_t>(0, left_ms)));
      std::array<char, 4096> events{};
      while (bell.valid() && ::read(bell.get(), events.data(), events.size()) > 0) {
      }
    }
  }

 private:
  struct Newest {
    Revision revision = 0;
    bool more_to_come = false;  // a later commit is written, and not published to readers yet
  };
  Result<Newest> ReadNewest() {
    Head head;
    Newest newest;
    RETURN_IF_ERROR(env_->WithRead("read", [&](MDB_txn* txn) {
      newest.more_to_come = env_->IsBehind(txn);
      return ReadHead(txn, &head);
    }));
    newest.revision = head.revision;
    return newest;
  }

  static int DeleteLogEntries(MDB_txn* txn, Revision through, bool* more) {
    MDB_cursor* raw = nullptr;
    if (const int rc = mdb_cursor_open(txn, 1, &raw); rc != 0) return rc;
    const CursorHandle cursor(raw);
    for (size_t i = 0; i < kTrimStep; ++i) {
      const std::string first = LogKey(0);
      MDB_val key = ValueOf(first);
      MDB_val value{};
      const int rc = mdb_cursor_get(cursor.get(), &key, &value, MDB_SET_RANGE);
      *more = rc == 0 && ViewOf(key) <= LogKey(through);
      if (!*more) return rc == MDB_NOTFOUND ? 0 : rc;
      if (const int deleted = mdb_cursor_del(cursor.get(), 0); deleted != 0) return deleted;
    }
    return 0;
  }

  std::shared_ptr<Environment> env_;
  const std::chrono::milliseconds poll_every_;
};

Status SyncDirectory(const std::string& path) {
  const Fd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid() || ::fsync(fd.get()) != 0) return ErrnoError(errno, fmt::format("fsync {}", path));
  return OkStatus();
}

std::string ParentOf(std::string_view path) {
  while (path.size() > 1 && path.back() == '/') path.remove_suffix(1);
  const size_t slash = path.rfind('/');
  if (slash == std::string_view::npos) return ".";
  return std::string(slash == 0 ? "/" : path.substr(0, slash));
}

Result<std::shared_ptr<Environment>> OpenEnvironment(const std::string& directory,
                                                     const LmdbOptions& options) {
  ASSIGN_OR_RETURN(std::unique_ptr<LockFile> locks, LockFile::Open(directory + "/writer.lock"));
  MDB_env* raw = nullptr;
  if (const int rc = mdb_env_create(&raw); rc != 0) return Error(Code::kInternal, mdb_strerror(rc));
  EnvHandle env(raw);
  mdb_env_set_maxreaders(raw, kMaxReaders);
  mdb_env_set_mapsize(raw, options.initial_map_bytes);
  const unsigned flags = MDB_NOTLS | (options.unsafe_no_sync ? static_cast<unsigned>(MDB_NOSYNC) : 0U);
  const InsideMap inside;
  int rc = 0;
  mdb_filehandle_t fd = -1;
  {
    ASSIGN_OR_RETURN(const LockFile::Held opening,
                     locks->Take(LockFile::Lock::kOpening, Deadline::After(TableWait(options.lock_wait))));
    RETURN_IF_ERROR(TakeRoomForReaders(directory, opening));
    rc = mdb_env_open(raw, directory.c_str(), flags, kFileMode);
    if (rc == 0) rc = mdb_env_get_fd(raw, &fd);
  }
  auto opened =
      std::make_shared<Environment>(std::move(env), directory, fd, std::move(locks), options.lock_wait);
  if (rc != 0) return opened->Failure(rc, "open");
  opened->ClearDeadReaders();
  RETURN_IF_ERROR(opened->WithRead("open", OpenMain));
  RETURN_IF_ERROR(opened->CompleteCommit());
  return opened;
}

// Makes data.mdb in one step: written and synced in a folder of its own, then linked into place. So a visible
// data.mdb is whole, and an empty or short one is always damage. A folder that a killed creation left has
// nothing of value and is never read.
Status CreateDataFile(const LmdbOptions& options) {
  const std::string& directory = options.directory;
  if (::mkdir(directory.c_str(), kDirectoryMode) != 0 && errno != EEXIST) {
    return ErrnoError(errno, fmt::format("mkdir {}", directory));
  }
  RETURN_IF_ERROR(CheckFileSystem(directory));
  WriteInPlace(directory);
  const std::string data_path = directory + "/data.mdb";
  struct stat info {};
  if (::stat(data_path.c_str(), &info) == 0) return OkStatus();
  std::string scratch = directory + "/new-XXXXXX";
  if (::mkdtemp(scratch.data()) == nullptr) return ErrnoError(errno, fmt::format("mkdtemp {}", scratch));
  Status made = [&]() -> Status {
    ASSIGN_OR_RETURN(const std::shared_ptr<Environment> env, OpenEnvironment(scratch, options));
    return env->WithWrite("create", {}, [](TxnHandle txn) {
      if (const int rc = WriteHead(txn.get(), Head()); rc != 0) return rc;
      return mdb_txn_commit(txn.release());
    });
  }();
  FAIL_POINT("kv.create.written");
  const std::string scratch_data = scratch + "/data.mdb";
  if (made.ok() && ::link(scratch_data.c_str(), data_path.c_str()) != 0 && errno != EEXIST) {
    made = ErrnoError(errno, fmt::format("link {}", data_path));
  }
  ::unlink(scratch_data.c_str());
  ::unlink((scratch + "/lock.mdb").c_str());
  ::unlink((scratch + "/writer.lock").c_str());
  ::rmdir(scratch.c_str());
  RETURN_IF_ERROR(made);
  RETURN_IF_ERROR(SyncDirectory(directory));
  return SyncDirectory(ParentOf(directory));
}

struct EnvironmentKey {
  dev_t device;
  ino_t inode;
  pid_t process;  // a fork's child may not use its parent's
  // NOLINTNEXTLINE(modernize-use-nullptr): clang-tidy 14 means the 0 in what the compiler generates
  friend auto operator<=>(const EnvironmentKey&, const EnvironmentKey&) = default;
};

Mutex& TableMutex() {
  static Mutex mu;
  return mu;
}
std::map<EnvironmentKey, std::weak_ptr<Environment>>& Table() {
  static auto* table = new std::map<EnvironmentKey, std::weak_ptr<Environment>>();  // outlives static Kvs
  return *table;
}

Result<std::shared_ptr<Environment>> SharedEnvironment(const LmdbOptions& options) {
  if (options.mode == LmdbOptions::Mode::kCreate) {
    RETURN_IF_ERROR(CreateDataFile(options));
  }
  const std::string data_path = options.directory + "/data.mdb";
  struct stat info {};
  if (::stat(data_path.c_str(), &info) != 0) {
    if (errno != ENOENT && errno != ENOTDIR) return ErrnoError(errno, fmt::format("stat {}", data_path));
    return Error(Code::kNotFound,
                 fmt::format("{}: no registry is here; make one with `modelfs init`", options.directory));
  }
  // LMDB's locks go when any descriptor of its lock file is closed (fcntl(2)), so a process must not open one
  // environment twice: a second Kv shares the first's.
  const MutexLock lock(TableMutex());
  std::weak_ptr<Environment>& known = Table()[{info.st_dev, info.st_ino, ::getpid()}];
  std::shared_ptr<Environment> env = known.lock();
  if (env == nullptr) {
    RETURN_IF_ERROR(CheckFileSystem(options.directory));
    WriteInPlace(options.directory);
    RETURN_IF_ERROR(CheckDataFile(data_path));
    ASSIGN_OR_RETURN(env, OpenEnvironment(options.directory, options));
    RETURN_IF_ERROR(env->WithRead("open", [](MDB_txn* txn) {
      Head head;
      return ReadHead(txn, &head);
    }));
    known = env;
  }
  return env;
}

// A file being filled with the entries of another, in their order: its pages are full, and none are free.
class PackedFile {
 public:
  PackedFile(const std::string& path, uint64_t map_bytes) : path_(path), map_bytes_(map_bytes) {}
  ~PackedFile() {
    if (!whole_) ::unlink(path_.c_str());
  }
  PackedFile(const PackedFile&) = delete;
  PackedFile& operator=(const PackedFile&) = delete;

  // LMDB's code of either environment.
  int Fill(MDB_txn* from) {
    MDB_env* raw = nullptr;
    if (const int rc = mdb_env_create(&raw); rc != 0) return rc;
    env_.reset(raw);
    mdb_env_set_mapsize(raw, map_bytes_);
    // No other process has it before it is whole; a leftover of a crash is thrown away.
    constexpr unsigned kAlone = MDB_NOSUBDIR | MDB_NOLOCK | MDB_NOSYNC;
    if (const int rc = mdb_env_open(raw, path_.c_str(), kAlone, kFileMode); rc != 0) return rc;
    MDB_cursor* cursor = nullptr;
    if (const int rc = mdb_cursor_open(from, 1, &cursor); rc != 0) return rc;
    const CursorHandle entries(cursor);
    MDB_val key{};
    MDB_val value{};
    int rc = mdb_cursor_get(cursor, &key, &value, MDB_FIRST);
    while (rc == 0) {
      if (const int begun = Begin(); begun != 0) return begun;
      for (size_t i = 0; rc == 0 && i < kCopyStep; ++i) {
        if (const int put = mdb_put(txn_.get(), 1, &key, &value, MDB_APPEND); put != 0) return put;
        rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
      }
      if (const int committed = mdb_txn_commit(txn_.release()); committed != 0) return committed;
    }
    return rc == MDB_NOTFOUND ? mdb_env_sync(raw, 1) : rc;
  }
  void Keep() { whole_ = true; }

 private:
  int Begin() {
    MDB_txn* raw = nullptr;
    if (const int rc = mdb_txn_begin(env_.get(), nullptr, 0, &raw); rc != 0) return rc;
    txn_.reset(raw);
    return OpenMain(raw);
  }

  const std::string path_;
  const uint64_t map_bytes_;
  bool whole_ = false;
  EnvHandle env_;
  TxnHandle txn_;  // goes before its environment
};

// "modelfs (pid 123), ...": the processes that have a file open, as far as they can be seen. Does not touch
// the files that others have open, because one on a mount that hangs would block.
std::string UsersOf(const std::string& path) {
  namespace files = std::filesystem;
  std::error_code failure;
  const std::string whole = files::canonical(path, failure).string();
  std::string users;
  const auto uses = [&](const files::path& process) {
    std::error_code gone;
    for (files::directory_iterator fd(process / "fd", gone); !gone && fd != files::directory_iterator();
         fd.increment(gone)) {
      if (files::read_symlink(fd->path(), gone) == whole) return true;
      gone.clear();
    }
    return false;
  };
  for (files::directory_iterator at("/proc", failure); !failure && at != files::directory_iterator();
       at.increment(failure)) {
    const std::string pid = at->path().filename().string();
    if (pid.find_first_not_of("0123456789") != std::string::npos || !uses(at->path())) continue;
    std::string name;
    std::ifstream(at->path() / "comm") >> name;
    users += fmt::format("{}{} (pid {})", users.empty() ? "" : ", ", name, pid);
  }
  return users.empty() ? "a process that is not visible from here" : users;
}

// Takes the whole of LMDB's own sign that an environment is open: fcntl(2)'s lock of the first byte of
// lock.mdb. Each process that has it open holds a share of the lock. If the file does not exist, no process
// has the environment open. The lock goes with the descriptor.
Result<Fd> ShutOut(const std::string& directory) {
  const std::string path = directory + "/lock.mdb";
  Fd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
  if (!fd.valid())
    return errno == ENOENT ? Result<Fd>(Fd()) : ErrnoError(errno, fmt::format("open {}", path));
  struct flock sign {};
  sign.l_type = F_WRLCK;
  sign.l_whence = SEEK_SET;
  sign.l_len = 1;
  if (::fcntl(fd.get(), F_SETLK, &sign) == 0) return fd;
  if (errno != EACCES && errno != EAGAIN) return ErrnoError(errno, fmt::format("lock {}", path));
  return Error(Code::kFailedPrecondition,
               fmt::format("{}/data.mdb is in use by {}; unmount or end its users, then try again", directory,
                           UsersOf(path)));
}

// The state of the last commit, read by this process alone. It does without LMDB's locks: closing their
// descriptor would drop them for the whole process.
class LoneReader {
 public:
  int Open(const std::string& directory) {
    MDB_env* raw = nullptr;
    if (const int rc = mdb_env_create(&raw); rc != 0) return rc;
    env_.reset(raw);
    if (const int rc = mdb_env_open(raw, directory.c_str(), MDB_RDONLY | MDB_NOLOCK, kFileMode); rc != 0)
      return rc;
    MDB_txn* txn = nullptr;
    if (const int rc = mdb_txn_begin(raw, nullptr, MDB_RDONLY, &txn); rc != 0) return rc;
    txn_.reset(txn);
    return OpenMain(txn);
  }
  MDB_txn* txn() const { return txn_.get(); }
  // The size of the entries, without free pages.
  uint64_t UsedBytes() const {
    constexpr uint64_t kMetaAndFreePages = 8;
    MDB_stat stat{};
    mdb_stat(txn_.get(), 1, &stat);
    return (stat.ms_branch_pages + stat.ms_leaf_pages + stat.ms_overflow_pages + kMetaAndFreePages) *
           stat.ms_psize;
  }

 private:
  EnvHandle env_;
  TxnHandle txn_;  // goes before its environment
};

Status CheckRoom(const std::string& directory, uint64_t bytes) {
  struct statvfs disk {};
  if (::statvfs(directory.c_str(), &disk) != 0)
    return ErrnoError(errno, fmt::format("statvfs {}", directory));
  const uint64_t room = uint64_t{disk.f_bavail} * disk.f_frsize;
  if (room >= bytes + kReserveBytes) return OkStatus();
  return Error(
      Code::kNoSpace,
      fmt::format("{}: the new data.mdb of {} bytes is written beside the old one, and the disk has {} "
                  "bytes left; make room first",
                  directory, bytes, room));
}

// Gives the new file the old one's owner, group and mode, and makes it durable.
Status Finish(const std::string& path, const struct stat& as) {
  const Fd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
  if (!fd.valid()) return ErrnoError(errno, fmt::format("open {}", path));
  struct stat made {};
  if (::fstat(fd.get(), &made) != 0) return ErrnoError(errno, fmt::format("stat {}", path));
  const bool same_owner = made.st_uid == as.st_uid && made.st_gid == as.st_gid;
  if (!same_owner && ::fchown(fd.get(), as.st_uid, as.st_gid) != 0) {
    return ErrnoError(errno, fmt::format("chown {}", path));
  }
  if (::fchmod(fd.get(), as.st_mode & 07777U) != 0) return ErrnoError(errno, fmt::format("chmod {}", path));
  if (::fsync(fd.get()) != 0) return ErrnoError(errno, fmt::format("fsync {}", path));
  return OkStatus();
}

// For a data.mdb that no process has open and none can open.
Result<Compaction> CompactAlone(const std::string& directory, const struct stat& old, Compact how) {
  const std::string data_path = directory + "/data.mdb";
  const std::string fresh = directory + "/compact.mdb";
  RETURN_IF_ERROR(CheckDataFile(data_path));
  if (::unlink(fresh.c_str()) != 0 && errno != ENOENT)
    return ErrnoError(errno, fmt::format("unlink {}", fresh));
  const InsideMap inside;
  LoneReader reader;
  if (const int rc = reader.Open(directory); rc != 0)
    return LmdbError(rc, fmt::format("{}: open", data_path));
  Compaction compaction{static_cast<uint64_t>(old.st_size), reader.UsedBytes()};
  RETURN_IF_ERROR(CheckRoom(directory, compaction.bytes_after));
  if (how == Compact::kTry) return compaction;
  PackedFile packed(fresh, compaction.bytes_after + kCopyMapSlack);
  if (const int rc = packed.Fill(reader.txn()); rc != 0) return LmdbError(rc, fmt::format("write {}", fresh));
  RETURN_IF_ERROR(Finish(fresh, old));
  FAIL_POINT("kv.compact.written");
  struct stat made {};
  if (::stat(fresh.c_str(), &made) != 0) return ErrnoError(errno, fmt::format("stat {}", fresh));
  compaction.bytes_after = static_cast<uint64_t>(std::min(made.st_size, old.st_size));
  if (made.st_size >= old.st_size) return compaction;
  if (::rename(fresh.c_str(), data_path.c_str()) != 0)
    return ErrnoError(errno, fmt::format("rename {}", fresh));
  packed.Keep();
  FAIL_POINT("kv.compact.renamed");
  RETURN_IF_ERROR(SyncDirectory(directory));
  return compaction;
}

}  // namespace

Result<std::unique_ptr<Kv>> OpenLmdbKv(const LmdbOptions& options) {
  ASSIGN_OR_RETURN(std::shared_ptr<Environment> env, SharedEnvironment(options));
  return std::unique_ptr<Kv>(std::make_unique<LmdbKv>(std::move(env), options.poll_every));
}

Status CopyLmdb(const LmdbOptions& options, const std::string& to) {
  ASSIGN_OR_RETURN(const std::shared_ptr<Environment> env, SharedEnvironment(options));
  // LMDB would continue in an existing file.
  if (::access(to.c_str(), F_OK) == 0)
    return Error(Code::kAlreadyExists, fmt::format("{} exists already", to));
  MDB_envinfo info{};
  mdb_env_info(env->get(), &info);
  PackedFile packed(to, info.me_mapsize + kCopyMapSlack);
  RETURN_IF_ERROR(
      env->WithRead(fmt::format("copy to {}", to), [&](MDB_txn* txn) { return packed.Fill(txn); }));
  packed.Keep();
  return OkStatus();
}

Result<Compaction> CompactLmdb(const LmdbOptions& options, Compact how) {
  const std::string& directory = options.directory;
  struct stat old {};
  if (::stat((directory + "/data.mdb").c_str(), &old) != 0) {
    return ErrnoError(errno, fmt::format("stat {}/data.mdb", directory));
  }
  // Holds off openers in this process, because LMDB's sign does not work between two users in one process.
  const MutexLock lock(TableMutex());
  if (const auto known = Table().find({old.st_dev, old.st_ino, ::getpid()});
      known != Table().end() && !known->second.expired()) {
    return Error(Code::kFailedPrecondition, fmt::format("{}/data.mdb is open in this process", directory));
  }
  RETURN_IF_ERROR(CheckFileSystem(directory));
  ASSIGN_OR_RETURN(const std::unique_ptr<LockFile> locks, LockFile::Open(directory + "/writer.lock"));
  ASSIGN_OR_RETURN(const LockFile::Held opening,
                   locks->Take(LockFile::Lock::kOpening, Deadline::After(TableWait(options.lock_wait))));
  ASSIGN_OR_RETURN(const Fd alone, ShutOut(directory));
  // Another compaction may have replaced it.
  if (::stat((directory + "/data.mdb").c_str(), &old) != 0) {
    return ErrnoError(errno, fmt::format("stat {}/data.mdb", directory));
  }
  return CompactAlone(directory, old, how);
}

}  // namespace modelfs::store
