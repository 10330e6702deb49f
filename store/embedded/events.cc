// Events, as far as each subscriber may know them.
#include <fmt/core.h>

#include <utility>

#include "cas/base/thread.h"
#include "store/embedded/embedded_registry_impl.h"
#include "store/records/keys.h"

namespace modelfs::store {
namespace {

// Whether the event says nothing but what became of a version or an alias.
bool IsOfVersions(EventKind kind) {
  switch (kind) {
    case EventKind::kVersionCreated:
    case EventKind::kVersionReady:
    case EventKind::kVersionFailed:
    case EventKind::kVersionUpdated:
    case EventKind::kVersionDeleted:
    case EventKind::kAliasSet:
    case EventKind::kAliasDeleted:
      return true;
    default:
      return false;
  }
}

// Whether a subscriber may have known the object until this event.
bool MayHide(EventKind kind) {
  return kind == EventKind::kDeleted || kind == EventKind::kAccessChanged ||
         kind == EventKind::kPrincipalsChanged;
}

void ClearNames(Event& event) {
  event.name.clear();
  event.old_name.clear();
  event.parent = 0;
}

Result<bool> Exists(View& view, ObjectId object) {
  ASSIGN_OR_RETURN(const std::optional<KvEntry> where, view.Get(keys::Where(object)));
  return where.has_value();
}

void ClearVersions(Event& event) {
  event.version.reset();
  event.version_id = 0;
  event.aliases.clear();
}

class Bell {
 public:
  void Ring() {
    const MutexLock lock(mu_);
    rung_ = true;
    changed_.NotifyAll();
  }
  // Returns when it was rung after the last Wait, or at the deadline.
  void Wait(const Deadline& deadline) {
    const MutexLock lock(mu_);
    while (!rung_ && changed_.WaitUntil(mu_, deadline.at())) {
    }
    rung_ = false;
  }

 private:
  Mutex mu_;
  CondVar changed_;
  bool rung_ GUARDED_BY(mu_) = false;
};

}  // namespace

Result<bool> EmbeddedRegistryImpl::Disclose(View& view, const Caller& caller, Event& event) const {
  if (caller.IsUpkeep() || event.object == kMetastoreId) return true;
  ASSIGN_OR_RETURN(const Visible visible, VisibleTo(view, caller, event.object, event.parent));
  if (visible == Visible::kAll) return true;
  ClearVersions(event);
  if (visible == Visible::kSeen) return !IsOfVersions(event.kind);
  ClearNames(event);
  return MayHide(event.kind);
}

Result<EmbeddedRegistryImpl::Visible> EmbeddedRegistryImpl::VisibleTo(View& view, const Caller& caller,
                                                                      ObjectId object,
                                                                      ObjectId parent) const {
  ASSIGN_OR_RETURN(const bool there, Exists(view, object));
  if (there) {
    ASSIGN_OR_RETURN(const bool get, authorizer_.May(view, caller, Operation::kGet, object));
    if (get) return Visible::kAll;
    ASSIGN_OR_RETURN(const bool see, authorizer_.May(view, caller, Operation::kSee, object));
    return see ? Visible::kSeen : Visible::kHidden;
  }
  // A deleted object has no grants any more: only a caller that sees everything there knows what it was.
  ASSIGN_OR_RETURN(const bool parent_there, Exists(view, parent));
  ASSIGN_OR_RETURN(const Visibility beside,
                   authorizer_.VisibleIn(view, caller, parent_there ? parent : kMetastoreId));
  if (beside.full) return Visible::kAll;
  return beside.all ? Visible::kSeen : Visible::kHidden;
}

Result<EventPage> EmbeddedRegistryImpl::Events(const Caller& caller, uint64_t after_revision, size_t limit) {
  ASSIGN_OR_RETURN(const std::vector<LogEntry> entries, kv_.ReadLog(after_revision, limit));
  // Decided on a later snapshot than the events are of: a right that was taken meanwhile is not used.
  return Inspect(caller, Operation::kUse, kMetastoreId, [&](View& view) -> Result<EventPage> {
    EventPage page{{}, after_revision};
    for (const LogEntry& entry : entries) {
      ASSIGN_OR_RETURN(Event event, DecodeEvent(entry.payload, fmt::format("event {}", entry.revision)));
      event.revision = page.through = entry.revision;
      ASSIGN_OR_RETURN(const bool told, Disclose(view, caller, event));
      if (told) page.events.push_back(std::move(event));
    }
    return page;
  });
}

Result<uint64_t> EmbeddedRegistryImpl::CurrentRevision(const Caller& caller) {
  return Inspect(caller, Operation::kUse, kMetastoreId,
                 [&](View& view) -> Result<uint64_t> { return view.snapshot().revision(); });
}

Result<std::unique_ptr<Subscription>> EmbeddedRegistryImpl::Watch(const Caller& caller,
                                                                  uint64_t after_revision,
                                                                  std::function<void()> on_event) {
  RETURN_IF_ERROR(Demand(caller, {Operation::kUse}));
  return event_pump_.Watch(after_revision, std::move(on_event));
}

void EmbeddedRegistryImpl::WaitForChange(const Caller& caller, uint64_t after_revision,
                                         const Deadline& deadline, const std::stop_token& stop) {
  Bell bell;
  const std::stop_callback stopped(stop, [&bell] { bell.Ring(); });
  const auto watch = Watch(caller, after_revision, [&bell] { bell.Ring(); });
  while (watch.ok() && !stop.stop_requested() && !deadline.Passed()) {
    const Result<std::vector<LogEntry>> events = kv_.ReadLog(after_revision, 1);
    if (!events.ok() || !events->empty()) return;  // an error shows itself at the next call
    bell.Wait(deadline);
  }
  if (!watch.ok()) kv_.WaitForCommit(after_revision, deadline, stop);
}

}  // namespace modelfs::store
