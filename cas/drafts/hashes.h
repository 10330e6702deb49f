// Computes the digests of a draft's files in the background, once no handle has a file open for writing. So
// sealing a draft rarely waits for hashing: when the last file was copied in, the others are hashed. The
// thread lives while there are files to hash. Thread-safe.
#pragma once

#include <deque>
#include <functional>
#include <optional>
#include <stop_token>
#include <thread>
#include <unordered_map>

#include "cas/base/result.h"
#include "cas/base/thread.h"
#include "cas/drafts/draft_store.h"
#include "cas/local/file_hasher.h"

namespace modelfs::cas {

class DraftHashes {
 public:
  // Called on a thread of this object; returns soon once `stop` is requested. Returns nothing if the file is
  // too small or gone, or if hashing was stopped.
  using Hash = std::function<std::optional<HashedFile>(DraftNode file, const std::stop_token& stop)>;

  explicit DraftHashes(Hash hash) : hash_(std::move(hash)) {}
  // Stops the file under way.
  ~DraftHashes();
  DraftHashes(const DraftHashes&) = delete;
  DraftHashes& operator=(const DraftHashes&) = delete;

  // No handle has `file` open for writing now. If the host has no thread to hash it, it stays unknown.
  void Closed(DraftNode file);
  // Call this before and after every change of a file's bytes. It forgets the known digest. It stops hashing
  // that is under way, and discards the result.
  void Changed(DraftNode file);
  // `file` is gone: stops its hashing, and does not begin it any more.
  void Removed(DraftNode file);
  // Ends all hashing. Does not wait for the file under way, but stops it.
  void Stop();

  // Returns the known digests of files that did not change since. Waits for the file under way and forgets
  // those that wait behind it: the caller hashes them faster, several at once. No change may be under way.
  // Once `stop` is requested it waits no longer; the file under way goes on, and those behind it follow.
  std::unordered_map<DraftNode, HashedFile> Settle(const std::stop_token& stop);

 private:
  void Run();
  void StartThread() REQUIRES(mu_);
  void Drop(DraftNode file) REQUIRES(mu_);

  const Hash hash_;
  Mutex mu_;
  CondVar idle_;
  std::deque<DraftNode> queue_ GUARDED_BY(mu_);
  std::optional<DraftNode> under_way_ GUARDED_BY(mu_);
  std::stop_source under_way_stop_ GUARDED_BY(mu_);  // if requested, the result is discarded
  bool stop_ GUARDED_BY(mu_) = false;
  bool running_ GUARDED_BY(mu_) = false;  // the thread will look at the queue again
  std::unordered_map<DraftNode, HashedFile> known_ GUARDED_BY(mu_);
  std::thread thread_ GUARDED_BY(mu_);
};

}  // namespace modelfs::cas
