// <model>/versions: the READY versions by number, this mount's drafts by name, and hidden among them
// `latest`, a link to the newest READY version. Drafts are made here by mkdir, and committed by being renamed
// to the next number, or to `next`.
//
// A version that is PENDING or FAILED has no directory here: there is nothing in it to read. `.info`, the
// command line and the API show it.
#pragma once

#include <cstddef>
#include <memory>

#include "fs/context.h"
#include "fs/draft_table.h"
#include "fs/leases.h"
#include "fs/zone.h"

namespace modelfs::fs {

// Commits of one mount that hash at the same time, each with as many threads, and chunks in memory, as there
// are cores. Others wait for their turn.
inline constexpr size_t kCommitsAtOnce = 8;

std::unique_ptr<Zone> MakeVersionsZone(Context& context, DraftTable& drafts, Leases& leases);

}  // namespace modelfs::fs
