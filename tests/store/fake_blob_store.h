// Blobs in memory, and the few trees that the registry's tests need.
#pragma once

#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "cas/base/thread.h"
#include "cas/blob_store.h"
#include "cas/tree.h"
#include "store/leases.h"

namespace modelfs::testing {

class FakeBlobStore : public cas::BlobStore {
 public:
  Status Put(const Digest& digest, std::string_view bytes, cas::Epoch epoch) override {
    const MutexLock lock(mu_);
    blobs_[digest] = bytes;
    epochs_[digest] = std::max(epochs_[digest], epoch);
    return OkStatus();
  }
  Result<std::shared_ptr<cas::OpenBlob>> Open(const Digest& digest) override {
    const MutexLock lock(mu_);
    ++opens_;
    const auto found = blobs_.find(digest);
    if (found == blobs_.end()) return Error(Code::kNotFound, digest.ToString() + ": no such blob");
    return std::shared_ptr<cas::OpenBlob>(std::make_shared<Blob>(digest, found->second));
  }
  Status Keep(const Digest& digest, cas::Epoch epoch) override {
    const MutexLock lock(mu_);
    if (blobs_.count(digest) == 0) return Error(Code::kNotFound, digest.ToString() + ": no such blob");
    epochs_[digest] = std::max(epochs_[digest], epoch);
    return OkStatus();
  }
  Status Offer(const Digest& tree, const std::optional<Digest>&, const Deadline&) override {
    return on_offer ? on_offer(tree) : OkStatus();
  }
  std::function<Status(const Digest& tree)> on_offer;  // null: OK
  std::vector<bool> AreNative(std::span<const Digest> digests) override {
    return std::vector<bool>(digests.size(), false);
  }
  std::vector<uint64_t> LocalBytesOf(std::span<const Digest> digests) override {
    std::vector<uint64_t> local;
    for (const Digest& digest : digests) local.push_back(digest.size_bytes);
    return local;
  }
  cas::Subscription OnNative(std::function<void(const Digest&)>) override { return nullptr; }

  // Stores the files and the tree that lists them.
  Digest PutTree(const std::vector<std::pair<std::string, std::string>>& files, cas::Epoch epoch = {}) {
    std::vector<cas::TreeEntry> entries;
    for (const auto& [path, bytes] : files) {
      cas::TreeEntry entry;
      entry.path = path;
      entry.blob = DigestOf(bytes);
      Put(entry.blob, bytes, epoch).IgnoreError("in memory");
      entries.push_back(std::move(entry));
    }
    const std::string encoded = cas::Tree::Make(std::move(entries)).value().Encode();
    const Digest digest = DigestOf(encoded);
    Put(digest, encoded, epoch).IgnoreError("in memory");
    return digest;
  }

  size_t opens() {
    const MutexLock lock(mu_);
    return opens_;
  }
  void Remove(const Digest& digest) {
    const MutexLock lock(mu_);
    blobs_.erase(digest);
  }
  bool Has(const Digest& digest) {
    const MutexLock lock(mu_);
    return blobs_.count(digest) > 0;
  }
  // Removes the blobs that a sweep would remove with this mark, and the files of trees besides.
  void Sweep(const store::Mark& mark) {
    std::set<Digest> live(mark.live_trees.begin(), mark.live_trees.end());
    live.insert(mark.live_times.begin(), mark.live_times.end());
    const MutexLock lock(mu_);
    for (auto at = epochs_.begin(); at != epochs_.end();) {
      if (live.count(at->first) > 0 || at->second >= mark.horizon) {
        ++at;
      } else {
        blobs_.erase(at->first);
        at = epochs_.erase(at);
      }
    }
  }

 private:
  class Blob : public cas::OpenBlob {
   public:
    Blob(const Digest& digest, std::string bytes) : digest_(digest), bytes_(std::move(bytes)) {}
    const Digest& digest() const override { return digest_; }
    Result<size_t> Read(uint64_t offset, std::span<std::byte> out, const Deadline&) override {
      if (offset >= bytes_.size()) return size_t{0};
      const size_t count = std::min<size_t>(out.size(), bytes_.size() - offset);
      std::memcpy(out.data(), bytes_.data() + offset, count);
      return count;
    }
    void Fetch(uint64_t, uint64_t, const std::stop_token&, Done done) override { done(OkStatus()); }
    std::optional<int> NativeFd() const override { return std::nullopt; }

   private:
    Digest digest_;
    std::string bytes_;
  };

  Mutex mu_;
  size_t opens_ GUARDED_BY(mu_) = 0;
  std::map<Digest, std::string> blobs_ GUARDED_BY(mu_);
  std::map<Digest, cas::Epoch> epochs_ GUARDED_BY(mu_);
};

}  // namespace modelfs::testing
