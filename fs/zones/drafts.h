// What other zones need to know of drafts.
#pragma once

#include "fs/base/context.h"
#include "fs/base/zone.h"
#include "fs/drafts/draft_table.h"
#include "store/registry.h"

namespace modelfs::fs {

// A draft is its creator's alone; EACCES for everybody else, root too, and a record in the audit log: as of a
// refused `operation` on the model (kReadFiles to look into the draft, kCreateVersion to change or commit
// it), with the draft's name.
Outcome<void> PermitDraft(const Context& context, const Request& request, DraftTable& drafts,
                          const DraftTable::Record& record, store::Operation operation);

// What a lookup of a draft's name in versions/ answers. The kernel asks for it each time: after a commit the
// same name is something else.
Outcome<Entry> DraftRootEntry(const Context& context, DraftTable::Record& record);

}  // namespace modelfs::fs
