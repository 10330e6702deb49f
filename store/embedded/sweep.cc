// The registry's part of a sweep of blobs: the content that versions need, and the cleaning that comes
// before.
#include <fmt/core.h>

#include <algorithm>
#include <unordered_map>

#include "cas/base/fail_point.h"
#include "store/embedded/embedded_registry_impl.h"
#include "store/records/keys.h"

namespace modelfs::store {
namespace {

constexpr size_t kStep = 1000;
constexpr size_t kDeletionStep = 60;  // versions; each has two keys or more

// Calls `visit(model, number, record)` for every version of a model that exists.
template <typename Visit>
Status EachVersion(View& view, Visit visit) {
  const std::string prefix = keys::Version(0, 0).substr(0, 1);
  std::string begin = prefix;
  std::optional<ObjectId> model_id;
  StoredObject model;  // of `model_id`, where it exists
  bool exists = false;
  for (bool more = true; more;) {
    ASSIGN_OR_RETURN(const std::vector<KvEntry> entries,
                     view.snapshot().Range(begin, keys::AfterPrefix(prefix), kStep));
    for (const KvEntry& entry : entries) {
      const ObjectId id = keys::FirstNumber(entry.key);
      const VersionNumber number = keys::SecondNumber(entry.key);
      if (model_id != id) {
        Result<StoredObject> found = view.Object(id);
        if (!found.ok() && found.error().code() != Code::kNotFound) return found.error();
        model_id = id;
        exists = found.ok();
        if (exists) model = *std::move(found);
      }
      if (!exists) {
        // A note ('x') says that the model was deleted: its versions await FinishDeletion. Without it the
        // model's record is lost, and a sweep would delete the content of its versions.
        ASSIGN_OR_RETURN(const std::optional<KvEntry> note, view.Get(keys::Unfinished(id)));
        if (note) continue;
        return Error(Code::kDataLoss,
                     fmt::format("version {} of object {}: its model is missing; \"modelfs fsck\" says more",
                                 number, id));
      }
      ASSIGN_OR_RETURN(const VersionRecord record,
                       VersionRecord::Decode(entry.value, fmt::format("{} version {}", model.name, number)));
      RETURN_IF_ERROR(visit(model, number, record));
    }
    more = entries.size() == kStep;
    if (more) begin = keys::After(entries.back().key);
  }
  return OkStatus();
}

}  // namespace

Status EmbeddedRegistryImpl::FinishDeletion(ObjectId model) {
  // Ids are never reused, so no key here belongs to a living model, and no expectation is needed.
  const auto prefix_of = [&](const std::string& key) { return key.substr(0, keys::Where(model).size()); };
  for (const std::string& prefix :
       {prefix_of(keys::Version(model, 0)), prefix_of(keys::Tag(model, 0, "")),
        prefix_of(keys::Description(model, 0)), prefix_of(keys::Pending(model, 0))}) {
    for (bool more = true; more;) {
      KvTransaction transaction;
      {
        ASSIGN_OR_RETURN(const std::unique_ptr<Snapshot> snapshot, kv_.Read());
        ASSIGN_OR_RETURN(const std::vector<KvEntry> entries,
                         snapshot->Range(prefix, keys::AfterPrefix(prefix), kDeletionStep));
        for (const KvEntry& entry : entries) {
          transaction.Delete(entry.key);
          if (prefix[0] != keys::Version(model, 0)[0]) continue;
          // A damaged record is deleted like the others; its id's entry then leads nowhere, which is
          // harmless.
          const Result<VersionRecord> record = VersionRecord::Decode(entry.value, "deleted version");
          if (record.ok()) transaction.Delete(keys::VersionWhere(record->id));
        }
        more = entries.size() == kDeletionStep;
      }
      if (!transaction.writes.empty()) RETURN_IF_ERROR(kv_.Commit(transaction));
      FAIL_POINT("delete.step");
    }
  }
  KvTransaction done;
  done.Delete(keys::Unfinished(model));
  RETURN_IF_ERROR(kv_.Commit(done));
  return OkStatus();
}

Status EmbeddedRegistryImpl::FinishDeletions() {
  for (;;) {
    std::vector<KvEntry> unfinished;
    {
      ASSIGN_OR_RETURN(const std::unique_ptr<Snapshot> snapshot, kv_.Read());
      const std::string prefix = keys::Unfinished(0).substr(0, 1);
      ASSIGN_OR_RETURN(unfinished, snapshot->Range(prefix, keys::AfterPrefix(prefix), kStep));
    }
    if (unfinished.empty()) return OkStatus();
    for (const KvEntry& entry : unfinished) RETURN_IF_ERROR(FinishDeletion(keys::FirstNumber(entry.key)));
  }
}

Status EmbeddedRegistryImpl::AgePendingVersions(const Caller& caller) {
  struct Old {
    ObjectId model;
    VersionNumber number;
  };
  std::vector<Old> old;
  {
    ASSIGN_OR_RETURN(const std::unique_ptr<Snapshot> snapshot, kv_.Read());
    View view(*snapshot);
    const std::string prefix = keys::Pending(0, 0).substr(0, 1);
    std::string begin = prefix;
    for (bool more = true; more;) {
      ASSIGN_OR_RETURN(const std::vector<KvEntry> entries,
                       snapshot->Range(begin, keys::AfterPrefix(prefix), kStep));
      for (const KvEntry& entry : entries) {
        const Old candidate{keys::FirstNumber(entry.key), keys::SecondNumber(entry.key)};
        const Result<StoredObject> model = view.Model(candidate.model);
        if (!model.ok()) continue;
        ASSIGN_OR_RETURN(const VersionRecord record, view.Version(*model, candidate.number));
        if (clock_.NowMs() - record.created.at_ms > kPendingLifetimeMs) old.push_back(candidate);
      }
      more = entries.size() == kStep;
      if (more) begin = keys::After(entries.back().key);
    }
  }
  for (const Old& version : old) {
    const Status failed = FailPending(caller, Operation::kReclaim, kMetastoreId, version.model,
                                      version.number, "was not finalized in time");
    const bool overtaken = !failed.ok() && (failed.error().code() == Code::kNotFound ||
                                            failed.error().code() == Code::kFailedPrecondition);
    // A version that stays PENDING holds back only its number. The sweep frees space, so a full disk must not
    // stop it.
    if (!failed.ok() && failed.error().code() == Code::kNoSpace) return OkStatus();
    if (!failed.ok() && !overtaken) return failed.error();
  }
  return OkStatus();
}

Result<Mark> EmbeddedRegistryImpl::MarkForSweep(const Caller& caller) {
  RETURN_IF_ERROR(Demand(caller, {Operation::kReclaim}));
  RETURN_IF_ERROR(EndDeadLeases());
  RETURN_IF_ERROR(AgePendingVersions(caller));
  RETURN_IF_ERROR(FinishDeletions());
  RETURN_IF_ERROR(RemoveMembershipsOfDeleted());
  FAIL_POINT("mark.tidied");

  Mark mark;
  Revision now = 0;
  {
    ASSIGN_OR_RETURN(const std::unique_ptr<Snapshot> snapshot, kv_.Read());
    now = snapshot->revision();
    mark.horizon.revision = now;
    const std::string leases = keys::Lease("");
    std::string begin = leases;
    for (bool more = true; more;) {
      ASSIGN_OR_RETURN(const std::vector<KvEntry> entries,
                       snapshot->Range(begin, keys::AfterPrefix(leases), kStep));
      for (const KvEntry& entry : entries) {
        mark.horizon.revision = std::min(mark.horizon.revision, entry.revision);
      }
      more = entries.size() == kStep;
      if (more) begin = keys::After(entries.back().key);
    }
    View view(*snapshot);
    std::unordered_set<Digest> trees;
    std::unordered_set<Digest> times;
    RETURN_IF_ERROR(
        EachVersion(view, [&](const StoredObject&, VersionNumber, const VersionRecord& record) -> Status {
          if (record.status == VersionStatus::kReady) trees.insert(record.tree);
          if (record.commit && record.commit->times) times.insert(*record.commit->times);
          return OkStatus();
        }));
    mark.live_trees.assign(trees.begin(), trees.end());
    mark.live_times.assign(times.begin(), times.end());
  }
  if (now > kEventsKept) RETURN_IF_ERROR(kv_.TrimLog(now - kEventsKept));
  return mark;
}

Result<std::vector<std::string>> EmbeddedRegistryImpl::VersionsThatNeed(
    const Caller& caller, const std::unordered_set<Digest>& digests) {
  struct Named {
    std::string name;
    Digest tree;
    std::optional<Digest> times;
  };
  // Collect the names first, then read the trees: reading blobs takes time, and a snapshot should not.
  ASSIGN_OR_RETURN(
      const std::vector<Named> versions,
      Inspect(caller, Operation::kReclaim, kMetastoreId, [&](View& view) -> Result<std::vector<Named>> {
        std::vector<Named> found;
        RETURN_IF_ERROR(EachVersion(
            view,
            [&](const StoredObject& model, VersionNumber number, const VersionRecord& record) -> Status {
              if (record.status != VersionStatus::kReady) return OkStatus();
              ASSIGN_OR_RETURN(const FullName name, view.NameOf(model));
              found.push_back({fmt::format("{}/{}", name.ToString(), number), record.tree,
                               record.commit ? record.commit->times : std::nullopt});
              return OkStatus();
            }));
        return found;
      }));
  std::unordered_map<Digest, bool> needs;
  const auto tree_needs = [&](const Digest& digest) {
    if (digests.count(digest) > 0) return true;
    const Result<std::string> encoded = blobs_.ReadAll(digest, cas::kTreeMaxBytes);
    if (!encoded.ok()) return true;  // the tree itself is damaged or missing
    const Result<cas::Tree> tree = cas::Tree::Decode(*encoded);
    if (!tree.ok()) return true;
    return std::any_of(tree->entries().begin(), tree->entries().end(), [&](const cas::TreeEntry& entry) {
      return digests.count(entry.blob) > 0 || (entry.chunk_list && digests.count(*entry.chunk_list) > 0);
    });
  };
  std::vector<std::string> names;
  for (const Named& version : versions) {
    auto known = needs.find(version.tree);
    if (known == needs.end()) known = needs.emplace(version.tree, tree_needs(version.tree)).first;
    const bool needs_times = version.times && digests.count(*version.times) > 0;
    if (known->second || needs_times) names.push_back(version.name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace modelfs::store
