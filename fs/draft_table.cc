#include "fs/draft_table.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <thread>

#include "cas/base/fail_point.h"
#include "cas/base/text.h"
#include "fs/node_id.h"

namespace modelfs::fs {
namespace {

// The label is rewritten for its time of use no more often than this part of the lifetime.
constexpr int64_t kUsedSavesPerLifetime = 100;
constexpr auto kFirstExpire = std::chrono::minutes(1);  // who starts to use the mount is not to wait for it
constexpr auto kExpireEvery = std::chrono::minutes(10);
constexpr auto kWaitForHeld = std::chrono::seconds(2);
constexpr auto kHeldPoll = std::chrono::milliseconds(10);
constexpr auto kHeldAgain = std::chrono::seconds(1);

struct Label {
  std::string mount;
  uint64_t uid = 0;
  uid_t creator = 0;
  store::ObjectId model = 0;
  std::string name;
  int64_t used_ms = 0;
  DraftFields fields;
  std::optional<store::VersionId> copied_from;
  std::optional<std::pair<store::VersionNumber, Digest>> sealing;
  bool ended = false;
};

std::optional<Label> ParseLabel(std::string_view text) {
  try {
    const nlohmann::json json = nlohmann::json::parse(text);
    if (json.value("v", 0) != 1) return std::nullopt;
    Label label;
    label.mount = json.at("mount").get<std::string>();
    label.uid = json.at("uid").get<uint64_t>();
    label.creator = json.value("creator", static_cast<uid_t>(label.uid));
    label.model = json.at("model").get<store::ObjectId>();
    label.name = json.at("name").get<std::string>();
    label.used_ms = json.at("used_ms").get<int64_t>();
    label.ended = json.value("ended", false);
    label.fields.description = json.value("description", "");
    if (json.contains("tags")) {
      label.fields.tags = json.at("tags").get<std::map<std::string, std::string>>();
    }
    if (json.contains("copied_from")) label.copied_from = json.at("copied_from").get<store::VersionId>();
    if (json.contains("sealing")) {
      const nlohmann::json& sealing = json.at("sealing");
      const Result<Sha256> sha256 = ParseSha256Hex(sealing.at("tree").get<std::string>());
      if (!sha256.ok()) return std::nullopt;
      label.sealing = {sealing.at("number").get<store::VersionNumber>(),
                       Digest{*sha256, sealing.at("tree_bytes").get<uint64_t>()}};
    }
    return label;
  } catch (const nlohmann::json::exception&) {
    return std::nullopt;  // another program's, or of a later format: not ours to touch
  }
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
        "drafts_held count={} reason=\"another process holds them; they appear when it lets go\"", held);
  }
  DraftTable* self = table.get();
  self->thread_ = std::jthread([self, held](const std::stop_token& stop) { self->Run(stop, held); });
  return table;
}

