#include "fs/acl_table.h"

#include <algorithm>
#include <vector>

#include "fs/notifier.h"
#include "fs/tree_cache.h"

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

tl::unexpected<Refusal> RefuseNode(const Error& error) {
  if (error.code() == Code::kNotFound) return Refuse(ESTALE, error.message());
  return Refuse(error);
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
      const auto version = context_.trees->Get(parts.version);
      if (!version.ok()) return RefuseNode(version.error());
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
  // Whoever is refused is asked about again at once, so a GRANT is in force from the moment it is made.
  const auto revision = context_.registry->CurrentRevision();
  if (!revision.ok()) return RefuseNode(revision.error());
  std::optional<NodeId> evicted;
  std::shared_ptr<const store::ObjectAccess> access;
  {
    MutexLock lock(mu_);
    const auto found = cached_.find(subject.object);
    if (found != cached_.end() && found->second.revision == *revision && now_ms >= found->second.read_at_ms &&
        now_ms - found->second.read_at_ms < store::HostIdentities::kLifetimeMs) {
      // Whoever drops it from here tells the kernel about the node, too: it is remembered under the same
      // lock.
      evicted = Remember(node, found->second.path);
      access = found->second.access;
    }
  }
  if (evicted) context_.notifier->AttrChanged(*evicted);
  if (access != nullptr) return Encoded(subject.part, *access);

  const auto path = PathOf(subject.object);
  if (!path.ok()) return RefuseNode(path.error());
  {
    MutexLock lock(mu_);
    evicted = Remember(node, *path);
  }
  if (evicted) context_.notifier->AttrChanged(*evicted);

  auto read = context_.registry->AccessOf(context_.daemon, subject.object);
  if (!read.ok()) return RefuseNode(read.error());
  access = std::make_shared<const store::ObjectAccess>(*std::move(read));
  {
    MutexLock lock(mu_);
    if (epoch == this->epoch()) {
      // What is in here lasts a second: to begin anew costs no more than that does.
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
                     .called = [&](const auto& names) { return identities.UidsCalled(names); }};
  return EncodeAcl(ProjectAcl(part, access, ids));
}

std::optional<NodeId> AclTable::Remember(NodeId node, const Path& path) {
  if (!given_.emplace(node, path).second) return std::nullopt;
  oldest_first_.push_back(node);
  if (given_.size() <= max_nodes_) return std::nullopt;
  const NodeId evicted = oldest_first_.front();
  oldest_first_.pop_front();
  given_.erase(evicted);
  return evicted;
}

template <typename Concerns>
std::vector<NodeId> AclTable::Forget(Concerns concerns) {
  std::vector<NodeId> nodes;
  {
    MutexLock lock(mu_);
    epoch_.fetch_add(1, std::memory_order_acq_rel);
    std::erase_if(cached_, [&](const auto& each) { return concerns(each.second.path); });
    // They stay remembered: an answer that was read before the change may still be on its way.
    for (const auto& [node, path] : given_) {
      if (concerns(path)) nodes.push_back(node);
    }
  }
  return nodes;
}

void AclTable::Changed(store::ObjectId object) {
  std::vector<NodeId> nodes = Forget([&](const Path& path) { return path.Has(object); });
  // The object's own directory first: once that is closed, no path leads to what lies below.
  std::partition(nodes.begin(), nodes.end(), [&](NodeId node) { return node == ObjectNode(object); });
  for (const NodeId node : nodes) context_.notifier->AttrChanged(node);
}

void AclTable::AllChanged() {
  for (const NodeId node : Forget([](const Path&) { return true; })) context_.notifier->AttrChanged(node);
}

size_t AclTable::nodes() const {
  MutexLock lock(mu_);
  return given_.size();
}

}  // namespace modelfs::fs
