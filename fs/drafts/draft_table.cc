#include "fs/drafts/draft_table.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <thread>

#include "cas/base/fail_point.h"
#include "cas/base/text.h"
#include "fs/base/node_id.h"

namespace modelfs::fs {
namespace {

// The label is rewritten for its time of use no more often than this part of the lifetime.
constexpr int64_t kUsedSavesPerLifetime = 100;
constexpr int64_t kFoundKeptPerLifetime = 7;
constexpr auto kFirstExpire = std::chrono::minutes(1);  // the first users of the mount need not wait
constexpr auto kExpireEvery = std::chrono::minutes(10);
constexpr auto kWaitForHeld = std::chrono::seconds(2);
constexpr auto kHeldPoll = std::chrono::milliseconds(10);
constexpr auto kHeldAgain = std::chrono::seconds(1);

Error IsOver() {
  return {Code::kNotFound, "the draft is gone: it was removed, was committed, or ended with its model"};
}

}  // namespace

Result<std::unique_ptr<DraftTable>> DraftTable::Open(Context& context, const Clock& clock) {
  std::unique_ptr<DraftTable> table(new DraftTable(context, clock));
  ASSIGN_OR_RETURN(size_t held, table->Load());
  for (const Deadline deadline = Deadline::After(kWaitForHeld); held > 0 && !deadline.Passed();) {
    std::this_thread::sleep_for(kHeldPoll);
    ASSIGN_OR_RETURN(held, table->Load());
  }
  if (held > 0 && context.log != nullptr) {
    context.log->warn(
        "drafts_held count={} reason=\"another process holds them; they appear when it releases them\"",
        held);
  }
  DraftTable* self = table.get();
  self->thread_ = std::jthread([self, held](const std::stop_token& stop) { self->Run(stop, held); });
  return table;
}

DraftTable::~DraftTable() {
  thread_.request_stop();
  {
    const MutexLock lock(mu_);
    wake_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
}

Result<size_t> DraftTable::Load() {
  const std::string mount = Printable(context_.mount_point);
  const uint64_t uid = context_.uid;
  ASSIGN_OR_RETURN(const cas::DraftStore::Loaded loaded, context_.drafts->Load([&](std::string_view text) {
    const std::optional<store::DraftLabel> label = store::DraftLabel::Decode(text);
    return label.has_value() && label->mount == mount && label->uid == uid;
  }));
  if (loaded.newer > 0 && context_.log != nullptr) {
    context_.log->warn(
        "drafts_newer count={} reason=\"a later version of modelfs made them; use that version\"",
        loaded.newer);
  }
  for (const std::shared_ptr<cas::Draft>& draft : loaded.drafts) {
    std::optional<store::DraftLabel> label = store::DraftLabel::Decode(draft->label());
    if (!label.has_value()) continue;
    auto record = std::make_shared<Record>(draft, label->model, label->creator);
    record->name_ = std::move(label->name);
    record->fields_ = std::move(label->fields);
    record->copied_from_ = label->copied_from;
    record->sealing_ = label->sealing;
    record->used_ms_ = record->saved_used_ms_ = label->used_ms;
    record->seen_ms_ = clock_.SinceBootMs();
    record->unused_before_ms_ = std::max<int64_t>(clock_.NowMs() - label->used_ms, 0);

    bool over = label->ended;
    const Result<store::ObjectInfo> model = context_.registry->Get(context_.daemon, label->model);
    if (!model.ok() && model.error().code() != Code::kNotFound) {
      return model.error().Wrap("load drafts");
    }
    over = over || !model.ok();
    if (!over && record->sealing_.has_value()) {
      ASSIGN_OR_RETURN(over, WasCommitted(*record));
      if (!over) {
        record->draft->Unseal();
        record->sealing_.reset();
        RETURN_IF_ERROR(SaveLabel(*record));
      }
    }
    if (over) {
      context_.drafts->Discard(draft).IgnoreError("the next start tries again");
      continue;
    }
    const MutexLock lock(mu_);
    // A crash within Swap leaves two drafts of one name: both are kept.
    if (by_name_.contains({record->model, record->name_})) {
      record->name_ += "-" + std::to_string(draft->number());
    }
    by_name_[{record->model, record->name_}] = record;
    by_number_[draft->number()] = record;
  }
  return loaded.held;
}

// Whether the commit that a crash interrupted had reached the registry. Another client may have committed the
// same tree under the number, so the version must also have the tags and the description of this draft. If
// the version was ours and was changed or deleted since, the draft comes back: the two cases look the same,
// and a surplus draft does no harm.
Result<bool> DraftTable::WasCommitted(const Record& record) {
  const store::VersionNumber number = record.sealing_->first;
  store::DraftFields fields;
  {
    const MutexLock lock(mu_);
    fields = record.fields_;
  }
  const Result<store::VersionInfo> version =
      context_.registry->GetVersion(context_.daemon, record.model, number);
  const Result<std::map<std::string, std::string>> tags =
      version.ok() ? context_.registry->Tags(context_.daemon, {.object = record.model, .version = number})
                   : version.error();
  if (!tags.ok() && tags.error().code() != Code::kNotFound) return tags.error();
  return tags.ok() && version->status == store::VersionStatus::kReady &&
         version->tree == record.sealing_->second && version->comment == fields.description &&
         std::all_of(fields.tags.begin(), fields.tags.end(), [&](const auto& tag) {
           const auto given = tags->find(tag.first);
           return given != tags->end() && given->second == tag.second;
         });
}

std::string DraftTable::LabelOf(const Record& record) const {
  return store::DraftLabel{.mount = Printable(context_.mount_point),
                           .uid = context_.uid,
                           .creator = record.creator,
                           .model = record.model,
                           .name = record.name_,
                           .used_ms = record.used_ms_,
                           .fields = record.fields_,
                           .copied_from = record.copied_from_,
                           .sealing = record.sealing_,
                           .ended = record.state_ == DraftState::kEnded}
      .Encode();
}

Status DraftTable::SaveLabel(Record& record) {
  const MutexLock writing(record.label_mu_);
  std::string label;
  {
    const MutexLock lock(mu_);
    label = LabelOf(record);
    record.saved_used_ms_ = record.used_ms_;
  }
  return record.draft->SetLabel(label);
}

Result<DraftTable::RecordPtr> DraftTable::Create(store::ObjectId model, const std::string& name,
                                                 uid_t creator) {
  {
    const MutexLock lock(mu_);
    if (!by_name_.try_emplace({model, name}, nullptr).second) {
      return Error(Code::kAlreadyExists, fmt::format("draft {}: exists already", Printable(name)));
    }
  }
  // The label is complete from the start: a draft without one would belong to no mount.
  store::DraftLabel label;
  label.mount = Printable(context_.mount_point);
  label.uid = context_.uid;
  label.creator = creator;
  label.model = model;
  label.name = name;
  label.used_ms = clock_.NowMs();
  Result<std::shared_ptr<cas::Draft>> draft = context_.drafts->Create(label.Encode());
  const MutexLock lock(mu_);
  if (!draft.ok()) {
    by_name_.erase({model, name});
    return std::move(draft).error().Wrap(fmt::format("draft {}", Printable(name)));
  }
  auto record = std::make_shared<Record>(*std::move(draft), model, creator);
  record->name_ = name;
  record->used_ms_ = record->saved_used_ms_ = clock_.NowMs();
  record->seen_ms_ = clock_.SinceBootMs();
  by_name_[{model, name}] = record;
  by_number_[record->draft->number()] = record;
  return record;
}

DraftTable::RecordPtr DraftTable::Find(store::ObjectId model, std::string_view name) {
  const MutexLock lock(mu_);
  const auto it = by_name_.find(std::pair(model, std::string(name)));
  return it == by_name_.end() ? nullptr : it->second;
}

DraftTable::RecordPtr DraftTable::Get(cas::DraftNumber number) {
  const MutexLock lock(mu_);
  const auto it = by_number_.find(number);
  return it == by_number_.end() ? nullptr : it->second;
}

std::vector<std::pair<std::string, cas::DraftNumber>> DraftTable::List(store::ObjectId model,
                                                                       std::optional<uid_t> creator) {
  const MutexLock lock(mu_);
  std::vector<std::pair<std::string, cas::DraftNumber>> names;
  for (auto it = by_name_.lower_bound({model, std::string()}); it != by_name_.end(); ++it) {
    if (it->first.first != model) break;
    if (it->second == nullptr || (creator && it->second->creator != *creator)) continue;
    names.emplace_back(it->first.second, it->second->draft->number());
  }
  return names;
}

std::optional<DraftTable::Commit> DraftTable::CommittedAs(cas::DraftNumber number) {
  const MutexLock lock(mu_);
  const auto it = committed_.find(number);
  if (it == committed_.end()) return std::nullopt;
  return it->second;
}

std::string DraftTable::NameOf(const Record& record) {
  const MutexLock lock(mu_);
  return record.name_;
}

DraftState DraftTable::StateOf(const Record& record) {
  const MutexLock lock(mu_);
  return record.state_;
}

std::optional<store::VersionNumber> DraftTable::VersionOf(const Record& record) {
  const MutexLock lock(mu_);
  return record.committed_as_;
}

store::DraftFields DraftTable::FieldsOf(const Record& record) {
  const MutexLock lock(mu_);
  return record.fields_;
}

Status DraftTable::SetFields(Record& record, store::DraftFields fields) {
  {
    const MutexLock lock(mu_);
    std::swap(record.fields_, fields);
  }
  Status saved = SaveLabel(record);
  if (!saved.ok()) {
    const MutexLock lock(mu_);
    record.fields_ = std::move(fields);
  }
  return saved;
}

void DraftTable::CopiedFrom(Record& record, store::VersionId version) {
  {
    const MutexLock lock(mu_);
    if (record.copied_from_.has_value()) return;
    record.copied_from_ = version;
  }
  SaveLabel(record).IgnoreError("a version made of it after a restart then names no source");
}

std::optional<store::VersionId> DraftTable::FirstCopiedFrom(const Record& record) {
  const MutexLock lock(mu_);
  return record.copied_from_;
}

void DraftTable::UsedNow(Record& record) const {
  record.used_ms_ = clock_.NowMs();
  record.seen_ms_ = clock_.SinceBootMs();
  record.unused_before_ms_ = 0;
}

void DraftTable::Touch(Record& record) {
  bool save = false;
  {
    const MutexLock lock(mu_);
    UsedNow(record);
    const int64_t save_after_ms = context_.draft_lifetime_s * 1000 / kUsedSavesPerLifetime;
    save = record.state_ == DraftState::kOpen &&
           std::abs(record.used_ms_ - record.saved_used_ms_) > save_after_ms;
  }
  if (save) SaveLabel(record).IgnoreError("the draft then expires a little earlier after a restart");
}

Status DraftTable::Relabel(Record& record, const std::string& new_name) {
  std::string old_name;
  {
    const MutexLock lock(mu_);
    if (record.state_ == DraftState::kEnded) return IsOver();
    if (!by_name_.try_emplace({record.model, new_name}, nullptr).second) {
      return Error(Code::kAlreadyExists, fmt::format("draft {}: exists already", Printable(new_name)));
    }
    old_name = record.name_;
    record.name_ = new_name;
  }
  Status saved = SaveLabel(record);
  const MutexLock lock(mu_);
  if (record.state_ == DraftState::kEnded) {  // meanwhile; its end removes the new name
    by_name_.erase({record.model, old_name});
    return IsOver();
  }
  const std::string& gone = saved.ok() ? old_name : new_name;
  if (!saved.ok()) record.name_ = old_name;
  by_name_[{record.model, record.name_}] = by_number_.at(record.draft->number());
  by_name_.erase({record.model, gone});
  return saved;
}

Status DraftTable::Swap(Record& a, Record& b) {
  const auto exchange = [&]() -> Status {
    const MutexLock lock(mu_);
    for (const Record* each : {&a, &b}) {
      if (each->state_ == DraftState::kEnded) return IsOver();
    }
    std::swap(a.name_, b.name_);
    std::swap(by_name_[{a.model, a.name_}], by_name_[{b.model, b.name_}]);
    return OkStatus();
  };
  RETURN_IF_ERROR(exchange());
  Status saved = SaveLabel(a);
  if (saved.ok()) saved = SaveLabel(b);
  if (!saved.ok()) {
    exchange().IgnoreError("one of them is over, and the other keeps the name that it has now");
    for (Record* each : {&a, &b}) {
      SaveLabel(*each).IgnoreError("the names in memory are right; Load resolves twins");
    }
  }
  return saved;
}

Status DraftTable::Remove(const RecordPtr& record) { return End(record); }

bool DraftTable::BeginCommit(Record& record) {
  const MutexLock lock(mu_);
  if (record.state_ != DraftState::kOpen) return false;
  record.state_ = DraftState::kCommitting;
  return true;
}

Status DraftTable::NoteSealed(Record& record, store::VersionNumber number, const Digest& tree) {
  {
    const MutexLock lock(mu_);
    record.sealing_ = {number, tree};
  }
  return SaveLabel(record);
}

void DraftTable::CommitFailed(Record& record) {
  bool noted = false;
  {
    const MutexLock lock(mu_);
    record.state_ = DraftState::kOpen;
    noted = record.sealing_.has_value();
    record.sealing_.reset();
  }
  if (noted) SaveLabel(record).IgnoreError("Load asks the registry, which knows of no such version");
  ModelMayBeGone(record.model);
}

void DraftTable::Committed(const RecordPtr& record, Commit commit) {
  const store::VersionNumber number = commit.version;
  {
    const MutexLock lock(mu_);
    record->committed_as_ = number;
    if (commit.directories != nullptr) remembered_directories_ += commit.directories->size();
    commit.creator = record->creator;
    committed_[record->draft->number()] = std::move(commit);
    committed_order_.push_back(record->draft->number());
    ForgetCommits();
  }
  if (const Status ended = End(record); !ended.ok() && context_.log != nullptr) {
    context_.log->warn("draft_not_removed draft={} version={} error={}", record->draft->number(), number,
                       ended.error().message());
  }
}

void DraftTable::ForgetCommits() {
  const auto forget_directories = [this](Commit& commit) REQUIRES(mu_) {
    if (commit.directories != nullptr) remembered_directories_ -= commit.directories->size();
    commit.directories.reset();
  };
  if (committed_order_.size() > kRememberedCommits) {
    const auto oldest = committed_.find(committed_order_.front());
    forget_directories(oldest->second);
    committed_.erase(oldest);
    committed_order_.pop_front();
  }
  for (const cas::DraftNumber number : committed_order_) {
    if (remembered_directories_ <= kRememberedDirectories) return;
    forget_directories(committed_.at(number));
  }
}

bool DraftTable::WaitForWriters(Record& record, const Deadline& deadline) {
  const MutexLock lock(mu_);
  const auto open = [&record] { return !record.draft->OpenForWriting().empty(); };
  while (open()) {
    if (!released_.WaitUntil(mu_, deadline.at()) && open()) return false;
  }
  return true;
}

std::optional<DraftTable::Writer> DraftTable::WriterOf(Record& record) {
  const std::vector<cas::DraftNode> nodes = record.draft->OpenForWriting();
  const MutexLock lock(mu_);
  for (const cas::DraftNode node : nodes) {
    if (const auto found = record.writers_.find(node); found != record.writers_.end()) {
      return Writer{.node = node, .pid = found->second};
    }
  }
  return std::nullopt;
}

DraftTable::Hold::Hold(DraftTable& table, RecordPtr record, std::optional<Writer> writer)
    : table_(&table), record_(std::move(record)), writer_(writer) {
  const MutexLock lock(table_->mu_);
  ++record_->handles_;
  if (writer_) record_->writers_.emplace(writer_->node, writer_->pid);
}

void DraftTable::Released(const RecordPtr& record, const std::optional<Writer>& writer) {
  bool discard = false;
  {
    const MutexLock lock(mu_);
    --record->handles_;
    if (writer) {
      auto [at, end] = record->writers_.equal_range(writer->node);
      while (at != end && at->second != writer->pid) ++at;
      if (at != end) record->writers_.erase(at);
    }
    UsedNow(*record);
    discard = record->handles_ == 0 && record->state_ == DraftState::kEnded;
    released_.NotifyAll();
  }
  if (discard) DiscardNow(record).IgnoreError("its label says that it is over: Load tries again");
}

Status DraftTable::End(const RecordPtr& record) {
  bool in_use = false;
  {
    const MutexLock lock(mu_);
    record->state_ = DraftState::kEnded;
    in_use = record->handles_ > 0;
    by_name_.erase({record->model, record->name_});
  }
  if (!in_use) return DiscardNow(record);
  Status saved = SaveLabel(*record);
  const MutexLock lock(mu_);
  // The last handle may have been closed meanwhile, and the draft with its label may be gone.
  return by_number_.contains(record->draft->number()) ? saved : OkStatus();
}

Status DraftTable::DiscardNow(const RecordPtr& record) {
  {
    const MutexLock lock(mu_);
    if (by_number_.erase(record->draft->number()) == 0) return OkStatus();
  }
  FAIL_POINT("fs.draft.discard");
  RETURN_IF_ERROR(context_.drafts->Discard(record->draft));
  if (context_.on_deleted) context_.on_deleted();
  return OkStatus();
}

void DraftTable::Unlinked(Record& record, cas::DraftNode node) {
  const MutexLock lock(mu_);
  record.unlinked_.insert(node);
}

void DraftTable::Forgotten(cas::DraftNumber number, cas::DraftNode node) {
  RecordPtr record;
  {
    const MutexLock lock(mu_);
    const auto it = by_number_.find(number);
    if (it == by_number_.end() || it->second->unlinked_.erase(node) == 0) return;
    record = it->second;
  }
  record->draft->Forget(node);
}

int64_t DraftTable::KeptWhenFoundMs() const {
  return context_.draft_lifetime_s * 1000 / kFoundKeptPerLifetime;
}

bool DraftTable::IsUnused(const Record& record) const {
  const int64_t lifetime_ms = context_.draft_lifetime_s * 1000;
  const int64_t watched_ms = clock_.SinceBootMs() - record.seen_ms_;
  return clock_.NowMs() - record.used_ms_ > lifetime_ms &&
         record.unused_before_ms_ + watched_ms > lifetime_ms && watched_ms > KeptWhenFoundMs();
}

uint64_t DraftTable::ExpireOthers() {
  const int64_t up_ms = clock_.SinceBootMs() - opened_boot_ms_;
  if (up_ms <= KeptWhenFoundMs()) return 0;
  // A forward jump of the clock since this process started does not count as time passed.
  const int64_t now_ms = std::min(clock_.NowMs(), opened_ms_ + up_ms);
  const Result<uint64_t> ended =
      context_.drafts->RemoveExpired(std::chrono::seconds(context_.draft_lifetime_s), now_ms / 1000);
  return ended.ok() ? *ended : 0;
}

void DraftTable::ModelMayBeGone(store::ObjectId model) {
  const MutexLock lock(mu_);
  models_to_check_.insert(model);
  wake_.NotifyAll();
}

uint64_t DraftTable::EndWithModel(store::ObjectId model) {
  std::vector<RecordPtr> of_model;
  {
    const MutexLock lock(mu_);
    for (const auto& [number, record] : by_number_) {
      if (record->model == model) of_model.push_back(record);
    }
  }
  if (of_model.empty()) return 0;
  const Result<store::ObjectInfo> info = context_.registry->Get(context_.daemon, model);
  if (info.ok() || info.error().code() != Code::kNotFound) return 0;
  uint64_t ended = 0;
  for (const RecordPtr& record : of_model) ended += EndIfOpen(record, Reason::kModelDeleted);
  return ended;
}

uint64_t DraftTable::EndIfOpen(const RecordPtr& record, Reason reason) {
  std::string name;
  {
    const MutexLock lock(mu_);
    // A draft that is being committed ends with its commit, or is looked at again when the commit has failed.
    if (record->state_ != DraftState::kOpen) return 0;
    if (reason == Reason::kUnused && (record->handles_ > 0 || !IsUnused(*record))) return 0;
    record->state_ = DraftState::kEnded;  // nothing opens it from here on
    name = record->name_;
  }
  if (context_.log != nullptr) {
    context_.log->info("draft_expired draft={} name={} reason={}", record->draft->number(), Printable(name),
                       reason == Reason::kUnused ? "unused" : "model_deleted");
  }
  End(record).IgnoreError("RecordPtr is out of the table: RemoveExpired tries again after a restart");
  return 1;
}

uint64_t DraftTable::Expire() {
  std::vector<RecordPtr> all;
  std::set<store::ObjectId> models;
  {
    const MutexLock lock(mu_);
    for (const auto& [number, record] : by_number_) {
      all.push_back(record);
      models.insert(record->model);
    }
  }
  uint64_t ended = 0;
  for (const store::ObjectId model : models) ended += EndWithModel(model);
  for (const RecordPtr& record : all) ended += EndIfOpen(record, Reason::kUnused);
  return ended + ExpireOthers();
}

void DraftTable::Run(const std::stop_token& stop, size_t held) {
  const auto now = [] { return std::chrono::steady_clock::now(); };
  auto expire_at = now() + kFirstExpire;
  while (true) {
    const auto next = held > 0 ? std::min(expire_at, now() + kHeldAgain) : expire_at;
    std::set<store::ObjectId> models;
    {
      const MutexLock lock(mu_);
      while (!stop.stop_requested() && models_to_check_.empty() && wake_.WaitUntil(mu_, next)) {
      }
      if (stop.stop_requested()) return;
      models.swap(models_to_check_);
    }
    for (const store::ObjectId model : models) EndWithModel(model);
    if (held > 0) {
      const Result<size_t> still_held = Load();
      if (still_held.ok() && *still_held < held && context_.log != nullptr) {
        context_.log->info("drafts_freed count={} still_held={}", held - *still_held, *still_held);
      }
      if (still_held.ok()) held = *still_held;
    }
    if (now() < expire_at) continue;
    Expire();
    expire_at = now() + kExpireEvery;
  }
}

}  // namespace modelfs::fs
