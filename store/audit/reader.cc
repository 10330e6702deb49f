#include "store/audit/reader.h"

#include <fmt/core.h>

#include <algorithm>
#include <deque>
#include <memory>

#include "cas/base/text.h"
#include "store/records/keys.h"

namespace modelfs::store {
namespace {

constexpr size_t kStep = 1000;

std::string WhatOf(uint64_t sequence) { return fmt::format("audit record {}", sequence); }

Error IsMissing(uint64_t sequence) {
  return {Code::kDataLoss, fmt::format("{} is missing", WhatOf(sequence))};
}

// The first record from `first` on that is not among `entries`, which are in order.
Error MissingIn(const std::vector<KvEntry>& entries, uint64_t first) {
  for (const KvEntry& entry : entries) {
    if (keys::FirstNumber(entry.key) != first) break;
    ++first;
  }
  return IsMissing(first);
}

}  // namespace

Result<AuditExtent> ReadAuditExtent(Snapshot& snapshot) {
  AuditExtent extent;
  ASSIGN_OR_RETURN(const std::optional<KvEntry> head, snapshot.Get(keys::AuditHead()));
  if (!head) return Error(Code::kDataLoss, "the audit log's head is missing");
  ASSIGN_OR_RETURN(extent.head, AuditHeadRecord::Decode(head->value, "audit head"));
  ASSIGN_OR_RETURN(const std::optional<KvEntry> start, snapshot.Get(keys::AuditStart()));
  if (start) {
    ASSIGN_OR_RETURN(extent.start, AuditStartRecord::Decode(start->value, "audit start"));
  }
  return extent;
}

class AuditReader::IndexCursor {
 public:
  IndexCursor(Snapshot& snapshot, ObjectId object, const Stretch& stretch, bool newest_first, Found how)
      : snapshot_(snapshot), object_(object), rest_(stretch), newest_first_(newest_first), how_(how) {}

  Found how() const { return how_; }

  // The next one, without moving on; nullopt at the end.
  Result<std::optional<uint64_t>> Peek() {
    if (ahead_.empty() && !rest_.empty()) {
      RETURN_IF_ERROR(newest_first_ ? ReadLast() : ReadFirst());
    }
    return ahead_.empty() ? std::optional<uint64_t>() : std::optional<uint64_t>(ahead_.front());
  }
  void Next() { ahead_.pop_front(); }

 private:
  Status ReadFirst() {
    ASSIGN_OR_RETURN(const std::vector<KvEntry> entries,
                     snapshot_.Range(keys::AuditIndex(object_, rest_.first),
                                     keys::After(keys::AuditIndex(object_, rest_.last)), kStep));
    for (const KvEntry& entry : entries) ahead_.push_back(keys::SecondNumber(entry.key));
    rest_.first = entries.size() < kStep ? rest_.last + 1 : ahead_.back() + 1;
    return OkStatus();
  }
  Status ReadLast() {
    ASSIGN_OR_RETURN(const std::optional<KvEntry> entry,
                     snapshot_.Last(keys::AuditIndex(object_, rest_.first),
                                    keys::After(keys::AuditIndex(object_, rest_.last))));
    if (entry) ahead_.push_back(keys::SecondNumber(entry->key));
    rest_.last = entry ? ahead_.back() - 1 : rest_.first - 1;
    return OkStatus();
  }

