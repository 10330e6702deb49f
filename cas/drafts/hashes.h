// The digests of a draft's files, worked out in the background once nobody has a file open for writing,
// so that sealing a draft rarely waits for hashing: by the time the last file was copied in, the others
// are hashed. Its thread lives while there is something to hash. Thread-safe.
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
  // Called on a thread of this object's; returns soon once `stop` is requested. Nothing: the file is not
  // worth it, gone, or it was stopped.
  using Hash = std::function<std::optional<HashedFile>(DraftNode file, const std::stop_token& stop)>;

  explicit DraftHashes(Hash hash) : hash_(std::move(hash)) {}
  // Stops the file under way.
  ~DraftHashes();
  DraftHashes(const DraftHashes&) = delete;
  DraftHashes& operator=(const DraftHashes&) = delete;

  // Nobody has `file` open for writing now. Where the host has no thread for it, it stays unknown.
  void Closed(DraftNode file);
  // Called before and after every change of a file's bytes: what was known of them no longer holds, and
  // what is being worked out across either call does not count, and is stopped.
  void Changed(DraftNode file);
  // `file` is gone: nothing of it is worked out any more.
  void Removed(DraftNode file);
  // Nothing is worked out any more; does not wait for the file under way, which is stopped.
  void Stop();

  // What is known of files that did not change since. Waits for the file under way and forgets those
  // that wait behind it: the caller hashes them faster, several at once. No change may be under way. Once
  // `stop` is requested it waits no longer; the file under way goes on, and those behind it follow.
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
  std::stop_source under_way_stop_ GUARDED_BY(mu_);  // requested: what comes of it does not count
  bool stop_ GUARDED_BY(mu_) = false;
  bool running_ GUARDED_BY(mu_) = false;  // the thread will look at the queue again
  std::unordered_map<DraftNode, HashedFile> known_ GUARDED_BY(mu_);
  std::thread thread_ GUARDED_BY(mu_);
};

}  // namespace modelfs::cas
