// The -o options of `modelfs mount`. mount(8) and fstab(5) pass them on unchanged.
#pragma once

#include <string>
#include <vector>

#include "cas/base/result.h"
#include "fs/mount_daemon.h"
#include "tools/home.h"

namespace modelfs::tools {

// Applies the options: identity_map=FILE and lock_wait=SECONDS to `home`, all others to `options`. An
// argument may hold several, separated by commas. Options for mount(8) and systemd (defaults, auto, noauto,
// _netdev, nofail, x-…) are ignored.
//   kInvalidArgument   an unknown option: an error is better than a mount that differs from the request
Status ApplyMountOptions(const std::vector<std::string>& arguments, fs::MountOptions& options,
                         HomeOptions& home);

}  // namespace modelfs::tools
