// A run of registry operations that a seed decides: played twice on equal registries it does the same,
// so that a registry which was killed on the way can be compared with one that was not.
#pragma once

#include <random>
#include <string>

#include "store/embedded/embedded_registry.h"
#include "tests/store/fake_blob_store.h"

namespace modelfs::testing {

// Performs step `step` of the script `seed`, and says what was done and what came of it.
std::string PlayStep(store::EmbeddedRegistry& registry, FakeBlobStore& blobs, const store::Caller& caller,
                     uint64_t seed, int step);

// Everything a caller can see, audit trail and number of events included, times aside, one fact a line.
std::string Dump(store::EmbeddedRegistry& registry, const store::Caller& caller);

}  // namespace modelfs::testing
