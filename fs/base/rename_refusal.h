// Errors that no rename(2) on the mount may return: for these `mv` prints nonsense, asks twice, or falls back
// to copying. A fall-back is right between two drafts alone (fs/zones/drafts.cc). EEXIST is right for
// RENAME_NOREPLACE alone, for which VFS itself returns it.
#pragma once

#include <cerrno>
#include <utility>

#include "fs/base/zone.h"

namespace modelfs::fs {

inline Refusal ForRename(Refusal refusal) {
  switch (refusal.errno_value) {
    case EINVAL:
    case ENOSYS:
    case ESTALE:
    case EXDEV:
    case EEXIST:
      refusal.errno_value = EPERM;
      break;
    default:
      break;
  }
  return refusal;
}

inline tl::unexpected<Refusal> RefuseRename(const Error& error) {
  return tl::unexpected<Refusal>(ForRename(Refuse(error).value()));
}

}  // namespace modelfs::fs
