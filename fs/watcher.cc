#include "fs/watcher.h"

#include <spdlog/spdlog.h>

#include <atomic>
#include <chrono>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "cas/base/thread.h"
#include "fs/base/notifier.h"
#include "fs/base/tree_cache.h"
#include "fs/drafts/draft_table.h"
#include "fs/sharing/acl_table.h"
#include "fs/zones/held_names.h"
#include "fs/zones/recent_reads.h"

namespace modelfs::fs {
namespace {

using store::Event;
using store::EventKind;
using store::ObjectInfo;
using store::ObjectKind;

constexpr size_t kEventsAtOnce = 1000;
constexpr std::chrono::milliseconds kWait{1000};        // how long one wait for a change lasts
constexpr std::chrono::milliseconds kErrorPause{1000};  // between attempts while the registry cannot be read

// If the log of events was trimmed past our place, the kernel is notified of every name that it may have;
// this bounds how many. Names beyond it age out (kNamesTtlS).
constexpr size_t kResyncNames = 100'000;

}  // namespace

class Watcher::Impl {
 public:
  Impl(Context& context, uint64_t revision) : context_(context), revision_(revision) {
    thread_ = std::jthread([this](const std::stop_token& stop) { Run(stop); });
  }

  uint64_t revision() const { return revision_; }

 private:
  void Run(const std::stop_token& stop) {
    bool failing = false;
    uint64_t ids = Ids();
    while (!stop.stop_requested()) {
      // Checked with each wait, because the registry's events do not cover the host's ids.
      if (const uint64_t now = Ids(); std::exchange(ids, now) != now) {
        if (context_.recent_reads != nullptr) context_.recent_reads->Clear();
        context_.acls->IdsChanged();
      }
      const auto page = context_.journal->Events(context_.daemon, revision_, kEventsAtOnce);
      if (page.ok()) {
        failing = false;
        const bool behind = page->through > revision_;
        for (const Event& event : page->events) {
          Tell(event);
          revision_ = event.revision;
        }
        revision_ = page->through;
        if (!behind)
          context_.journal->WaitForChange(context_.daemon, revision_, Deadline::After(kWait), stop);
        continue;
      }
      if (page.error().code() == Code::kOutOfRange && Resync(stop)) continue;
      if (!std::exchange(failing, true) && context_.log != nullptr) {
        context_.log->warn("events_unreadable after_revision={} reason=\"{}\"", revision_.load(),
                           page.error().message());
      }
      Pause(stop);
    }
  }

  // Changes when ids may mean other users; always 0 if the kernel gets no ids.
  uint64_t Ids() { return context_.acls != nullptr ? context_.identities->Generation() : 0; }

  void Pause(const std::stop_token& stop) {
    const std::stop_callback wake(stop, [this] {
      MutexLock lock(mu_);
      stopped_.NotifyAll();
    });
    const Deadline end = Deadline::After(kErrorPause);
    MutexLock lock(mu_);
    while (!stop.stop_requested() && stopped_.WaitUntil(mu_, end.at())) {
    }
  }

  void Tell(const Event& event) {
    Notifier& kernel = *context_.notifier;
    switch (event.kind) {
      case EventKind::kDeleted:
        if (event.object_kind == ObjectKind::kModel) {
          context_.trees->DropModel(event.object);
          context_.held_names->DropModel(event.object);
          if (context_.draft_table != nullptr) context_.draft_table->ModelMayBeGone(event.object);
          if (context_.on_deleted) context_.on_deleted();
        }
        kernel.AttrChanged(ObjectNode(event.object));  // returns ESTALE from now on
        break;
      case EventKind::kRenamed:
        kernel.EntryChanged(ObjectNode(event.parent), event.old_name);
        kernel.AttrChanged(ObjectNode(event.object));
        break;
      case EventKind::kUpdated:
      case EventKind::kTagsChanged:
        if (!event.version) kernel.AttrChanged(ObjectNode(event.object));
        break;
      case EventKind::kVersionDeleted:
        context_.trees->Drop(event.version_id);
        if (context_.on_deleted) context_.on_deleted();
        kernel.AttrChanged(TreeNode(event.version_id, 0, Flavour::kCached));  // returns ESTALE from now on
        TellModelAttr(event.object);
        break;
      case EventKind::kVersionCreated:
      case EventKind::kVersionReady:
      case EventKind::kVersionFailed:
      case EventKind::kAliasSet:
      case EventKind::kAliasDeleted:
        TellModelAttr(event.object);
        break;
      case EventKind::kAccessChanged:
        // Our cached ACLs first, then the kernel's attributes.
        if (context_.acls != nullptr) context_.acls->Changed(event.object);
        TellOwner(event);
        break;
      case EventKind::kPrincipalsChanged:
        if (context_.acls == nullptr) break;
        // Objects of a deleted principal have no owner.
        if (event.old_name.empty()) {
          context_.acls->AllChanged();
        } else {
          context_.acls->IdsChanged();
        }
        break;
      case EventKind::kSettingsChanged:
      case EventKind::kCreated:         // the kernel asks for an absent name each time
      case EventKind::kVersionUpdated:  // so are tags and descriptions
      case EventKind::kOther:
        break;
    }
  }

