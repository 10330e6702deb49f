// <model>/aliases: one symlink an alias, `NAME -> ../versions/N`. Making one sets the alias, renaming one
// over it moves it, removing it deletes it, each in one commit. versions/latest is such a link too, but
// nobody can change it.
//
// Some names are held: what programs make on the way to an alias (`ln -sfn`'s and rsync's temporary names,
// tar's empty placeholder) and what can never be an alias. They live in this mount's memory, are listed,
// and become an alias by being renamed to one.
#pragma once

#include <memory>

#include "fs/context.h"
#include "fs/zone.h"

namespace modelfs::fs {

std::unique_ptr<Zone> MakeAliasesZone(Context& context);

}  // namespace modelfs::fs
