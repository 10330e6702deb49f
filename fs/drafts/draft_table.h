// The drafts of this mount: which name under which model's versions/ is which draft of the DraftStore.
//
// A draft belongs to the mount point and user in its label, so it is there again when that user mounts
// there again. It ends by being committed, by rmdir, with its model, or by being unused for the mount's
// draft lifetime. Whatever ends it, what is open in it stays readable until it is closed.
//
// A clock that is set does not make a draft old: the time that this process has seen pass since the draft was
// used counts by a clock that never jumps. What it did not see, only the clock on the wall can tell, which
// may have been wrong then or be wrong now. So whatever else it says, a draft that was not used since this
// process started is kept for a seventh of the lifetime from then on: a day, of seven.
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
#include "store/registry.h"

namespace modelfs::fs {

enum class DraftState {
  kOpen,        // writable
  kCommitting,  // sealed or about to be: reads only, for now
  kEnded,       // committed or removed: reads only, and only while something in it is open
};

class DraftTable {
 public:
  // One draft. What may change of it is read through the table.
  class Record {
   public:
    Record(std::shared_ptr<cas::Draft> cas_draft, store::ObjectId of_model, uid_t made_by)
        : draft(std::move(cas_draft)), model(of_model), creator(made_by) {}
    const std::shared_ptr<cas::Draft> draft;
    const store::ObjectId model;
    const uid_t creator;  // to whom alone it is open

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
    // By the clock that never jumps: when it was used last or, where it was not used since, found; and how
    // long it was unused by then, as the label said.
    int64_t seen_ms_ = 0;
    int64_t unused_before_ms_ = 0;
    std::set<cas::DraftNode> unlinked_;  // without a name, but still known to the kernel
    // Held while the label is written, so that two writers leave the newer one: the one lock of fs/ that is
    // held across I/O, and only who changes the same draft's label waits for it.
    Mutex label_mu_;
  };
  using RecordPtr = std::shared_ptr<Record>;

  // Loads this mount's drafts. The context's registry and drafts must be set, and with `clock` outlive the
  // table. Waits up to two seconds for drafts that somebody still holds, as the daemon before us does that
  // was killed a moment ago; what is held for longer appears once it is free.
  static Result<std::unique_ptr<DraftTable>> Open(Context& context, const Clock& clock);
  ~DraftTable();

  // kAlreadyExists, or as DraftStore::Create.
  Result<RecordPtr> Create(store::ObjectId model, const std::string& name, uid_t creator) EXCLUDES(mu_);
  // nullptr where there is none.
  RecordPtr Find(store::ObjectId model, std::string_view name) EXCLUDES(mu_);
  RecordPtr Get(cas::DraftNumber number) EXCLUDES(mu_);
  // Names and numbers, by name; all, or those of one user.
  std::vector<std::pair<std::string, cas::DraftNumber>> List(store::ObjectId model,
                                                             std::optional<uid_t> creator = std::nullopt)
      EXCLUDES(mu_);
  // Which directory of the version's tree (its node there) a directory of the draft became.
  using Directories = std::unordered_map<cas::DraftNode, uint32_t>;
  struct Commit {
    store::ObjectId model = 0;
    store::VersionNumber version = 0;
    store::VersionId id = 0;
    std::shared_ptr<const Directories> directories = nullptr;  // may be null
    uid_t creator = 0;                                         // of the draft; set by Committed
  };
  // What became of a draft that Get does not answer, as far as is remembered.
  std::optional<Commit> CommittedAs(cas::DraftNumber number) EXCLUDES(mu_);

  std::string NameOf(const Record& record) EXCLUDES(mu_);
  DraftState StateOf(const Record& record) EXCLUDES(mu_);
  std::optional<store::VersionNumber> VersionOf(const Record& record) EXCLUDES(mu_);
  store::DraftFields FieldsOf(const Record& record) EXCLUDES(mu_);
  Status SetFields(Record& record, store::DraftFields fields) EXCLUDES(mu_);
  // A file was copied from that version; the first one is remembered.
  void CopiedFrom(Record& record, store::VersionId version) EXCLUDES(mu_);
  std::optional<store::VersionId> FirstCopiedFrom(const Record& record) EXCLUDES(mu_);
  // The draft was used now: its lifetime starts again.
  void Touch(Record& record) EXCLUDES(mu_);

