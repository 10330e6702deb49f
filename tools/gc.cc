#include "tools/gc.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/file.h>

#include <cerrno>
#include <unordered_set>

#include "cas/base/fail_point.h"
#include "cas/base/fd.h"
#include "cas/ingest.h"

namespace modelfs::tools {

Result<cas::SweepReport> CollectGarbage(Home& home, bool dry_run) {
  const std::string lock_path = home.path + "/gc.lock";
  const Fd lock(::open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!lock.valid()) return ErrnoError(errno, fmt::format("{}: open", lock_path));
  while (::flock(lock.get(), LOCK_EX) != 0) {
    if (errno != EINTR) return ErrnoError(errno, fmt::format("{}: flock", lock_path));
  }

  ASSIGN_OR_RETURN(const store::Mark mark, home.registry->MarkForSweep(home.caller));
  FAIL_POINT("gc.marked");
  std::unordered_set<Digest> live;
  for (const Digest& digest : mark.live_trees) {
    if (!live.insert(digest).second) continue;
    const Result<cas::Tree> tree = cas::ReadTree(*home.blobs, digest);
    if (!tree.ok()) {
      return Error(Code::kDataLoss,
                   fmt::format("tree {}: {}; which files its version needs is not known, so nothing was "
                               "removed; \"modelfs fsck\" names the version",
                               digest.ToString(), tree.error().message()));
    }
    for (const cas::TreeEntry& entry : tree->entries()) {
      if (entry.kind != cas::EntryKind::kFile) continue;
      live.insert(entry.blob);
      if (entry.chunk_list) live.insert(*entry.chunk_list);
    }
  }
  ASSIGN_OR_RETURN(const std::vector<Digest> shared, home.drafts->SharedBlobs());
  live.insert(shared.begin(), shared.end());
  FAIL_POINT("gc.sweeping");
  return home.blobs->Sweep(live, mark.horizon, dry_run);
}

}  // namespace modelfs::tools
