// A store with chosen blobs on another host, which does not answer until the test says so. All others are
// those of the store below.
#pragma once

#include <functional>
#include <memory>
#include <set>
#include <stop_token>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include "cas/base/thread.h"
#include "cas/blob_store.h"

namespace modelfs::testing {

class StallingStore : public cas::BlobStore {
 public:
  explicit StallingStore(cas::BlobStore& below) : below_(below), origin_(std::make_shared<Origin>()) {}

  void Stall(const Digest& digest) {
    const MutexLock lock(origin_->mu);
    origin_->stalled.insert(digest);
  }
  // The other host answers what it was asked, and all that follows at once.
  void Release() {
    std::vector<Asked> asked;
    {
      const MutexLock lock(origin_->mu);
      origin_->stalled.clear();
      asked.swap(origin_->asked);
      origin_->released.NotifyAll();
    }
    for (const Asked& each : asked) each.done(OkStatus());
  }
  // Where in their blobs the bytes lie that somebody waits for.
  std::set<uint64_t> waited_for() const {
    const MutexLock lock(origin_->mu);
    std::set<uint64_t> offsets;
    for (const Asked& each : origin_->asked) {
      if (!each.stop.stop_requested()) offsets.insert(each.offset_bytes);
    }
    return offsets;
  }
  // How many wait.
  size_t waiting() const {
    const MutexLock lock(origin_->mu);
    size_t count = 0;
    for (const Asked& each : origin_->asked) count += each.stop.stop_requested() ? 0 : 1;
    return count;
  }

  Status Put(const Digest& digest, std::string_view bytes, cas::Epoch epoch) override {
    return below_.Put(digest, bytes, epoch);
  }
  Result<std::shared_ptr<cas::OpenBlob>> Open(const Digest& digest) override {
    ASSIGN_OR_RETURN(std::shared_ptr<cas::OpenBlob> blob, below_.Open(digest));
    return std::shared_ptr<cas::OpenBlob>(std::make_shared<Blob>(std::move(blob), origin_));
  }
  Status Keep(const Digest& digest, cas::Epoch epoch) override { return below_.Keep(digest, epoch); }
  // What Offer returns from now on, if it is not OK.
  void AnswerOffers(const Status& answer) {
    const MutexLock lock(origin_->mu);
    origin_->offers = answer;
  }
  Status Offer(const Digest& tree, const std::optional<Digest>& times, const Deadline& deadline) override {
    {
      const MutexLock lock(origin_->mu);
      if (!origin_->offers.ok()) return origin_->offers;
    }
    return below_.Offer(tree, times, deadline);
  }
  std::vector<bool> AreNative(std::span<const Digest> digests) override {
    std::vector<bool> native = below_.AreNative(digests);
    for (size_t i = 0; i < digests.size(); ++i) native[i] = native[i] && !origin_->IsStalled(digests[i]);
    return native;
  }
  std::vector<uint64_t> LocalBytesOf(std::span<const Digest> digests) override {
    std::vector<uint64_t> local = below_.LocalBytesOf(digests);
    for (size_t i = 0; i < digests.size(); ++i) local[i] = origin_->IsStalled(digests[i]) ? 0 : local[i];
    return local;
  }
  cas::Subscription OnNative(std::function<void(const Digest&)> listener) override {
    return below_.OnNative(std::move(listener));
  }

 private:
  struct Asked {
    uint64_t offset_bytes = 0;
    std::stop_token stop;
    Done done;
  };
  struct Origin {
    Mutex mu;
    CondVar released;
    std::unordered_set<Digest> stalled GUARDED_BY(mu);
    std::vector<Asked> asked GUARDED_BY(mu);
    Status offers GUARDED_BY(mu) = OkStatus();

    bool IsStalled(const Digest& digest) {
      const MutexLock lock(mu);
      return stalled.contains(digest);
    }
  };

  class Blob : public cas::OpenBlob {
   public:
    Blob(std::shared_ptr<cas::OpenBlob> below, std::shared_ptr<Origin> origin)
        : below_(std::move(below)), origin_(std::move(origin)) {}
    const Digest& digest() const override { return below_->digest(); }
    std::optional<cas::FileId> File() const override { return below_->File(); }
    Result<size_t> Read(uint64_t offset, std::span<std::byte> out, const Deadline& deadline) override {
      {
        const MutexLock lock(origin_->mu);
        while (origin_->stalled.contains(digest())) {
          if (!origin_->released.WaitUntil(origin_->mu, deadline.at()) && deadline.Passed()) {
            return Error(Code::kDeadlineExceeded, "the other host does not answer");
          }
        }
      }
      return below_->Read(offset, out, deadline);
    }
    void Fetch(uint64_t offset, uint64_t length, const std::stop_token& stop, Done done) override {
      {
        const MutexLock lock(origin_->mu);
        if (origin_->stalled.contains(digest())) {
          origin_->asked.push_back({offset, stop, std::move(done)});
          return;
        }
      }
      below_->Fetch(offset, length, stop, std::move(done));
    }
    std::optional<int> NativeFd() const override {
      return origin_->IsStalled(digest()) ? std::nullopt : below_->NativeFd();
    }

   private:
    const std::shared_ptr<cas::OpenBlob> below_;
    const std::shared_ptr<Origin> origin_;
  };

  cas::BlobStore& below_;
  const std::shared_ptr<Origin> origin_;
};

}  // namespace modelfs::testing