DraftTable::~DraftTable() {
  thread_.request_stop();
  {
    const MutexLock lock(mu_);
    stop_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
}

Result<size_t> DraftTable::Load() {
  const std::string mount = Printable(context_.mount_point);
  const uint64_t uid = context_.uid;
  ASSIGN_OR_RETURN(const cas::DraftStore::Loaded loaded, context_.drafts->Load([&](std::string_view text) {
    const std::optional<Label> label = ParseLabel(text);
    return label.has_value() && label->mount == mount && label->uid == uid;
  }));
  for (const std::shared_ptr<cas::Draft>& draft : loaded.drafts) {
    std::optional<Label> label = ParseLabel(draft->label());
    if (!label.has_value()) continue;
    auto record = std::make_shared<Record>(draft, label->model, label->creator);
    record->name_ = std::move(label->name);
    record->fields_ = std::move(label->fields);
    record->copied_from_ = label->copied_from;
    record->sealing_ = label->sealing;
    record->used_ms_ = record->saved_used_ms_ = label->used_ms;

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
    // Two of one name are what a crash within Swap leaves: both are kept.
    if (by_name_.contains({record->model, record->name_})) {
      record->name_ += "-" + std::to_string(draft->number());
    }
    by_name_[{record->model, record->name_}] = record;
    by_number_[draft->number()] = record;
  }
  return loaded.held;
}

// Whether the commit that a crash interrupted had reached the registry.
Result<bool> DraftTable::WasCommitted(const Record& record) {
  const Result<store::VersionInfo> version =
      context_.registry->GetVersion(context_.daemon, record.model, record.sealing_->first);
  if (version.ok()) {
    return version->status == store::VersionStatus::kReady && version->tree == record.sealing_->second;
  }
  if (version.error().code() == Code::kNotFound) return false;
  return version.error();
}

std::string DraftTable::LabelOf(const Record& record) const {
  nlohmann::json json = {{"v", 1},
                         {"mount", Printable(context_.mount_point)},
                         {"uid", context_.uid},
                         {"model", record.model},
                         {"name", record.name_},
                         {"used_ms", record.used_ms_}};
  if (record.creator != context_.uid) json["creator"] = record.creator;
  if (!record.fields_.tags.empty()) json["tags"] = record.fields_.tags;
  if (!record.fields_.description.empty()) json["description"] = record.fields_.description;
  if (record.copied_from_.has_value()) json["copied_from"] = *record.copied_from_;
  if (record.sealing_.has_value()) {
    json["sealing"] = {{"number", record.sealing_->first},
                       {"tree", record.sealing_->second.Hex()},
                       {"tree_bytes", record.sealing_->second.size_bytes}};
  }
  if (record.state_ == DraftState::kEnded) json["ended"] = true;
  return json.dump();
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
  // The label is complete from the start: a draft without one would be nobody's.
  nlohmann::json label = {{"v", 1},
                          {"mount", Printable(context_.mount_point)},
                          {"uid", context_.uid},
                          {"model", model},
                          {"name", name},
                          {"used_ms", clock_.NowMs()}};
  if (creator != context_.uid) label["creator"] = creator;
  Result<std::shared_ptr<cas::Draft>> draft = context_.drafts->Create(label.dump());
  const MutexLock lock(mu_);
  if (!draft.ok()) {
    by_name_.erase({model, name});
    return std::move(draft).error().Wrap(fmt::format("draft {}", Printable(name)));
  }
  auto record = std::make_shared<Record>(*std::move(draft), model, creator);
  record->name_ = name;
  record->used_ms_ = record->saved_used_ms_ = clock_.NowMs();
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

std::optional<store::VersionNumber> DraftTable::CommittedAs(cas::DraftNumber number) {
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

DraftFields DraftTable::FieldsOf(const Record& record) {
  const MutexLock lock(mu_);
  return record.fields_;
}

Status DraftTable::SetFields(Record& record, DraftFields fields) {
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

void DraftTable::Touch(Record& record) {
  bool save = false;
  {
    const MutexLock lock(mu_);
    record.used_ms_ = clock_.NowMs();
    const int64_t save_after_ms = context_.draft_lifetime_s * 1000 / kUsedSavesPerLifetime;
    save = record.state_ == DraftState::kOpen && record.used_ms_ - record.saved_used_ms_ > save_after_ms;
  }
  if (save) SaveLabel(record).IgnoreError("the draft then expires a little earlier after a restart");
}

Status DraftTable::Relabel(Record& record, const std::string& new_name) {
  std::string old_name;
  {
    const MutexLock lock(mu_);
    if (!by_name_.try_emplace({record.model, new_name}, nullptr).second) {
      return Error(Code::kAlreadyExists, fmt::format("draft {}: exists already", Printable(new_name)));
    }
    old_name = record.name_;
    record.name_ = new_name;
  }
  Status saved = SaveLabel(record);
  const MutexLock lock(mu_);
  const std::string& gone = saved.ok() ? old_name : new_name;
  if (!saved.ok()) record.name_ = old_name;
  by_name_[{record.model, record.name_}] = by_number_.at(record.draft->number());
  by_name_.erase({record.model, gone});
  return saved;
}

Status DraftTable::Swap(Record& a, Record& b) {
  const auto exchange = [&] {
    const MutexLock lock(mu_);
    std::swap(a.name_, b.name_);
    std::swap(by_name_[{a.model, a.name_}], by_name_[{b.model, b.name_}]);
  };
  exchange();
  Status saved = SaveLabel(a);
  if (saved.ok()) saved = SaveLabel(b);
  if (!saved.ok()) {
    exchange();
    SaveLabel(a).IgnoreError("the names in memory are the old ones again; Load resolves twins");
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
}

void DraftTable::Committed(const RecordPtr& record, store::VersionNumber number) {
  {
    const MutexLock lock(mu_);
    record->committed_as_ = number;
    committed_[record->draft->number()] = number;
    committed_order_.push_back(record->draft->number());
    if (committed_order_.size() > kRememberedCommits) {
      committed_.erase(committed_order_.front());
      committed_order_.pop_front();
    }
  }
  if (const Status ended = End(record); !ended.ok() && context_.log != nullptr) {
    context_.log->warn("draft_not_removed draft={} version={} error={}", record->draft->number(), number,
                       ended.error().message());
  }
}

bool DraftTable::WaitForWriters(Record& record, const Deadline& deadline) {
  const MutexLock lock(mu_);
  while (record.draft->open_writers() > 0) {
    if (!released_.WaitUntil(mu_, deadline.at()) && record.draft->open_writers() > 0) return false;
  }
  return true;
}

DraftTable::Hold::Hold(DraftTable& table, RecordPtr record) : table_(&table), record_(std::move(record)) {
  const MutexLock lock(table_->mu_);
  ++record_->handles_;
}

void DraftTable::Released(const RecordPtr& record) {
  bool discard = false;
  {
    const MutexLock lock(mu_);
    --record->handles_;
    record->used_ms_ = clock_.NowMs();
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
  if (in_use) return SaveLabel(*record);
  RETURN_IF_ERROR(DiscardNow(record));
  if (context_.on_deleted) context_.on_deleted();
  return OkStatus();
}

Status DraftTable::DiscardNow(const RecordPtr& record) {
  {
    const MutexLock lock(mu_);
    if (by_number_.erase(record->draft->number()) == 0) return OkStatus();
  }
  FAIL_POINT("fs.draft.discard");
  return context_.drafts->Discard(record->draft);
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

uint64_t DraftTable::Expire() {
  const int64_t now_ms = clock_.NowMs();
  std::vector<RecordPtr> all;
  {
    const MutexLock lock(mu_);
    for (const auto& [number, record] : by_number_) all.push_back(record);
  }
  uint64_t ended = 0;
  for (const RecordPtr& record : all) {
    const Result<store::ObjectInfo> model = context_.registry->Get(context_.daemon, record->model);
    const bool orphan = !model.ok() && model.error().code() == Code::kNotFound;
    std::string name;
    {
      const MutexLock lock(mu_);
      const bool unused = now_ms - record->used_ms_ > context_.draft_lifetime_s * 1000;
      if (record->state_ != DraftState::kOpen || record->handles_ > 0 || !(orphan || unused)) continue;
      record->state_ = DraftState::kEnded;  // nothing opens it from here on
      name = record->name_;
    }
    if (context_.log != nullptr) {
      context_.log->info("draft_expired draft={} name={} reason={}", record->draft->number(), Printable(name),
                         orphan ? "model_deleted" : "unused");
    }
    End(record).IgnoreError("RecordPtr is out of the table: RemoveExpired tries again after a restart");
    ++ended;
  }
  const Result<uint64_t> others =
      context_.drafts->RemoveExpired(std::chrono::seconds(context_.draft_lifetime_s), now_ms / 1000);
  if (others.ok()) ended += *others;
  return ended;
}

void DraftTable::Run(const std::stop_token& stop, size_t held) {
  const auto now = [] { return std::chrono::steady_clock::now(); };
  auto expire_at = now() + kFirstExpire;
  while (true) {
    const auto next = held > 0 ? std::min(expire_at, now() + kHeldAgain) : expire_at;
    {
      const MutexLock lock(mu_);
      while (!stop.stop_requested() && stop_.WaitUntil(mu_, next)) {
      }
      if (stop.stop_requested()) return;
    }
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
