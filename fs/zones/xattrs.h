// The extended attributes of objects, versions and their files (docs/mount.md lists them):
//
//   user.modelfs.*      facts, read-only; only user.modelfs.owner of an object may be set
//   user.tag.<key>      tags, readable and writable
//   user.description    the description; setting it to nothing removes it
//
// Reads return ENODATA for any other name without a registry call, because `ls -l` and `cp -a` ask for ACLs
// and security labels of every file. A read needs permission to see the object, or to have the version's
// metadata; otherwise it returns EACCES. Thread-safe.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "cas/tree.h"
#include "fs/base/context.h"
#include "fs/base/tree_cache.h"
#include "fs/base/zone.h"
#include "store/types.h"

namespace modelfs::fs {

Outcome<std::string> GetObjectXattr(const Context& context, const Request& request, store::ObjectId object,
                                    std::string_view name);
Outcome<std::vector<std::string>> ListObjectXattrs(const Context& context, const Request& request,
                                                   store::ObjectId object);

// Of a READY version's root directory.
Outcome<std::string> GetVersionXattr(const Context& context, const Request& request,
                                     const CachedVersion& version, std::string_view name);
Outcome<std::vector<std::string>> ListVersionXattrs(const Context& context, const Request& request,
                                                    const CachedVersion& version);

// Of a file in a READY version.
Outcome<std::string> GetFileXattr(const Context& context, const Request& request,
                                  const CachedVersion& version, const cas::TreeEntry& file,
                                  std::string_view name);
Outcome<std::vector<std::string>> ListFileXattrs(const Context& context, const Request& request,
                                                 const CachedVersion& version);

// True for the names that SetXattr and RemoveXattr below may accept on some target; the zone refuses all
// others with its own message.
bool IsRegistryXattr(std::string_view name);

// `flags` as setxattr(2). `subject` begins the sentence of a refusal ("prod.ml.iris/3").
//   EPERM    a fact, or a namespace the registry does not keep      EDQUOT   a limit (50 tags, lengths)
//   EINVAL   a key or value that breaks a rule                      EEXIST, ENODATA   as XATTR_CREATE,
//   _REPLACE
Outcome<void> SetXattrOf(const Context& context, const Request& request, const store::Target& target,
                         std::string_view subject, std::string_view name, std::string_view value, int flags);
Outcome<void> RemoveXattrOf(const Context& context, const Request& request, const store::Target& target,
                            std::string_view subject, std::string_view name);

}  // namespace modelfs::fs
