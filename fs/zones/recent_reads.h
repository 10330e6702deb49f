// RecentReads of objects and versions (store::Registry::Describe) that programs read a moment ago, so that
// listing a node's attributes and reading each of them, as `getfattr -d` does, costs one call of the
// registry.
//
// A thread that listed the names reads the values of that moment, as if it had read them at once. Nobody else
// is given them: the key holds the thread, its principal and groups. They are dropped after kKeepFor, when
// this mount changes something, and at each event of the registry.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cas/base/clock.h"
#include "cas/base/thread.h"
#include "fs/base/node_id.h"
#include "fs/base/zone.h"
#include "store/types.h"

namespace modelfs::fs {

// Thread-safe.
class RecentReads {
 public:
  using Ptr = std::shared_ptr<const store::Description>;
  static constexpr std::chrono::milliseconds kKeepFor{1000};

  explicit RecentReads(const Clock& clock) : clock_(clock) {}

  // Null if none is kept.
  Ptr Find(const Request& request, const store::Target& target) const;
  // A number that grows with each Clear; taken before the registry is asked.
  uint64_t Generation() const;
  // Keeps it, unless something changed after `generation`.
  void Keep(uint64_t generation, const Request& request, const store::Target& target, Ptr description);

  // Nothing if none are kept.
  std::optional<struct stat> FindAttr(NodeId node) const;
  void KeepAttr(uint64_t generation, NodeId node, const struct stat& attr);

  void Clear();

 private:
  // As many threads as may read attributes at the same moment; another one asks the registry again.
  static constexpr size_t kMost = 64;
  struct Kept {
    pid_t thread = 0;
    std::string principal;
    std::vector<std::string> groups;
    store::Target target;
    int64_t since_boot_ms = 0;
    Ptr description;
  };

  struct KeptAttr {
    NodeId node = 0;
    int64_t since_boot_ms = 0;
    struct stat attr = {};
  };

  bool IsFresh(int64_t since_boot_ms) const {
    return clock_.SinceBootMs() - since_boot_ms < kKeepFor.count();
  }
  bool Matches(const Kept& kept, const Request& request, const store::Target& target) const;

  const Clock& clock_;
  mutable Mutex mu_;
  uint64_t generation_ GUARDED_BY(mu_) = 0;
  std::deque<Kept> kept_ GUARDED_BY(mu_);       // the newest comes last
  std::deque<KeptAttr> attrs_ GUARDED_BY(mu_);  // likewise
};

}  // namespace modelfs::fs
