// The -o words of `modelfs mount`, which mount(8) and fstab(5) pass on as they are.
#pragma once

#include <string>
#include <vector>

#include "cas/base/result.h"
#include "fs/mount_daemon.h"
#include "tools/home.h"

namespace modelfs::tools {

// Sets what the words say, in `home` for identity_map=FILE and lock_wait=SECONDS; each argument may hold
// several, separated by commas. Words that mount(8) means for itself or for others (rw, auto, noauto,
// _netdev, nofail, defaults, x-…) are passed over.
//   kInvalidArgument   a word that is not known: naming it beats a mount that differs from what was asked
Status ApplyMountOptions(const std::vector<std::string>& arguments, fs::MountOptions& options,
                         HomeOptions& home);

}  // namespace modelfs::tools
