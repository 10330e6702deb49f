#include "fs/base/tree_cache.h"

#include <fmt/core.h>

#include <functional>
#include <list>
#include <optional>
#include <unordered_map>
#include <utility>

#include "cas/base/thread.h"
#include "cas/tree_store.h"

namespace modelfs::fs {

// Holds `used_nodes_` = the sum of the cached trees' sizes, at most `max_nodes_` unless one tree alone is
// larger: the newest always stays, or a walk of a huge version would decode it for every step.
class TreeCache::Impl {
 public:
  using Value = TreeCache::Value;

  Impl(store::Registry& registry, cas::BlobStore& blobs, store::Caller daemon, size_t max_nodes)
      : registry_(registry), blobs_(blobs), daemon_(std::move(daemon)), max_nodes_(max_nodes) {}

  Result<Value> Find(store::VersionId version, Pending& pending) {
    std::shared_ptr<Load> load;
    {
      MutexLock lock(mu_);
      if (const auto found = cached_.find(version); found != cached_.end()) {
        recent_.splice(recent_.begin(), recent_, found->second);
        return found->second->value;
      }
      if (const auto loading = loads_.find(version); loading != loads_.end()) {
        load = loading->second;
        while (!load->result) loaded_.Wait(mu_);
        pending = load->pending;
        return *load->result;
      }
      load = std::make_shared<Load>();
      loads_.emplace(version, load);
    }

    Result<Value> result = Read(version, pending);
    MutexLock lock(mu_);
    load->result.emplace(result);
    load->pending = pending;
    // A Drop meanwhile took this load out of the table: its waiters get the answer, later callers ask again.
    if (const auto loading = loads_.find(version); loading != loads_.end() && loading->second == load) {
      loads_.erase(loading);
      if (result.ok()) Insert(version, *result);
    }
    loaded_.NotifyAll();
    return result;
  }

  void Drop(store::VersionId version) {
    MutexLock lock(mu_);
    loads_.erase(version);
    if (const auto found = cached_.find(version); found != cached_.end()) Erase(found->second);
  }

  // Loads under way are dropped with the rest: which of them are of `model` is not known yet.
  void DropIf(const std::function<bool(const CachedVersion&)>& wanted) {
    MutexLock lock(mu_);
    loads_.clear();
    for (auto slot = recent_.begin(); slot != recent_.end();) {
      const auto next = std::next(slot);
      if (wanted(*slot->value)) Erase(slot);
      slot = next;
    }
  }

  size_t size() const {
    MutexLock lock(mu_);
    return cached_.size();
  }

 private:
  struct Load {
    std::optional<Result<Value>> result;  // guarded by mu_, as is this:
    Pending pending = nullptr;
  };
  struct Slot {
    store::VersionId version = 0;
    Value value;
  };

  Result<Value> Read(store::VersionId version, Pending& pending) {
    ASSIGN_OR_RETURN(store::VersionInfo info, registry_.GetVersionById(daemon_, version));
    if (info.status != store::VersionStatus::kReady) {
      return Error(Code::kFailedPrecondition,
                   fmt::format("{}/{}: it is {}, not READY", info.model_name.ToString(), info.number,
                               store::StatusName(info.status)));
    }
    const auto refuse = [&](const Error& error, const Digest& blob, std::string_view part) -> Error {
      if (error.code() == Code::kDeadlineExceeded) {
        const auto opened = blobs_.Open(blob);
        if (opened.ok()) pending = FetchOf(*opened, 0, blob.size_bytes);
        return opened.ok() ? error : opened.error();
      }
      // Another process may have deleted the version, and a sweep its tree, after the record was read.
      if (const auto now = registry_.GetVersionById(daemon_, version); !now.ok()) return now.error();
      const std::string subject = fmt::format("{}/{}: its {}", info.model_name.ToString(), info.number, part);
      // A blob of a READY version is never removed, so its absence is damage and not a missing name.
      if (error.code() != Code::kNotFound) return error.Wrap(subject);
      return {Code::kDataLoss, fmt::format("{}: {}", subject, error.message())};
    };
    Result<cas::Tree> tree = cas::ReadTree(blobs_, info.tree, Deadline::Now());
    if (!tree.ok()) return refuse(tree.error(), info.tree, "list of files");
    auto value = std::make_shared<CachedVersion>();
    if (info.times) {
      Result<cas::TreeTimes> times =
          cas::ReadTreeTimes(blobs_, *info.times, tree->file_count(), Deadline::Now());
      if (!times.ok()) return refuse(times.error(), *info.times, "files' times");
      value->times = *std::move(times);
    }
    value->info = std::move(info);
    value->tree = std::make_shared<const cas::TreeIndex>(*std::move(tree));
    value->seen_native = std::vector<std::atomic<bool>>(value->tree->size());
    return Value(std::move(value));
  }

  void Insert(store::VersionId version, const Value& value) REQUIRES(mu_) {
    recent_.push_front({version, value});
    cached_.emplace(version, recent_.begin());
    used_nodes_ += value->tree->size();
    while (used_nodes_ > max_nodes_ && recent_.size() > 1) Erase(std::prev(recent_.end()));
  }

  void Erase(std::list<Slot>::iterator slot) REQUIRES(mu_) {
    used_nodes_ -= slot->value->tree->size();
    cached_.erase(slot->version);
    recent_.erase(slot);
  }

  store::Registry& registry_;
  cas::BlobStore& blobs_;
  const store::Caller daemon_;
  const size_t max_nodes_;

  mutable Mutex mu_;
  CondVar loaded_;
  std::list<Slot> recent_ GUARDED_BY(mu_);  // most recently used first
  std::unordered_map<store::VersionId, std::list<Slot>::iterator> cached_ GUARDED_BY(mu_);
  std::unordered_map<store::VersionId, std::shared_ptr<Load>> loads_ GUARDED_BY(mu_);
  size_t used_nodes_ GUARDED_BY(mu_) = 0;
};

TreeCache::TreeCache(store::Registry& registry, cas::BlobStore& blobs, store::Caller daemon, size_t max_nodes)
    : impl_(std::make_unique<Impl>(registry, blobs, std::move(daemon), max_nodes)) {}

TreeCache::~TreeCache() = default;

Result<TreeCache::Value> TreeCache::Find(store::VersionId version, Pending& pending) {
  return impl_->Find(version, pending);
}

Result<TreeCache::Value> TreeCache::Get(store::VersionId version) {
  const Deadline deadline = Deadline::After(cas::kPatience);
  while (true) {
    Pending pending;
    Result<Value> found = Find(version, pending);
    if (found.ok() || pending == nullptr) return found;
    RETURN_IF_ERROR(Await(pending, deadline));
  }
}

void TreeCache::Drop(store::VersionId version) { impl_->Drop(version); }

void TreeCache::DropModel(store::ObjectId model) {
  impl_->DropIf([model](const CachedVersion& version) { return version.info.model == model; });
}

void TreeCache::DropAll() {
  impl_->DropIf([](const CachedVersion&) { return true; });
}

size_t TreeCache::size() const { return impl_->size(); }

}  // namespace modelfs::fs
