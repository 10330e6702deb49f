// What must be true of a directory and its data.mdb before LMDB may map it. LMDB itself trusts both: a
// file cut short would end the process with SIGBUS at some later read. Used by lmdb_kv.cc alone.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "cas/base/result.h"

namespace modelfs::store {

// The name of a file system that is shared over a network or served by a user process, by statfs(2)'s
// f_type; empty for all others. LMDB's locks and memory map do not hold on those.
std::string_view UnsuitableFileSystem(uint64_t statfs_type);

// kFailedPrecondition where `directory` is on one of those; the message says where to put it.
Status CheckFileSystem(const std::string& directory);

// kNotFound: no such file. kDataLoss: it is not LMDB's, or a page that its newest state refers to lies
// past the end of the file. Safe while other processes commit.
Status CheckDataFile(const std::string& path);

}  // namespace modelfs::store