  // An object's directories show its owner.
  void TellOwner(const Event& event) {
    if (event.object_kind == ObjectKind::kModel) return TellModelAttr(event.object);
    context_.notifier->AttrChanged(ObjectNode(event.object));
  }

  void TellModelAttr(store::ObjectId model) {
    context_.notifier->AttrChanged(ObjectNode(model));
    context_.notifier->AttrChanged(VersionsNode(model));
    context_.notifier->AttrChanged(AliasesNode(model));
  }

  // Follows from now on, and notifies the kernel of every name that it may have cached, because the changed
  // ones are not known any more. Deleted objects are not among them: their nodeids return ESTALE, and the
  // kernel asks again. Returns false if the registry cannot be read.
  bool Resync(const std::stop_token& stop) {
    const auto now = context_.journal->CurrentRevision(context_.daemon);
    if (!now.ok()) return false;
    context_.trees->DropAll();
    // As if uids had changed hands: a missed event may have deleted a principal that owned objects.
    if (context_.acls != nullptr) context_.acls->IdsChanged();
    size_t room = kResyncNames;
    TellChildren(store::kMetastoreId, stop, room);
    if (context_.log != nullptr) {
      context_.log->warn("events_were_trimmed after_revision={} names_invalidated={}", revision_.load(),
                         kResyncNames - room);
    }
    revision_ = *now;
    return true;
  }

  void TellChildren(store::ObjectId parent, const std::stop_token& stop, size_t& room) {
    store::PageRequest request;
    do {
      auto page = context_.registry->List(context_.daemon, parent, request);
      if (!page.ok()) return;  // gone meanwhile; its deletion is an event of its own
      for (const ObjectInfo& object : page->items) {
        if (room == 0 || stop.stop_requested()) return;
        --room;
        context_.notifier->EntryChanged(ObjectNode(parent), object.name);
        context_.notifier->AttrChanged(ObjectNode(object.id));
        if (object.kind == ObjectKind::kModel) {
          TellVersions(object, room);
          TellModelAttr(object.id);
        } else {
          TellChildren(object.id, stop, room);
        }
      }
      request.token = std::move(page->next_token);
    } while (!request.token.empty());
  }

  // Deleted versions, too. Their nodeids are not known, so their names are notified, although each
  // notification waits for a commit that is under way there.
  void TellVersions(const ObjectInfo& model, size_t& room) {
    for (store::VersionNumber number = 1; number < model.next_version && room > 0; ++number, --room) {
      context_.notifier->EntryChanged(VersionsNode(model.id), std::to_string(number));
    }
  }

  Context& context_;
  std::atomic<uint64_t> revision_;
  Mutex mu_;
  CondVar stopped_;
  std::jthread thread_;  // last: it uses the others
};

Watcher::Watcher(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Watcher::~Watcher() = default;

Result<std::unique_ptr<Watcher>> Watcher::Start(Context& context) {
  ASSIGN_OR_RETURN(const uint64_t revision, context.journal->CurrentRevision(context.daemon));
  return std::unique_ptr<Watcher>(new Watcher(std::make_unique<Impl>(context, revision)));
}

uint64_t Watcher::revision() const { return impl_->revision(); }

}  // namespace modelfs::fs
