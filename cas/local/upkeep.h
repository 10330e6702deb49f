// Passes over everything in a local store: fsck and sweep. Internal to cas/; cas/local/local_store.h states
// the contract.
#pragma once

#include <functional>
#include <stop_token>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "cas/local/blob_directory.h"
#include "cas/local/local_store.h"

namespace modelfs::cas {

// The digests (sizes unknown) of the names in one shard ("2c") of objects/ or sums/, in order. Empty if the
// shard does not exist.
Result<std::vector<Digest>> NamesIn(BlobDirectory& core, std::string_view folder, std::string_view shard);

// Reads every blob from the disk, whatever the page cache holds.
Result<FsckReport> FsckStore(BlobDirectory& core, size_t threads, bool quarantine,
                             const LocalStore::Progress& progress);
Result<SweepReport> SweepStore(BlobDirectory& core, const std::unordered_set<Digest>& live, Epoch horizon,
                               bool dry_run, const std::stop_token& stop);

}  // namespace modelfs::cas
