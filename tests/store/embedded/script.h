// A run of registry operations that a seed decides. Played twice on equal registries it does the same, so a
// registry that was killed on the way can be compared with one that was not.
#pragma once

#include <random>
#include <string>

#include "store/embedded/embedded_registry.h"
#include "tests/store/fake_blob_store.h"

namespace modelfs::testing {

// Performs step `step` of the script `seed`, and returns the operation and its outcome.
std::string PlayStep(store::EmbeddedRegistry& registry, FakeBlobStore& blobs, const store::Caller& caller,
                     uint64_t seed, int step);

// Everything that a caller can see, including the audit trail and the number of events but not times, one
// fact per line.
std::string Dump(store::EmbeddedRegistry& registry, const store::Caller& caller);

}  // namespace modelfs::testing
