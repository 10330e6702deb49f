// A sweep of a home on this host: frees the space of blobs that no version, draft or upload refers to.
#pragma once

#include <stop_token>

#include "cas/base/fd.h"
#include "cas/base/result.h"
#include "cas/drafts/draft_store.h"
#include "cas/local/local_store.h"
#include "tools/home.h"

namespace modelfs::tools {

struct Garbage {
  cas::SweepReport blobs;
  cas::DraftStore::Removed drafts;
};

// store::CollectGarbage on a home. One sweep of a home at a time: it waits for another one to finish. With
// `dry_run` it only counts, and the blobs of drafts that it would remove count as in use.
//   kDataLoss    a version's tree cannot be read, so the blobs it needs are not known: nothing was removed
//   kCancelled   `stop` was requested; some blobs may be gone already
Result<Garbage> SweepHome(LocalHome& home, bool dry_run, const std::stop_token& stop = {});

// No sweep removes anything while the returned lock is held. Waits for a sweep in progress.
//   kCancelled   `stop` was requested
Result<Fd> HoldSweeps(const LocalHome& home, const std::stop_token& stop = {});

}  // namespace modelfs::tools
