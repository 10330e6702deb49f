// What is in a draft: everything that an ordinary program does to files and directories, until the draft is
// committed (fs/versions_zone.h). Files keep their bytes, their x bit and their time; all else about them
// is the registry's, so changing it either changes nothing and succeeds, where `cp -a`, `rsync -a` and `tar`
// would fail otherwise, or is refused. docs/mount.md lists each call.
//
// Once the draft was committed its nodes only serve what is open already: reads go on, and whatever would
// change something answers EROFS.
#pragma once

#include <memory>

#include "fs/context.h"
#include "fs/draft_table.h"
#include "fs/leases.h"
#include "fs/zone.h"

namespace modelfs::fs {

std::unique_ptr<Zone> MakeDraftsZone(Context& context, DraftTable& drafts, Leases& leases);

// A draft is its creator's alone; EACCES for everybody else, root too.
Outcome<void> PermitDraft(const Request& request, const DraftTable::Record& record);

// What a lookup of a draft's name in versions/ answers. The kernel asks for it each time: after a commit the
// same name is something else.
Outcome<Entry> DraftRootEntry(const Context& context, DraftTable::Record& record);

}  // namespace modelfs::fs
