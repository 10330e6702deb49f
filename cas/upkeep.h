// The slow rounds over everything in a local store: fsck and sweep. Internal to cas/; the promises
// stand in cas/local_store.h.
#pragma once

#include <functional>
#include <stop_token>
#include <unordered_set>

#include "cas/local_store.h"
#include "cas/store_core.h"

namespace modelfs::cas {

Result<FsckReport> FsckStore(StoreCore& core, size_t threads, bool quarantine,
                             const LocalStore::Progress& progress);
Result<SweepReport> SweepStore(StoreCore& core, const std::unordered_set<Digest>& live, Epoch horizon,
                               bool dry_run, const std::stop_token& stop);

}  // namespace modelfs::cas
