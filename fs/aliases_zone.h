// <model>/aliases: one symlink an alias, `NAME -> ../versions/N`. Making one sets the alias, renaming one
// over it moves it, removing it deletes it, each in one commit. versions/latest is such a link too, but
// nobody can change it.
//
// Some names are held (fs/held_names.h): what programs make on the way to an alias (`ln -sfn`'s and rsync's
// temporary names, tar's empty placeholder) and what can never be an alias. A held link takes the targets
// that an alias takes, and reads as an alias would. Held names are listed to their maker, and become an
// alias by being renamed to one.
#pragma once

#include <memory>

#include "fs/context.h"
#include "fs/zone.h"

namespace modelfs::fs {

// Needs context.held_names.
std::unique_ptr<Zone> MakeAliasesZone(Context& context);

}  // namespace modelfs::fs
