#include "fs/sharing/acl_table.h"

#include <algorithm>
#include <vector>

#include "fs/base/notifier.h"
#include "fs/base/tree_cache.h"

namespace modelfs::fs {
namespace {

struct Subject {
  store::ObjectId object = 0;
  AccessClass part = AccessClass::kContainer;
};

bool IsInfoDirectory(InfoFile file) {
  return file == InfoFile::kDirectory || file == InfoFile::kVersionsDirectory ||
         file == InfoFile::kLineageDirectory;
}

// Whether the kernel caches the node's owner for long. Nodes in a READY version show no owner. The kernel
// asks again for .info, and for names that move in versions/ and aliases/. A draft shows its creator's uid,
// which no change of principals alters.
bool KeepsOwner(NodeId node) {
  const NodeKind kind = Parse(node).kind;
  return kind == NodeKind::kObject || kind == NodeKind::kVersions || kind == NodeKind::kAliases;
}

}  // namespace

AclTable::AclTable(Context& context, const Clock& clock, size_t max_nodes)
    : context_(context), clock_(clock), max_nodes_(max_nodes) {}

Result<AclTable::Path> AclTable::PathOf(store::ObjectId object) {
  Path path{.object = object};
  std::vector<store::ObjectId> above;
  for (store::ObjectId at = object; at != store::kMetastoreId;) {
    ASSIGN_OR_RETURN(const store::ObjectInfo info, context_.registry->Get(context_.daemon, at));
    at = info.parent;
    if (at != store::kMetastoreId) above.push_back(at);
  }
  // Above a model: its schema, then its catalog; above a schema: its catalog.
  if (!above.empty()) path.catalog = above.back();
  if (above.size() == 2) path.schema = above.front();
  return path;
}

Outcome<std::optional<std::string>> AclTable::AclOf(NodeId node) {
  const NodeParts parts = Parse(node);
  Subject subject{.object = parts.object};
  switch (parts.kind) {
    case NodeKind::kObject: {
      const auto object = context_.registry->Get(context_.daemon, parts.object);
      if (!object.ok()) return RefuseNode(object.error());
      const bool model = object->kind == store::ObjectKind::kModel;
      subject.part = model ? AccessClass::kModel : AccessClass::kContainer;
      break;
    }
    case NodeKind::kVersions:
      subject.part = AccessClass::kVersions;
      break;
    case NodeKind::kAliases:
      subject.part = AccessClass::kAliases;
      break;
    case NodeKind::kInfo:
      if (!IsInfoDirectory(parts.info)) return std::nullopt;
      subject.part =
          parts.info == InfoFile::kVersionsDirectory ? AccessClass::kInfoVersions : AccessClass::kInfo;
      break;
    case NodeKind::kTree:
    case NodeKind::kAliasTree: {
      Pending pending;
      const auto version = context_.trees->Find(parts.version, pending);
      if (!version.ok()) return pending != nullptr ? NotYet(std::move(pending)) : RefuseNode(version.error());
      const cas::TreeIndex::Node* found = (*version)->tree->Get(parts.tree_node);
      if (found == nullptr || found->file != nullptr) return std::nullopt;
      subject = {(*version)->info.model,
                 parts.tree_node == 0 ? AccessClass::kVersionRoot : AccessClass::kInVersion};
      break;
    }
    default:
      return std::nullopt;
  }

  const int64_t now_ms = clock_.NowMs();
  const uint64_t epoch = this->epoch();
  // Cached rights are valid for one registry revision, and the kernel asks again before it refuses a user: so
  // a GRANT is in force from the moment it is made.
  const auto revision = context_.journal->CurrentRevision(context_.daemon);
  if (!revision.ok()) return RefuseNode(revision.error());
  std::optional<NodeId> evicted;
  std::shared_ptr<const store::ObjectAccess> access;
  {
    MutexLock lock(mu_);
    const auto found = cached_.find(subject.object);
    if (found != cached_.end() && found->second.revision == *revision && now_ms >= found->second.read_at_ms &&
        now_ms - found->second.read_at_ms < store::HostIdentities::kLifetimeMs) {
      // The node is remembered under the lock that guards the cache: a caller that drops this entry notifies
      // the kernel of the node, too.
      evicted = given_.Add(node, found->second.path, max_nodes_);
      access = found->second.access;
    }
  }
  if (evicted) context_.notifier->AttrChanged(*evicted);
  if (access != nullptr) return Encoded(subject.part, *access);

  const auto path = PathOf(subject.object);
  if (!path.ok()) return RefuseNode(path.error());
  {
    MutexLock lock(mu_);
    evicted = given_.Add(node, *path, max_nodes_);
  }
  if (evicted) context_.notifier->AttrChanged(*evicted);

  auto read = context_.governance->AccessOf(context_.daemon, subject.object);
  if (!read.ok()) return RefuseNode(read.error());
  access = std::make_shared<const store::ObjectAccess>(*std::move(read));
  {
    MutexLock lock(mu_);
    if (epoch == this->epoch()) {
      // Entries are valid for a second at most, so clearing the cache costs no more than that does.
      if (cached_.size() >= kMaxCached) cached_.clear();
      cached_[subject.object] = Cached{*path, now_ms, *revision, access};
    }
  }
  return Encoded(subject.part, *access);
}

std::string AclTable::Encoded(AccessClass part, const store::ObjectAccess& access) const {
  store::HostIdentities& identities = *context_.identities;
  const IdLookup ids{.uids = [&](std::string_view user) { return identities.UidsOf(user); },
                     .gids = [&](std::string_view group) { return identities.GidsOf(group); },
                     .shared = [&](std::string_view user) { return identities.IsShared(user); },
                     .called = [&](const auto& names) { return identities.UidsCalled(names); }};
  return EncodeAcl(ProjectAcl(part, access, ids));
}

template <typename Value>
std::optional<NodeId> AclTable::Given<Value>::Add(NodeId node, const Value& value, size_t most) {
  if (!nodes.emplace(node, value).second) return std::nullopt;
  oldest_first.push_back(node);
  if (nodes.size() <= most) return std::nullopt;
  const NodeId evicted = oldest_first.front();
  oldest_first.pop_front();
  nodes.erase(evicted);
  return evicted;
}

void AclTable::GaveAttrs(std::span<const NodeId> nodes) {
  // Most nodes are inside versions: return without taking the lock.
  if (std::none_of(nodes.begin(), nodes.end(), KeepsOwner)) return;
  std::vector<NodeId> evicted;
  {
    MutexLock lock(mu_);
    for (const NodeId node : nodes) {
      if (!KeepsOwner(node)) continue;
      if (const auto oldest = attrs_.Add(node, {}, max_nodes_)) evicted.push_back(*oldest);
    }
  }
  for (const NodeId node : evicted) context_.notifier->AttrChanged(node);
}

template <typename Concerns>
std::vector<NodeId> AclTable::Forget(Concerns concerns) {
  std::vector<NodeId> nodes;
  {
    MutexLock lock(mu_);
    epoch_.fetch_add(1, std::memory_order_acq_rel);
    std::erase_if(cached_, [&](const auto& each) { return concerns(each.second.path); });
    // The nodes stay remembered, because a reply that was read before the change may still be on its way.
    for (const auto& [node, path] : given_.nodes) {
      if (concerns(path)) nodes.push_back(node);
    }
  }
  return nodes;
}

void AclTable::Changed(store::ObjectId object) {
  std::vector<NodeId> nodes = Forget([&](const Path& path) { return path.Has(object); });
  // The object's own directory comes first: once it refuses entry, no path leads to the nodes below.
  std::partition(nodes.begin(), nodes.end(), [&](NodeId node) { return node == ObjectNode(object); });
  for (const NodeId node : nodes) context_.notifier->AttrChanged(node);
}

void AclTable::AllChanged() {
  for (const NodeId node : Forget([](const Path&) { return true; })) context_.notifier->AttrChanged(node);
}

void AclTable::IdsChanged() {
  AllChanged();
  std::vector<NodeId> nodes;
  {
    MutexLock lock(mu_);
    for (const auto& [node, value] : attrs_.nodes) nodes.push_back(node);
  }
  for (const NodeId node : nodes) context_.notifier->AttrChanged(node);
}

size_t AclTable::nodes() const {
  MutexLock lock(mu_);
  return given_.nodes.size();
}

}  // namespace modelfs::fs
