// RecentReads of objects and versions (store::Registry::Describe) that programs read a moment ago, so that
// listing a node's attributes and reading each of them, as `getfattr -d` does, costs one call of the
// registry.
//
// A thread that listed the names reads the values of that moment, as if it had read them at once. No other
// thread is given them, nor the same one as another user: the key holds all that a decision depends on. They
// hold for kKeepFor, and as long as the registry's revision stays, so an acknowledged change ends them.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cas/base/clock.h"
#include "cas/base/thread.h"
#include "fs/base/node_id.h"
#include "fs/base/zone.h"
#include "store/journal.h"
#include "store/types.h"

namespace modelfs::fs {

// Thread-safe.
class RecentReads {
 public:
  using Ptr = std::shared_ptr<const store::Description>;
  static constexpr std::chrono::milliseconds kKeepFor{1000};

  // Both outlive this; `daemon` asks for the revision.
  RecentReads(const Clock& clock, store::Journal& journal, store::Caller daemon)
      : clock_(clock), journal_(journal), daemon_(std::move(daemon)) {}

  // The registry's revision, for the calls below: read it before the registry is asked. Nothing if it cannot
  // be read.
  std::optional<uint64_t> Revision() const;
  // Null if none is kept of this revision.
  Ptr Find(uint64_t revision, const Request& request, const store::Target& target) const;
  void Keep(uint64_t revision, const Request& request, const store::Target& target, Ptr description);

  // Nothing if none are kept of this revision.
  std::optional<struct stat> FindAttr(uint64_t revision, NodeId node) const;
  void KeepAttr(uint64_t revision, NodeId node, const struct stat& attr);

  // For a change that has no revision: of the host's users.
  void Clear();

 private:
  // As many threads as may read attributes at the same moment; another one asks the registry again.
  static constexpr size_t kMost = 64;
  struct Kept {
    uint64_t revision = 0;
    pid_t thread = 0;
    uid_t uid = 0;
    bool shared_name = false;
    std::string principal;
    std::vector<std::string> groups;
    store::Target target;
    int64_t since_boot_ms = 0;
    Ptr description;
  };

  struct KeptAttr {
    uint64_t revision = 0;
    NodeId node = 0;
    int64_t since_boot_ms = 0;
    struct stat attr = {};
  };

  bool IsFresh(int64_t since_boot_ms) const {
    return clock_.SinceBootMs() - since_boot_ms < kKeepFor.count();
  }
  bool Matches(const Kept& kept, const Request& request, const store::Target& target) const;

  const Clock& clock_;
  store::Journal& journal_;
  const store::Caller daemon_;
  mutable Mutex mu_;
  std::deque<Kept> kept_ GUARDED_BY(mu_);       // the newest comes last
  std::deque<KeptAttr> attrs_ GUARDED_BY(mu_);  // likewise
};

}  // namespace modelfs::fs
