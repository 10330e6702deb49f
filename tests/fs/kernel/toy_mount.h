// A real mount of a toy zone, to test the dispatcher and the channel without a registry: one flat directory
// with entries that the test makes.
//
//   files backed by a real file    TreeNode(1, i, flavour): read only, native or cached
//   files in memory                DraftNodeId(1, i): written by the mount
//   directories                    InfoNode(i, kDirectory): generated entries e0, e1, …
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "cas/base/fd.h"
#include "cas/base/thread.h"
#include "fs/base/refusals.h"
#include "fs/base/zone.h"
#include "fs/kernel/dispatcher.h"
#include "fs/kernel/fuse_channel.h"
#include "fs/kernel/kernel_notifier.h"

namespace modelfs::fs {

// If /dev/fuse is missing, the test is skipped with a reason; MODELFS_REQUIRE_FUSE=1 makes that a failure.
bool FuseIsMissing();
#define NEEDS_FUSE()                                                                             \
  if (FuseIsMissing()) {                                                                         \
    if (const char* require = std::getenv("MODELFS_REQUIRE_FUSE"); require && *require == '1') { \
      FAIL() << "/dev/fuse cannot be opened, and MODELFS_REQUIRE_FUSE=1";                        \
    }                                                                                            \
    GTEST_SKIP() << "/dev/fuse cannot be opened";                                                \
  }

// A directory of its own, removed at the end.
class TestFolder {
 public:
  TestFolder();
  ~TestFolder();
  const std::string& path() const { return path_; }
  std::string File(const std::string& name, const std::string& content) const;  // returns its path

 private:
  std::string path_;
};

class ToyZone : public Zone {
 public:
  // Call these before the mount, or from a test between requests.
  void AddBacked(const std::string& name, const std::string& real_file, Flavour flavour);
  void AddDirectory(const std::string& name, uint64_t entries, bool kernel_may_keep);
  // The file's next lookup returns the other nodeid.
  void SetFlavour(const std::string& name, Flavour flavour);

  std::atomic<int> reads{0};
  std::atomic<int> forgotten{0};
  std::atomic<int> releases{0};
  std::function<Outcome<void>(std::string_view from, std::string_view to)> on_rename;
  std::function<void()> on_read;

  Outcome<Entry> Lookup(const Request&, NodeId parent, std::string_view name) override;
  Outcome<Attr> GetAttr(const Request&, NodeId node) override;
  Outcome<NodeId> ParentOf(NodeId) override { return kRootNode; }
  Outcome<Place> PlaceOf(NodeId node) override;
  Outcome<Attr> SetAttr(const Request&, NodeId node, const AttrChange& change) override;
  Outcome<CreatedFile> Create(const Request&, NodeId parent, std::string_view name, mode_t, int) override;
  Outcome<void> Unlink(const Request&, NodeId parent, std::string_view name) override;
  Outcome<void> Rename(const Request&, NodeId, std::string_view name, NodeId, std::string_view new_name,
                       unsigned) override;
  Outcome<OpenedFile> Open(const Request&, NodeId node, int flags) override;
  Outcome<OpenedDirectory> OpenDirectory(const Request&, NodeId node) override;
  Outcome<std::string> GetXattr(const Request&, NodeId, std::string_view name) override;
  Outcome<std::vector<std::string>> ListXattr(const Request&, NodeId) override;
  void Forget(NodeId) override { ++forgotten; }

 private:
  struct File {
    std::shared_ptr<Fd> backing;
    uint64_t size_bytes = 0;
    Flavour flavour = Flavour::kCached;
    std::shared_ptr<std::string> memory;
    uint64_t directory_entries = 0;
    bool keep = false;
  };
  class BackedHandle;
  class MemoryHandle;

  NodeId NodeOf(uint32_t index) const REQUIRES(mu_);
  Outcome<uint32_t> IndexOf(NodeId node) const REQUIRES(mu_);
  Entry EntryOf(uint32_t index) const REQUIRES(mu_);

  mutable Mutex mu_;
  std::map<std::string, uint32_t, std::less<>> names_ GUARDED_BY(mu_);
  std::vector<File> files_ GUARDED_BY(mu_);  // by index - 1
};

class ToyMount {
 public:
  // At options.mount_point, which must be free, or in a folder of its own.
  explicit ToyMount(ToyZone& zone, FuseChannel::Options options = {});
  ~ToyMount();

  // Stops and waits, as the destructor does, for tests that check what is left afterwards.
  Status Stop();

  const std::string& path() const { return path_; }
  std::string File(const std::string& name) const { return path_ + "/" + name; }
  // Waits for the loop's end, as after an unmount from outside.
  Status Join();
  // Acts as if this process had just taken over the mount from another: it knows no handle.
  void ForgetHandles() { dispatcher_.Finish(); }
  FuseChannel& channel() { return *channel_; }
  Notifier& notifier() { return notifier_; }
  Refusals& refusals() { return refusals_; }
  uint64_t Requests(const std::string& operation) const {
    return dispatcher_.Snapshot().requests.at(operation);
  }
  StatisticsSnapshot Snapshot() const { return dispatcher_.Snapshot(); }

 private:
  TestFolder folder_;
  std::string path_;
  Refusals refusals_{SystemClock()};
  Dispatcher dispatcher_;
  KernelNotifier notifier_;
  std::unique_ptr<FuseChannel> channel_;
  std::thread loop_;
  Status served_;
};

// Waits until `condition` holds; returns false after a generous time.
bool Eventually(const std::function<bool()>& condition);

std::string ReadWhole(const std::string& path);

// The last message that `why` would show for this user.
std::string LastRefusal(const Refusals& refusals);

}  // namespace modelfs::fs
