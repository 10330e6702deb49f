// What is in a draft: everything that an ordinary program does to files and directories, until the draft is
// committed (fs/versions_zone.h). Files keep their bytes, their x bit and their time; all else about them
// is the registry's, so changing it either changes nothing and succeeds, where `cp -a`, `rsync -a` and `tar`
// would fail otherwise, or is refused. docs/mount.md lists each call.
//
// Once the draft was committed, what is open in it reads on, its directories show the version
// (fs/committed_drafts.h), and whatever would change something answers EROFS.
#pragma once

#include <memory>

#include "fs/context.h"
#include "fs/draft_table.h"
#include "fs/leases.h"
#include "fs/zone.h"

namespace modelfs::fs {

// `trees` answers for what drafts have become.
std::unique_ptr<Zone> MakeDraftsZone(Context& context, DraftTable& drafts, Leases& leases, Zone& trees);

// A draft is its creator's alone; EACCES for everybody else, root too, and a record in the audit log: as of a
// refused `operation` on the model (kReadFiles to look into the draft, kCreateVersion to change or commit
// it), with the draft's name.
Outcome<void> PermitDraft(const Context& context, const Request& request, DraftTable& drafts,
                          const DraftTable::Record& record, store::Operation operation);

// What a lookup of a draft's name in versions/ answers. The kernel asks for it each time: after a commit the
// same name is something else.
Outcome<Entry> DraftRootEntry(const Context& context, DraftTable::Record& record);

}  // namespace modelfs::fs
