// Gives back the space of what no version, draft or upload refers to.
#pragma once

#include <functional>
#include <stop_token>
#include <unordered_set>
#include <vector>

#include "cas/base/fd.h"
#include "cas/base/result.h"
#include "cas/drafts/draft_store.h"
#include "cas/local/local_store.h"
#include "tools/home.h"

namespace modelfs::tools {

// What versions need: their trees, times, files and chunk lists. `unreadable` decides what becomes of a tree
// that cannot be read: its error ends the walk, OK goes on without the tree's files.
Result<std::unordered_set<Digest>> BlobsOfVersions(
    Home& home, const store::Mark& mark,
    const std::function<Status(const Digest& tree, const Error& error)>& unreadable);

struct Garbage {
  cas::SweepReport blobs;
  cas::DraftStore::Removed drafts;
};

// Drafts whose model was deleted and whose mount is not up go first. Then: mark, read the live trees, add
// what drafts share, sweep. With `dry_run` it only counts, and what such drafts share counts as in use. One
// sweeper at a time on a home: waits for another one to finish. Safe against registers, copies, drafts and
// reads that run meanwhile.
//   kDataLoss    a version's tree cannot be read, so what it needs is not known: nothing was removed
//   kCancelled   `stop` was requested; what was removed by then is gone
Result<Garbage> CollectGarbage(Home& home, bool dry_run, const std::stop_token& stop = {});

// No sweep removes anything for as long as the answer lives. Waits for one that is under way.
//   kCancelled   `stop` was requested
Result<Fd> HoldSweeps(const Home& home, const std::stop_token& stop = {});

}  // namespace modelfs::tools