  // kAlreadyExists; kNotFound where the draft has ended.
  Status Relabel(Record& record, const std::string& new_name) EXCLUDES(mu_);
  // Two drafts of one model change names. kNotFound where one has ended.
  Status Swap(Record& a, Record& b) EXCLUDES(mu_);
  // Ends a draft that was removed.
  Status Remove(const RecordPtr& record) EXCLUDES(mu_);

  // kOpen -> kCommitting; false where it is something else.
  bool BeginCommit(Record& record) EXCLUDES(mu_);
  // To be called between Seal and CommitVersion: what to look for after a crash.
  Status NoteSealed(Record& record, store::VersionNumber number, const Digest& tree) EXCLUDES(mu_);
  // kCommitting -> kOpen; or the draft ends, where its model is gone.
  void CommitFailed(Record& record) EXCLUDES(mu_);
  // kCommitting -> kEnded.
  void Committed(const RecordPtr& record, Commit commit) EXCLUDES(mu_);
  // Until no file that has a name is open for writing; false when `deadline` passed.
  bool WaitForWriters(Record& record, const Deadline& deadline) EXCLUDES(mu_);

  // A file that keeps a commit waiting, and the process that opened it.
  struct Writer {
    cas::DraftNode node = 0;
    pid_t pid = 0;  // 0: one of another pid namespace
  };
  // The first that WaitForWriters would wait for; nothing where there is none.
  std::optional<Writer> WriterOf(Record& record) EXCLUDES(mu_);

  // Keeps what is in a draft readable. One for each open handle; `writer` where it is one for writing.
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

  // The last name of `node` went; Forgotten says that the kernel let go of it too.
  void Unlinked(Record& record, cas::DraftNode node) EXCLUDES(mu_);
  void Forgotten(cas::DraftNumber number, cas::DraftNode node) EXCLUDES(mu_);

  // Ends the drafts of a model that was deleted. Returns at once: the table's thread asks the registry
  // whether it is gone, and does it.
  void ModelMayBeGone(store::ObjectId model) EXCLUDES(mu_);

  // Ends what was unused for too long, here and among drafts that no process holds, those whose mounts are
  // not up. Answers how many.
  uint64_t Expire() EXCLUDES(mu_);

 private:
  DraftTable(Context& context, const Clock& clock)
      : context_(context), clock_(clock), opened_ms_(clock.NowMs()), opened_boot_ms_(clock.SinceBootMs()) {}

  // Answers how many of this mount's drafts somebody else holds.
  Result<size_t> Load() EXCLUDES(mu_);
  // How long a draft is kept after it was found, in milliseconds.
  int64_t KeptWhenFoundMs() const;
  void UsedNow(Record& record) const REQUIRES(mu_);
  // Where the model is gone. Answers how many.
  uint64_t EndWithModel(store::ObjectId model) EXCLUDES(mu_);
  enum class Reason { kModelDeleted, kUnused };
  // Where it is open and, for kUnused, is that. Answers how many.
  uint64_t EndIfOpen(const RecordPtr& record, Reason reason) EXCLUDES(mu_);
  bool IsUnused(const Record& record) const REQUIRES(mu_);
  // Drafts of mounts that are not up. Answers how many.
  uint64_t ExpireOthers();
  // Of the oldest commits, where more are remembered than there is room for.
  void ForgetCommits() REQUIRES(mu_);
  Result<bool> WasCommitted(const Record& record) EXCLUDES(mu_);
  std::string LabelOf(const Record& record) const REQUIRES(mu_);
  Status SaveLabel(Record& record) EXCLUDES(mu_);
  void Released(const RecordPtr& record, const std::optional<Writer>& writer) EXCLUDES(mu_);
  // Takes its name and, where nothing in it is open, its files.
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
  // The last kRememberedCommits drafts that became versions, for the sentence to whoever still writes there.
  static constexpr size_t kRememberedCommits = 1024;
  std::map<cas::DraftNumber, Commit> committed_ GUARDED_BY(mu_);
  std::deque<cas::DraftNumber> committed_order_ GUARDED_BY(mu_);
  // Of how many directories of them it is remembered what they became: of the oldest it is forgotten first.
  static constexpr size_t kRememberedDirectories = 1'000'000;
  size_t remembered_directories_ GUARDED_BY(mu_) = 0;
  std::jthread thread_;  // last: it uses the others
};

}  // namespace modelfs::fs
