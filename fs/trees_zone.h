// What is in a READY version, under versions/<N> and under <model>@<Alias>: it never changes, so the
// kernel may keep all of it for ever. Every mutator is EROFS with a sentence that says what to do;
// tags and the description of a version, set on its root directory, are the exception.
//
// A version that was deleted answers ESTALE to who still holds its nodeid: the kernel then walks the
// path again and finds out for itself (path_openat in the kernel's fs/namei.c). Open files go on.
#pragma once

#include <memory>

#include "fs/context.h"
#include "fs/zone.h"

namespace modelfs::fs {

// Becomes the listener of context.blobs->OnNative for as long as it lives.
std::unique_ptr<Zone> MakeTreesZone(Context& context);

}  // namespace modelfs::fs
