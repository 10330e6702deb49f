#include "tools/gc.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/file.h>

#include <cerrno>
#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_set>
#include <utility>

#include "cas/base/fail_point.h"
#include "cas/base/fd.h"
#include "cas/tree_store.h"
#include "store/draft_label.h"

namespace modelfs::tools {

Result<std::unordered_set<Digest>> BlobsOfVersions(
    Home& home, const store::Mark& mark,
    const std::function<Status(const Digest& tree, const Error& error)>& unreadable) {
  std::unordered_set<Digest> blobs(mark.live_times.begin(), mark.live_times.end());
  for (const Digest& digest : mark.live_trees) {
    if (!blobs.insert(digest).second) continue;
    const Result<cas::Tree> tree = cas::ReadTree(*home.blobs, digest);
    if (!tree.ok()) {
      RETURN_IF_ERROR(unreadable(digest, tree.error()));
      continue;
    }
    for (const cas::TreeEntry& entry : tree->entries()) {
      if (entry.kind != cas::EntryKind::kFile) continue;
      blobs.insert(entry.blob);
      if (entry.chunk_list) blobs.insert(*entry.chunk_list);
    }
  }
  return blobs;
}

namespace {

constexpr std::chrono::milliseconds kLockPoll{20};

// A mount that is up ends such drafts itself, and holds them until their last handle is closed.
Result<cas::DraftStore::Removed> RemoveDraftsOfDeletedModels(Home& home, bool dry_run) {
  // Whoever calls may not see every model.
  const store::Caller upkeep = home.registry->ForUpkeep(home.caller);
  return home.drafts->RemoveUnheld(
      [&](std::string_view text) {
        const std::optional<store::DraftLabel> label = store::DraftLabel::Decode(text);
        if (!label.has_value()) return false;
        const Result<store::ObjectInfo> model = home.registry->Get(upkeep, label->model);
        return !model.ok() && model.error().code() == Code::kNotFound;
      },
      dry_run);
}

}  // namespace

// flock(2) that waits cannot be told to stop.
Result<Fd> HoldSweeps(const Home& home, const std::stop_token& stop) {
  const std::string lock_path = home.files + std::string(kSweepsLock);
  Fd lock(::open(lock_path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!lock.valid()) return ErrnoError(errno, fmt::format("{}: open", lock_path));
  while (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EINTR && errno != EWOULDBLOCK) return ErrnoError(errno, fmt::format("{}: flock", lock_path));
    if (stop.stop_requested()) return Error(Code::kCancelled, "stopped while another sweep runs");
    std::this_thread::sleep_for(kLockPoll);
  }
  return lock;
}

Result<Garbage> CollectGarbage(Home& home, bool dry_run, const std::stop_token& stop) {
  ASSIGN_OR_RETURN(const Fd lock, HoldSweeps(home, stop));
  Garbage garbage;
  ASSIGN_OR_RETURN(garbage.drafts, RemoveDraftsOfDeletedModels(home, dry_run));
  ASSIGN_OR_RETURN(const store::Mark mark, home.registry->MarkForSweep(home.caller));
  FAIL_POINT("gc.marked");
  if (stop.stop_requested()) return Error(Code::kCancelled, "the sweep was stopped");
  ASSIGN_OR_RETURN(
      std::unordered_set<Digest> live,
      BlobsOfVersions(home, mark, [](const Digest& tree, const Error& error) -> Status {
        return Error(Code::kDataLoss,
                     fmt::format("tree {}: {}; which files its version needs is not known, so nothing was "
                                 "removed; \"modelfs fsck\" names the version",
                                 tree.ToString(), error.message()));
      }));
  ASSIGN_OR_RETURN(const std::vector<Digest> shared, home.drafts->SharedBlobs());
  live.insert(shared.begin(), shared.end());
  FAIL_POINT("gc.sweeping");
  ASSIGN_OR_RETURN(garbage.blobs, home.blobs->Sweep(live, mark.horizon, dry_run, stop));
  return garbage;
}

}  // namespace modelfs::tools
