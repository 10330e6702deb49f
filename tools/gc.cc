#include "tools/gc.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/file.h>

#include <cerrno>
#include <chrono>
#include <functional>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_set>
#include <vector>

#include "store/publish.h"

namespace modelfs::tools {
namespace {

constexpr std::chrono::milliseconds kLockPoll{20};

// Counts what the sweep removes.
class SweptHome : public store::SweepableHome {
 public:
  SweptHome(LocalHome& home, bool dry_run, const std::stop_token& stop)
      : home_(home), dry_run_(dry_run), stop_(stop) {}

  cas::BlobStore& blobs() override { return *home_.blobs; }
  // A mount ends such drafts itself while it is up, and holds them until their last handle is closed.
  Status RemoveDrafts(const std::function<bool(std::string_view label)>& unwanted) override {
    ASSIGN_OR_RETURN(garbage_.drafts, home_.drafts->RemoveUnheld(unwanted, dry_run_));
    return OkStatus();
  }
  Result<store::Mark> MarkForSweep() override { return home_.embedded->MarkForSweep(home_.caller); }
  Result<std::vector<Digest>> BlobsOfDrafts() override { return home_.drafts->SharedBlobs(); }
  Status Sweep(const std::unordered_set<Digest>& live, cas::Epoch horizon) override {
    ASSIGN_OR_RETURN(garbage_.blobs, home_.local_blobs->Sweep(live, horizon, dry_run_, stop_));
    return OkStatus();
  }

  const Garbage& garbage() const { return garbage_; }

 private:
  LocalHome& home_;
  const bool dry_run_;
  const std::stop_token& stop_;
  Garbage garbage_;
};

}  // namespace

// A flock(2) that waits cannot be interrupted by `stop`.
Result<Fd> HoldSweeps(const LocalHome& home, const std::stop_token& stop) {
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

Result<Garbage> SweepHome(LocalHome& home, bool dry_run, const std::stop_token& stop) {
  ASSIGN_OR_RETURN(const Fd lock, HoldSweeps(home, stop));
  // The caller may not see every model.
  const store::Caller upkeep = home.embedded->ForUpkeep(home.caller);
  SweptHome swept(home, dry_run, stop);
  RETURN_IF_ERROR(store::CollectGarbage(*home.registry, upkeep, swept, stop));
  return swept.garbage();
}

}  // namespace modelfs::tools
