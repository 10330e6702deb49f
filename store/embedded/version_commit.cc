// Gives a version the times of its files in the commit that makes it READY (store/embedded/version_times.h).
#include <fmt/core.h>

#include <utility>

#include "cas/tree_store.h"
#include "store/embedded/embedded_registry_impl.h"

namespace modelfs::store {
namespace {

// Returns the blob of the decided times; `plan` keeps it for the next attempt.
Result<Digest> StoreTimes(cas::BlobStore& blobs, TimesPlan& plan, cas::TreeTimes times,
                          std::optional<cas::Epoch> epoch) {
  if (plan.digest && plan.stored == times) return *plan.digest;
  if (!epoch) return Error(Code::kAborted, "other times must be stored, which needs a lease");
  ASSIGN_OR_RETURN(plan.digest, cas::PutTreeTimes(blobs, times, *epoch));
  plan.stored = std::move(times);
  return *plan.digest;
}

}  // namespace

Status EmbeddedRegistryImpl::PrepareTimes(ObjectId model_id, TimesPlan& plan) {
  // A snapshot for each step: none is held while blobs are read.
  const auto read = [&](auto step) -> decltype(step(std::declval<View&>())) {
    ASSIGN_OR_RETURN(const std::unique_ptr<Snapshot> snapshot, kv_.Read());
    View view(*snapshot);
    return step(view);
  };
  const Result<StoredObject> model = read([&](View& view) { return view.Model(model_id); });
  if (!model.ok()) return OkStatus();  // the transaction returns the error
  VersionNumber below = model->record.next_version;
  const auto next = [&]() -> Result<std::optional<VersionRecord>> {
    ASSIGN_OR_RETURN(std::optional<NumberedVersion> found,
                     read([&](View& view) { return view.ReadyBelow(*model, below); }));
    if (!found) return std::optional<VersionRecord>();
    below = found->number;
    return std::optional<VersionRecord>(std::move(found->record));
  };
  const auto decided = plan.rule.Decide(clock_.NowMs(), model->record.newest_file_s, next);
  return decided.ok() ? OkStatus() : Status(decided.error());
}

Result<VersionCommit> EmbeddedRegistryImpl::DecideCommit(Change& change, StoredObject& model, TimesPlan& plan,
                                                         std::optional<cas::Epoch> epoch) {
  VersionNumber below = model.record.next_version;
  const auto next = [&]() -> Result<std::optional<VersionRecord>> {
    ASSIGN_OR_RETURN(std::optional<NumberedVersion> found, change.ReadyBelow(model, below));
    if (!found) return std::optional<VersionRecord>();
    below = found->number;
    return std::optional<VersionRecord>(std::move(found->record));
  };
  ASSIGN_OR_RETURN(VersionTimes::Decided decided,
                   plan.rule.Decide(change.now_ms(), model.record.newest_file_s, next));
  VersionCommit commit;
  commit.at_ms = change.now_ms();
  commit.newest_s = decided.newest_s;
  if (decided.times) {
    ASSIGN_OR_RETURN(commit.times, StoreTimes(blobs_, plan, *std::move(decided.times), epoch));
  }
  model.record.newest_file_s = decided.newest_of_model_s;
  return commit;
}

Result<TimesPlan> EmbeddedRegistryImpl::TimesOfCopy(const VersionRecord& source) {
  ASSIGN_OR_RETURN(cas::Tree tree, cas::ReadTree(blobs_, source.tree));
  std::optional<Digest> digest;
  if (source.commit) digest = source.commit->times;
  cas::TreeTimes times;
  if (digest) {
    ASSIGN_OR_RETURN(times, cas::ReadTreeTimes(blobs_, *digest, tree.file_count()));
  } else {
    ASSIGN_OR_RETURN(times, cas::TreeTimes::Make(std::vector<cas::FileTime>(
                                tree.file_count(), cas::FileTimeOfMs(CommittedAtMs(source)))));
  }
  return TimesPlan(VersionTimes(blobs_, std::move(tree), times, VersionTimes::Origin::kCopy), times, digest);
}

Status EmbeddedRegistryImpl::PrepareCopy(const Caller& caller, ObjectId source_id, VersionNumber number,
                                         ObjectId destination, CopiedTimes& times) {
  std::optional<VersionRecord> source;
  {
    ASSIGN_OR_RETURN(const std::unique_ptr<Snapshot> snapshot, kv_.Read());
    View view(*snapshot);
    // The transaction refuses, and records the refusal.
    if (!authorizer_.Check(view, caller, Operation::kReadFiles, source_id).ok()) return OkStatus();
    const Result<StoredObject> model = view.Model(source_id);
    if (!model.ok()) return OkStatus();
    Result<VersionRecord> record = view.Version(*model, number);
    if (!record.ok() || record->status != VersionStatus::kReady) return OkStatus();
    source = *std::move(record);
  }
  Result<TimesPlan> plan = TimesOfCopy(*source);
  if (!plan.ok()) return OkStatus();
  times.source = source->id;
  times.plan = *std::move(plan);
  return PrepareTimes(destination, *times.plan);
}

Result<VersionCommit> EmbeddedRegistryImpl::DecideCopy(Change& change, const VersionRecord& source,
                                                       StoredObject& destination, CopiedTimes& times) {
  if (!times.plan || times.source != source.id) {
    ASSIGN_OR_RETURN(times.plan, TimesOfCopy(source));
    times.source = source.id;
  }
  std::optional<cas::Epoch> epoch;
  if (times.lease) {
    RETURN_IF_ERROR(ExpectLease(change, *times.lease));
    epoch = times.lease->epoch;
  }
  Result<VersionCommit> commit = DecideCommit(change, destination, *times.plan, epoch);
  times.needs_lease = !commit.ok() && commit.error().code() == Code::kAborted && !times.lease;
  return commit;
}

}  // namespace modelfs::store
