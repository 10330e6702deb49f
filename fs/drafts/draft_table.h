// The drafts of this mount: maps a name under a model's versions/ to a draft of the DraftStore.
//
// A draft belongs to the mount point and user in its label, so it is there again when that user mounts there
// again. It ends by being committed, by rmdir, with its model, or by being unused for the mount's draft
// lifetime. However it ends, its open files stay readable until they are closed.
//
// Setting a clock does not make a draft old: the time that this process has seen pass since the draft was
// used counts by a clock that never jumps. For the time before that, only the wall clock is available, which
// may have been wrong then or be wrong now. So a draft that was not used since this process started is always
// kept for a seventh of the lifetime from then on: a day, of seven.
//
// Thread-safe. Has a thread of its own that ends expired drafts.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "cas/base/clock.h"
#include "cas/base/result.h"
#include "cas/base/thread.h"
#include "cas/drafts/draft_store.h"
#include "fs/base/context.h"
#include "store/draft_label.h"
#include "store/types.h"

namespace modelfs::fs {

enum class DraftState {
  kOpen,        // writable
  kCommitting,  // sealed or about to be: reads only, for now
  kEnded,       // committed or removed: reads only, and only while something in it is open
};

class DraftTable {
 public:
  // One draft. Its changing fields are read through the table.
  class Record {
   public:
    Record(std::shared_ptr<cas::Draft> cas_draft, store::ObjectId of_model, uid_t made_by)
        : draft(std::move(cas_draft)), model(of_model), creator(made_by) {}
    const std::shared_ptr<cas::Draft> draft;
    const store::ObjectId model;
    const uid_t creator;  // the only user it is open to

   private:
    friend class DraftTable;
    // Guarded by the table's mu_.
    std::string name_;
    DraftState state_ = DraftState::kOpen;
    store::DraftFields fields_;
    std::optional<store::VersionId> copied_from_;
    std::optional<std::pair<store::VersionNumber, Digest>> sealing_;
    std::optional<store::VersionNumber> committed_as_;
    size_t handles_ = 0;
    std::multimap<cas::DraftNode, pid_t> writers_;  // one for each handle for writing
    int64_t used_ms_ = 0;
    int64_t saved_used_ms_ = 0;
    // The time of its last use by the clock that never jumps; if it was not used since the start, the time it
    // was found. And how long it had been unused by then, according to the label.
    int64_t seen_ms_ = 0;
    int64_t unused_before_ms_ = 0;
    std::set<cas::DraftNode> unlinked_;  // nameless, but still known to the kernel
    // Held while the label is written, so that the newer of two labels stays. It is the one lock of fs/ that
    // is held across I/O, and only another change of the same draft's label waits for it.
    Mutex label_mu_;
  };
  using RecordPtr = std::shared_ptr<Record>;

  // Loads this mount's drafts. The context's registry and drafts must be set, and with `clock` outlive the
  // table. Waits up to two seconds for drafts that another process still holds, such as a daemon that was
  // killed a moment ago. Drafts that are held for longer appear once they are free.
  static Result<std::unique_ptr<DraftTable>> Open(Context& context, const Clock& clock);
  ~DraftTable();

  // kAlreadyExists, or as DraftStore::Create.
  Result<RecordPtr> Create(store::ObjectId model, const std::string& name, uid_t creator) EXCLUDES(mu_);
  // nullptr if no such draft exists.
  RecordPtr Find(store::ObjectId model, std::string_view name) EXCLUDES(mu_);
  RecordPtr Get(cas::DraftNumber number) EXCLUDES(mu_);
  // Names and numbers, by name; all, or those of one user.
  std::vector<std::pair<std::string, cas::DraftNumber>> List(store::ObjectId model,
                                                             std::optional<uid_t> creator = std::nullopt)
      EXCLUDES(mu_);
  // Maps a directory of the draft to the directory of the version's tree (its node there) that it became.
  using Directories = std::unordered_map<cas::DraftNode, uint32_t>;
  struct Commit {
    store::ObjectId model = 0;
    store::VersionNumber version = 0;
    store::VersionId id = 0;
    std::shared_ptr<const Directories> directories = nullptr;  // may be null
    uid_t creator = 0;                                         // of the draft; set by Committed
  };
  // The commit of a draft that Get no longer finds, as long as it is remembered.
  std::optional<Commit> CommittedAs(cas::DraftNumber number) EXCLUDES(mu_);

  std::string NameOf(const Record& record) EXCLUDES(mu_);
  DraftState StateOf(const Record& record) EXCLUDES(mu_);
  std::optional<store::VersionNumber> VersionOf(const Record& record) EXCLUDES(mu_);
  store::DraftFields FieldsOf(const Record& record) EXCLUDES(mu_);
  Status SetFields(Record& record, store::DraftFields fields) EXCLUDES(mu_);
  // A file was copied from that version; the first such version is remembered.
  void CopiedFrom(Record& record, store::VersionId version) EXCLUDES(mu_);
  std::optional<store::VersionId> FirstCopiedFrom(const Record& record) EXCLUDES(mu_);
  // Marks the draft as used now: its lifetime starts again.
  void Touch(Record& record) EXCLUDES(mu_);

  // kAlreadyExists; kNotFound if the draft has ended.
  Status Relabel(Record& record, const std::string& new_name) EXCLUDES(mu_);
  // Exchanges the names of two drafts of one model. kNotFound if one has ended.
  Status Swap(Record& a, Record& b) EXCLUDES(mu_);
  // Ends a draft on behalf of rmdir.
  Status Remove(const RecordPtr& record) EXCLUDES(mu_);

