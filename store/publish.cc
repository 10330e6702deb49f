#include "store/publish.h"

#include <fmt/core.h>

#include <utility>

#include "cas/base/fail_point.h"
#include "cas/base/shell_word.h"
#include "cas/tree_store.h"
#include "store/actions.h"
#include "store/draft_label.h"
#include "store/operation.h"

namespace modelfs::store {
namespace {

// A lease ends under a flow only if the machine slept through its lifetime.
constexpr int kLeaseTries = 3;
// A commit of a draft to `next` loses a number to another process's commit, and asks for the one after.
constexpr int kNumberTries = 100;

// A model that may not have existed, and whether the flow made it.
struct Destination {
  ObjectInfo model;
  bool made = false;
};

Caller WithIntent(const Caller& caller, std::string action, const FullName& name) {
  Caller with = caller;
  with.intent.emplace();
  with.intent->action = std::move(action);
  with.intent->full_name = name.ToString();
  return with;
}

// If a lookup on the way to a new version is refused, the audit log shows the version as what was asked for.
Caller ToMakeVersion(const Caller& caller, const FullName& model) {
  return WithIntent(caller, ActionOf(Operation::kCreateVersion, ObjectKind::kModel), model);
}

Result<Destination> FindOrMakeModel(Registry& registry, const Caller& caller, const FullName& name,
                                    Parents parents) {
  Result<ObjectInfo> found = registry.Lookup(ToMakeVersion(caller, name), name);
  if (found.ok()) return Destination{std::move(*found), false};
  if (found.error().code() != Code::kNotFound) return std::move(found).error();
  ASSIGN_OR_RETURN(ObjectInfo made, MakeObject(registry, caller, name, "", parents));
  return Destination{std::move(made), true};
}

// A model without the version that it was made for would be half of what the caller asked for.
void TakeBack(Registry& registry, const Caller& caller, const Destination& destination) {
  if (!destination.made) return;
  registry.Delete(caller, destination.model.id, Registry::DeleteMode::kIfEmpty)
      .IgnoreError("another process put a version into it meanwhile");
}

Status CheckSchema(Registry& registry, const Caller& caller, const FullName& model, Parents parents) {
  if (parents == Parents::kCreate) return OkStatus();
  const Result<ObjectInfo> schema = registry.Lookup(ToMakeVersion(caller, model), model.Parent());
  if (schema.ok()) return OkStatus();
  if (schema.error().code() != Code::kNotFound) return schema.error();
  return Error(
      Code::kNotFound,
      fmt::format("{}: its schema has to be there first: make it with {}, or add --parents; {}",
                  model.ToString(), ShellCommand({"modelfs", "mkdir", "-p"}, {model.Parent().ToString()}),
                  schema.error().message()));
}

// The model, or the innermost existing container of what will hold it. The flow makes the objects below that,
// and they are the caller's own.
Result<ObjectId> InnermostOf(Registry& registry, const Caller& caller, const FullName& model,
                             Parents parents) {
  for (FullName name = model; !name.parts.empty(); name.parts.pop_back()) {
    const Result<ObjectInfo> found = registry.Lookup(ToMakeVersion(caller, model), name);
    if (found.ok()) return found->id;
    if (found.error().code() != Code::kNotFound) return found.error();
    if (name == model) RETURN_IF_ERROR(CheckSchema(registry, caller, model, parents));
  }
  return kMetastoreId;
}

Result<VersionInfo> PublishOnce(Registry& registry, cas::BlobStore& blobs, const HeldLease& lease,
                                const Caller& caller, const NewTree& tree, const StoreContent& store) {
  ASSIGN_OR_RETURN(const StoredTree content, store(lease.lease().epoch));
  RETURN_IF_ERROR(blobs.Offer(content.tree, content.times, Deadline::After(cas::kPatience)));
  FAIL_POINT("register.stored");
  ASSIGN_OR_RETURN(const Destination destination,
                   FindOrMakeModel(registry, caller, tree.model, tree.parents));
  FAIL_POINT("register.model_made");
  Result<VersionInfo> version = registry.CommitVersion(caller, destination.model.id, content, lease.lease(),
                                                       tree.fields, tree.expected);
  if (version.ok()) return version;
  TakeBack(registry, caller, destination);
  // The content is at fault then.
  if (version.error().code() == Code::kFailedPrecondition) return version.error().Wrap(tree.content);
  return version;
}

// The version that a draft is an unchanged copy of.
std::optional<VersionInfo> CopySource(Registry& registry, const Caller& caller, PublishableDraft& draft,
                                      const Digest& tree) {
  const std::optional<VersionId> from = draft.CopiedFrom();
  if (!from.has_value()) return std::nullopt;
  Result<VersionInfo> version = registry.GetVersionById(caller, *from);
  if (!version.ok() || version->tree != tree) return std::nullopt;  // deleted meanwhile, or changed since
  return *std::move(version);
}

Result<VersionInfo> CommitSealed(Registry& registry, cas::BlobStore& blobs, const HeldLease& lease,
                                 const Caller& caller, ObjectId model, PublishableDraft& draft,
                                 const PublishableDraft::Sealed& sealed,
                                 std::optional<VersionNumber> expected) {
  NewVersion fields = draft.Fields();
  cas::TreeTimes times = sealed.times;
  if (const std::optional<VersionInfo> source = CopySource(registry, caller, draft, sealed.tree)) {
    fields.source = fmt::format("models:/{}/{}", source->model_name.ToString(), source->number);
    ASSIGN_OR_RETURN(times, ShownTimes(blobs, *source));
  }
  ASSIGN_OR_RETURN(const Digest stored_times, cas::PutTreeTimes(blobs, times, lease.lease().epoch));
  RETURN_IF_ERROR(blobs.Offer(sealed.tree, stored_times, Deadline::After(cas::kPatience)));
  const StoredTree content(sealed.tree, stored_times);
  for (int attempt = 1;; ++attempt) {
    // The draft remembers the number before the registry has it, so the flow asks for the next one here.
    const VersionNumber number = expected.has_value() ? *expected : draft.NextNumber();
    RETURN_IF_ERROR(draft.Note(number, sealed.tree));
    FAIL_POINT("fs.commit.noted");
    Result<VersionInfo> committed =
        registry.CommitVersion(caller, model, content, lease.lease(), fields, number);
    const bool taken = !committed.ok() && committed.error().code() == Code::kOutOfRange;
    if (!taken || expected.has_value() || attempt == kNumberTries) return committed;
  }
}

}  // namespace

Result<ObjectInfo> MakeObject(Registry& registry, const Caller& caller, const FullName& name,
                              std::string_view description, Parents parents) {
  ObjectId parent = kMetastoreId;
  if (name.parts.size() > 1) {
    Caller looking = WithIntent(
        caller, fmt::format("create{}", ActionNoun(static_cast<ObjectKind>(name.parts.size()))), name);
    looking.intent->params = {{"name", name.leaf()}};
    Result<ObjectInfo> container = registry.Lookup(looking, name.Parent());
    if (!container.ok() && container.error().code() == Code::kNotFound && parents == Parents::kCreate) {
      container = MakeObject(registry, caller, name.Parent(), "", parents);
    }
    if (!container.ok()) return std::move(container).error();
    parent = container->id;
  }
  Result<ObjectInfo> made = registry.Create(caller, parent, name.leaf(), description);
  if (!made.ok() && made.error().code() == Code::kAlreadyExists && parents == Parents::kCreate) {
    return registry.LookupChild(caller, parent, name.leaf());
  }
  return made;
}

Status CheckPublishTree(Registry& registry, const Caller& caller, const NewTree& tree) {
  ASSIGN_OR_RETURN(const ObjectId innermost, InnermostOf(registry, caller, tree.model, tree.parents));
  return registry.CheckNewVersion(caller, innermost, tree.fields, tree.expected);
}

Result<VersionInfo> PublishTree(Registry& registry, cas::BlobStore& blobs, LeasePool& leases,
                                const Caller& caller, const NewTree& tree, const StoreContent& store) {
  for (int attempt = 1;; ++attempt) {
    ASSIGN_OR_RETURN(HeldLease lease, leases.Get());
    FAIL_POINT("register.leased");
    Result<VersionInfo> version = PublishOnce(registry, blobs, lease, caller, tree, store);
    // The lease ended on the way, or a file of the content changed while it was read.
    if (version.ok() || version.error().code() != Code::kAborted || attempt == kLeaseTries) return version;
    lease.Ended();
  }
}

Result<VersionInfo> PublishCopy(Registry& registry, const Caller& caller, const VersionInfo& source,
                                const FullName& model, Parents parents) {
  RETURN_IF_ERROR(CheckSchema(registry, caller, model, parents));
  ASSIGN_OR_RETURN(const Destination destination, FindOrMakeModel(registry, caller, model, parents));
  Result<VersionInfo> copy = registry.CopyVersion(caller, source.model, source.number, destination.model.id);
  if (!copy.ok()) TakeBack(registry, caller, destination);
  return copy;
}

Result<ModelCopy> PublishModelCopy(Registry& registry, const Caller& caller, const ObjectInfo& source,
                                   const FullName& destination, Parents parents) {
  ASSIGN_OR_RETURN(const ObjectId innermost, InnermostOf(registry, caller, destination, parents));
  for (const std::string& part : destination.parts) RETURN_IF_ERROR(CheckObjectName(part));
  RETURN_IF_ERROR(registry.CheckModelCopy(caller, source.id, innermost));
  ASSIGN_OR_RETURN(const ObjectInfo schema,
                   parents == Parents::kCreate
                       ? MakeObject(registry, caller, destination.Parent(), "", parents)
                       : registry.Lookup(caller, destination.Parent()));
  return registry.CopyModel(caller, source.id, schema.id, destination.leaf());
}

Result<VersionInfo> PublishDraft(Registry& registry, cas::BlobStore& blobs, LeasePool& leases,
                                 const Caller& caller, ObjectId model, PublishableDraft& draft,
                                 std::optional<VersionNumber> expected) {
  for (int attempt = 1;; ++attempt) {
    ASSIGN_OR_RETURN(HeldLease lease, leases.Get());
    ASSIGN_OR_RETURN(const PublishableDraft::Sealed sealed, draft.Seal(lease.lease().epoch));
    Result<VersionInfo> version =
        CommitSealed(registry, blobs, lease, caller, model, draft, sealed, expected);
    if (version.ok()) return version;
    draft.Unseal();
    if (version.error().code() != Code::kAborted) return version;
    lease.Ended();
    if (attempt == kLeaseTries) return version;
  }
}

Result<cas::TreeTimes> ShownTimes(cas::BlobStore& blobs, const VersionInfo& version) {
  if (version.times) return cas::ReadTreeTimes(blobs, *version.times, version.file_count);
  const cas::FileTime commit = cas::FileTimeOfMs(version.committed_at_ms);
  return cas::TreeTimes::Make(std::vector<cas::FileTime>(version.file_count, commit));
}

Result<std::unordered_set<Digest>> BlobsOfVersions(
    cas::BlobStore& blobs, const Mark& mark,
    const std::function<Status(const Digest& tree, const Error& error)>& unreadable) {
  std::unordered_set<Digest> needed(mark.live_times.begin(), mark.live_times.end());
  for (const Digest& digest : mark.live_trees) {
    if (!needed.insert(digest).second) continue;
    const Result<cas::Tree> tree = cas::ReadTree(blobs, digest);
    if (!tree.ok()) {
      RETURN_IF_ERROR(unreadable(digest, tree.error()));
      continue;
    }
    for (const cas::TreeEntry& entry : tree->entries()) {
      if (entry.kind != cas::EntryKind::kFile) continue;
      needed.insert(entry.blob);
      if (entry.chunk_list) needed.insert(*entry.chunk_list);
    }
  }
  return needed;
}

Status CollectGarbage(Registry& registry, const Caller& upkeep, SweepableHome& home,
                      const std::stop_token& stop) {
  RETURN_IF_ERROR(home.RemoveDrafts([&](std::string_view text) {
    const std::optional<DraftLabel> label = DraftLabel::Decode(text);
    if (!label.has_value()) return false;
    const Result<ObjectInfo> model = registry.Get(upkeep, label->model);
    return !model.ok() && model.error().code() == Code::kNotFound;
  }));
  ASSIGN_OR_RETURN(const Mark mark, home.MarkForSweep());
  FAIL_POINT("gc.marked");
  if (stop.stop_requested()) return Error(Code::kCancelled, "the sweep was stopped");
  const auto stop_at_once = [](const Digest& tree, const Error& error) -> Status {
    return Error(Code::kDataLoss,
                 fmt::format("tree {}: {}; the files that its version needs are not known, so "
                             "nothing was removed; \"modelfs fsck\" names the version",
                             tree.ToString(), error.message()));
  };
  ASSIGN_OR_RETURN(std::unordered_set<Digest> live, BlobsOfVersions(home.blobs(), mark, stop_at_once));
  ASSIGN_OR_RETURN(const std::vector<Digest> of_drafts, home.BlobsOfDrafts());
  live.insert(of_drafts.begin(), of_drafts.end());
  FAIL_POINT("gc.sweeping");
  return home.Sweep(live, mark.horizon);
}

}  // namespace modelfs::store