  Snapshot& snapshot_;
  const ObjectId object_;
  Stretch rest_;
  const bool newest_first_;
  const Found how_;
  std::deque<uint64_t> ahead_;
};

AuditReader::AuditReader(View& view, const AuditFiles& files, const AuditQuery& query)
    : view_(view), files_(files), query_(query), principal_(FoldCase(query.principal)) {}

Result<std::vector<AuditRecord>> AuditReader::Read() {
  ASSIGN_OR_RETURN(const AuditExtent extent, ReadAuditExtent(view_.snapshot()));
  const uint64_t start = extent.start.sequence;
  const uint64_t last = extent.head.sequence;
  const bool by_name = !query_.full_name.empty();
  if (by_name) {
    RETURN_IF_ERROR(FindObjects(extent));
  }
  const Stretch moved = Wanted(1, start - 1);
  const Stretch scanned = Wanted(start, by_name ? std::min(last, extent.head.indexed_from - 1) : last);
  const Stretch indexed = by_name ? Wanted(std::max(start, extent.head.indexed_from), last) : Stretch();
  if (NewestFirst()) {
    RETURN_IF_ERROR(ReadIndex(indexed));
    RETURN_IF_ERROR(Scan(scanned));
    RETURN_IF_ERROR(ReadFiles(moved));
  } else {
    RETURN_IF_ERROR(ReadFiles(moved));
    RETURN_IF_ERROR(Scan(scanned));
    RETURN_IF_ERROR(ReadIndex(indexed));
  }
  return std::move(found_);
}

Result<std::vector<AuditRecord>> AuditReader::ReadChangesOf(ObjectId object, Show show) {
  object_ = object;
  changes_only_ = true;
  show_ = std::move(show);
  ASSIGN_OR_RETURN(const AuditExtent extent, ReadAuditExtent(view_.snapshot()));
  const uint64_t start = extent.start.sequence;
  const uint64_t last = extent.head.sequence;
  RETURN_IF_ERROR(ReadIndex(Wanted(std::max(start, extent.head.indexed_from), last)));
  RETURN_IF_ERROR(Scan(Wanted(start, std::min(last, extent.head.indexed_from - 1))));
  return std::move(found_);
}

AuditReader::Stretch AuditReader::Wanted(uint64_t first, uint64_t last) const {
  Stretch stretch{first, last};
  if (query_.after_sequence >= first) {
    stretch.first = query_.after_sequence == UINT64_MAX ? UINT64_MAX : query_.after_sequence + 1;
  }
  if (query_.before_sequence <= last)
    stretch.last = query_.before_sequence == 0 ? 0 : query_.before_sequence - 1;
  return stretch;
}

Status AuditReader::FindObjects(const AuditExtent& extent) {
  ASSIGN_OR_RETURN(const FullName name, FullName::Parse(query_.full_name));
  ASSIGN_OR_RETURN(const std::optional<StoredObject> now, view_.Find(name));
  if (now) object_ = now->record.id;
  IndexCursor lost(view_.snapshot(), keys::LostName(query_.full_name),
                   Stretch{extent.start.sequence, extent.head.sequence}, false, Found::kByScan);
  while (true) {
    ASSIGN_OR_RETURN(const std::optional<uint64_t> sequence, lost.Peek());
    if (!sequence) return OkStatus();
    ASSIGN_OR_RETURN(const std::optional<KvEntry> entry, view_.snapshot().Get(keys::Audit(*sequence)));
    if (!entry) return IsMissing(*sequence);
    ASSIGN_OR_RETURN(const AuditRecord record, DecodeAudit(entry->value, WhatOf(*sequence)));
    // Another name may have the same hash.
    if (record.full_name == query_.full_name && record.object != object_) former_.insert(record.object);
    lost.Next();
  }
}

Status AuditReader::ReadFiles(const Stretch& stretch) {
  if (stretch.empty() || Full()) return OkStatus();
  ASSIGN_OR_RETURN(std::vector<AuditFile> files, files_.Holding(stretch.first, stretch.last));
  if (NewestFirst()) std::reverse(files.begin(), files.end());
  for (const AuditFile& file : files) {
    if (Full()) break;
    RETURN_IF_ERROR(ReadOneFile(file, stretch));
  }
  return OkStatus();
}

Status AuditReader::ReadOneFile(const AuditFile& file, const Stretch& stretch) {
  const size_t before = found_.size();
  uint64_t sequence = file.first;
  bool at_end = true;
  const auto take = [&](std::string_view line) -> Result<bool> {
    const uint64_t at = sequence++;
    if (at < stretch.first) return true;
    if (at > stretch.last || (!NewestFirst() && Full())) {
      at_end = false;
      return false;
    }
    const Result<std::string> encoding = EncodingInLine(line);
    if (!encoding.ok()) return encoding.error().Wrap(fmt::format("{}, {}", file.path, WhatOf(at)));
    RETURN_IF_ERROR(Offer(*encoding, at, Found::kByScan));
    return true;
  };
  RETURN_IF_ERROR(files_.ReadLines(file, take));
  if (at_end && sequence != file.last + 1) {
    return Error(Code::kDataLoss, fmt::format("{}: {} is missing", file.path, WhatOf(sequence)));
  }
  if (!NewestFirst()) return OkStatus();
  // A file is read from its beginning, but the query wants its newest records, and those first.
  std::reverse(found_.begin() + static_cast<std::ptrdiff_t>(before), found_.end());
  if (found_.size() > query_.limit) found_.resize(query_.limit);
  return OkStatus();
}

Status AuditReader::Scan(const Stretch& stretch) {
  Stretch rest = stretch;
  while (!rest.empty() && !Full()) {
    // Records are numbered without gaps, so a step backwards is a range, too.
    Stretch step = rest;
    if (rest.last - rest.first >= kStep) {
      (NewestFirst() ? step.first : step.last) =
          NewestFirst() ? rest.last - kStep + 1 : rest.first + kStep - 1;
    }
    ASSIGN_OR_RETURN(
        std::vector<KvEntry> entries,
        view_.snapshot().Range(keys::Audit(step.first), keys::After(keys::Audit(step.last)), kStep));
    if (entries.size() != step.last - step.first + 1) return MissingIn(entries, step.first);
    if (NewestFirst()) std::reverse(entries.begin(), entries.end());
    for (const KvEntry& entry : entries) {
      if (Full()) break;
      RETURN_IF_ERROR(Offer(entry.value, keys::FirstNumber(entry.key), Found::kByScan));
    }
    (NewestFirst() ? rest.last : rest.first) = NewestFirst() ? step.first - 1 : step.last + 1;
  }
  return OkStatus();
}

Status AuditReader::ReadIndex(const Stretch& stretch) {
  if (stretch.empty() || Full()) return OkStatus();
  std::vector<IndexCursor> cursors;
  if (object_) cursors.emplace_back(view_.snapshot(), *object_, stretch, NewestFirst(), Found::kByObject);
  for (const ObjectId object : former_) {
    cursors.emplace_back(view_.snapshot(), object, stretch, NewestFirst(), Found::kByScan);
  }
  while (!Full()) {
    IndexCursor* next = nullptr;
    uint64_t sequence = 0;
    for (IndexCursor& cursor : cursors) {
      ASSIGN_OR_RETURN(const std::optional<uint64_t> at, cursor.Peek());
      if (!at || (next != nullptr && (NewestFirst() ? *at <= sequence : *at >= sequence))) continue;
      next = &cursor;
      sequence = *at;
    }
    if (next == nullptr) break;
    // One record may be under several of the objects.
    Found how = next->how();
    for (IndexCursor& cursor : cursors) {
      ASSIGN_OR_RETURN(const std::optional<uint64_t> at, cursor.Peek());
      if (at != sequence) continue;
      if (cursor.how() == Found::kByObject) how = Found::kByObject;
      cursor.Next();
    }
    ASSIGN_OR_RETURN(const std::optional<KvEntry> entry, view_.snapshot().Get(keys::Audit(sequence)));
    if (!entry) return IsMissing(sequence);
    RETURN_IF_ERROR(Offer(entry->value, sequence, how));
  }
  return OkStatus();
}

Status AuditReader::Offer(std::string_view encoding, uint64_t sequence, Found how) {
  const int64_t time_ms = PeekAuditTime(encoding);
  if ((query_.since_ms && time_ms < *query_.since_ms) || (query_.until_ms && time_ms >= *query_.until_ms)) {
    return OkStatus();
  }
  ASSIGN_OR_RETURN(AuditRecord record, DecodeAudit(encoding, WhatOf(sequence)));
  if (record.sequence != sequence) {
    return Error(Code::kDataLoss, fmt::format("{} is not where it should be: record {} is", WhatOf(sequence),
                                              record.sequence));
  }
  if (!IsWanted(record, how)) return OkStatus();
  if (show_) {
    ASSIGN_OR_RETURN(const bool shown, show_(record));
    if (!shown) return OkStatus();
  }
  found_.push_back(std::move(record));
  return OkStatus();
}

bool AuditReader::IsWanted(const AuditRecord& record, Found how) {
  if (changes_only_ && (!record.change || record.object != *object_)) return false;
  if (query_.outcome == AuditQuery::Outcome::kRefused && record.status < 400) return false;
  if (!query_.action.empty() && record.action != query_.action) return false;
  if (!principal_.empty() && !IsBy(record.principal) && !IsBy(record.run_by)) return false;
  return how == Found::kByObject || IsAbout(record);
}

// Whether a record is about an object inside the query's object, or about that object itself: the one that
// has the name now, or one that had it when the record was written.
bool AuditReader::IsAbout(const AuditRecord& record) const {
  if (object_ && record.object == *object_) return true;
  const std::string_view wanted = query_.full_name;
  const std::string_view name = record.full_name;
  return wanted.empty() ||
         (name.starts_with(wanted) && (name.size() == wanted.size() || name[wanted.size()] == '.'));
}

bool AuditReader::IsBy(const std::string& principal) {
  constexpr size_t kMostKnown = 1000;
  const auto known = known_names_.find(principal);
  if (known != known_names_.end()) return known->second;
  if (known_names_.size() >= kMostKnown) known_names_.clear();
  return known_names_[principal] = FoldCase(principal) == principal_;
}

}  // namespace modelfs::store