  // kOpen -> kCommitting; false in any other state.
  bool BeginCommit(Record& record) EXCLUDES(mu_);
  // Call it between Seal and CommitVersion: it saves the version to look for after a crash.
  Status NoteSealed(Record& record, store::VersionNumber number, const Digest& tree) EXCLUDES(mu_);
  // kCommitting -> kOpen; or the draft ends, if its model is gone.
  void CommitFailed(Record& record) EXCLUDES(mu_);
  // kCommitting -> kEnded.
  void Committed(const RecordPtr& record, Commit commit) EXCLUDES(mu_);
  // Waits until no file that has a name is open for writing; returns false when `deadline` passed.
  bool WaitForWriters(Record& record, const Deadline& deadline) EXCLUDES(mu_);

  // A file that keeps a commit waiting, and the process that opened it.
  struct Writer {
    cas::DraftNode node = 0;
    pid_t pid = 0;  // 0: a process of another pid namespace
  };
  // The first writer that WaitForWriters would wait for; nothing if no file is open for writing.
  std::optional<Writer> WriterOf(Record& record) EXCLUDES(mu_);

  // Keeps a draft's files readable. One for each open handle; `writer` is set for a handle that writes.
  class Hold {
   public:
    Hold(DraftTable& table, RecordPtr record, std::optional<Writer> writer);
    Hold(Hold&&) = default;
    Hold& operator=(Hold&&) = delete;
    ~Hold() {
      if (record_ != nullptr) table_->Released(record_, writer_);
    }
    Record& record() const { return *record_; }

   private:
    DraftTable* table_;
    RecordPtr record_;
    std::optional<Writer> writer_;
  };

  // Unlinked: the last name of `node` was removed. Forgotten: the kernel no longer refers to it either.
  void Unlinked(Record& record, cas::DraftNode node) EXCLUDES(mu_);
  void Forgotten(cas::DraftNumber number, cas::DraftNode node) EXCLUDES(mu_);

  // Ends the drafts of a model that was deleted. Returns at once: the table's thread asks the registry
  // whether it is gone, and ends them.
  void ModelMayBeGone(store::ObjectId model) EXCLUDES(mu_);

  // Ends drafts that were unused for too long: this mount's, and those that no process holds because their
  // mounts are not up. Returns how many.
  uint64_t Expire() EXCLUDES(mu_);

 private:
  DraftTable(Context& context, const Clock& clock)
      : context_(context), clock_(clock), opened_ms_(clock.NowMs()), opened_boot_ms_(clock.SinceBootMs()) {}

  // Returns how many of this mount's drafts another process holds.
  Result<size_t> Load() EXCLUDES(mu_);
  // How long a draft is kept after it was found, in milliseconds.
  int64_t KeptWhenFoundMs() const;
  void UsedNow(Record& record) const REQUIRES(mu_);
  // If the model is gone, ends its drafts. Returns how many.
  uint64_t EndWithModel(store::ObjectId model) EXCLUDES(mu_);
  enum class Reason { kModelDeleted, kUnused };
  // Ends the draft if it is open and, for kUnused, unused for too long. Returns how many it ended (0 or 1).
  uint64_t EndIfOpen(const RecordPtr& record, Reason reason) EXCLUDES(mu_);
  bool IsUnused(const Record& record) const REQUIRES(mu_);
  // Ends expired drafts of mounts that are not up. Returns how many.
  uint64_t ExpireOthers();
  // Forgets the oldest commits when more are remembered than there is room for.
  void ForgetCommits() REQUIRES(mu_);
  Result<bool> WasCommitted(const Record& record) EXCLUDES(mu_);
  std::string LabelOf(const Record& record) const REQUIRES(mu_);
  Status SaveLabel(Record& record) EXCLUDES(mu_);
  void Released(const RecordPtr& record, const std::optional<Writer>& writer) EXCLUDES(mu_);
  // Removes its name and, if no file in it is open, its files.
  Status End(const RecordPtr& record) EXCLUDES(mu_);
  Status DiscardNow(const RecordPtr& record) EXCLUDES(mu_);
  void Run(const std::stop_token& stop, size_t held) EXCLUDES(mu_);

  Context& context_;
  const Clock& clock_;
  const int64_t opened_ms_;
  const int64_t opened_boot_ms_;

  Mutex mu_;
  CondVar released_;
  CondVar wake_;  // the thread
  // nullptr: the name is being made.
  std::map<std::pair<store::ObjectId, std::string>, RecordPtr, std::less<>> by_name_ GUARDED_BY(mu_);
  std::map<cas::DraftNumber, RecordPtr> by_number_ GUARDED_BY(mu_);
  std::set<store::ObjectId> models_to_check_ GUARDED_BY(mu_);
  // The last kRememberedCommits drafts that became versions, for the message to callers that still write
  // there.
  static constexpr size_t kRememberedCommits = 1024;
  std::map<cas::DraftNumber, Commit> committed_ GUARDED_BY(mu_);
  std::deque<cas::DraftNumber> committed_order_ GUARDED_BY(mu_);
  // The bound on the entries of Commit::directories that are remembered: the oldest commit loses its first.
  static constexpr size_t kRememberedDirectories = 1'000'000;
  size_t remembered_directories_ GUARDED_BY(mu_) = 0;
  std::jthread thread_;  // last: it uses the others
};

}  // namespace modelfs::fs
