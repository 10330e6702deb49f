// The parts of the drafts zone that other zones use.
#pragma once

#include "fs/base/context.h"
#include "fs/base/zone.h"
#include "fs/drafts/draft_table.h"
#include "store/operation.h"

namespace modelfs::fs {

// A draft is open to its creator alone. For everybody else, root included, this returns EACCES and writes a
// record to the audit log. The record shows a refused `operation` on the model and the draft's name:
// kReadFiles for looking into the draft, kCreateVersion for changing or committing it.
Outcome<void> PermitDraft(const Context& context, const Request& request, DraftTable& drafts,
                          const DraftTable::Record& record, store::Operation operation);

// The entry that LOOKUP returns for a draft's name in versions/. The kernel asks for it each time: after a
// commit the same name is something else.
Outcome<Entry> DraftRootEntry(const Context& context, DraftTable::Record& record);

}  // namespace modelfs::fs
