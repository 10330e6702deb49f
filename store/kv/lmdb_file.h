// Checks of a directory and its data.mdb before LMDB may map it. LMDB itself trusts both: a file cut short
// would end the process with SIGBUS at some later read. Used by lmdb_kv.cc only, except CheckFileSystem,
// which also checks a new home before anything is made in it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "cas/base/result.h"
#include "store/kv/lock_file.h"

namespace modelfs::store {

// The remedy for damage, at the end of every message about it.
inline constexpr std::string_view kRestoreAdvice =
    "stop every process that uses it and restore it from a backup";

// The name of a file system that is shared over a network or served by a user process, by statfs(2)'s
// f_type; empty for all others. LMDB's locks and memory map do not hold on those.
std::string_view UnsuitableFileSystem(uint64_t statfs_type);

// kFailedPrecondition if `directory`, which must exist, is on one of those; the message says where to put it
// instead.
Status CheckFileSystem(const std::string& directory);

// kNotFound: no such file. kDataLoss: it is not LMDB's, or a page that its newest state refers to lies
// past the end of the file. Safe while other processes commit.
Status CheckDataFile(const std::string& path);

// Whether the pages that LMDB's transaction `transaction` sees are in place and form a tree. Checks them
// without LMDB, which trusts them. A read transaction of that number must be open.
//   kDataLoss   a page is damaged
//   kAborted    commits were made meanwhile: open another transaction
Status CheckTrees(const std::string& path, uint64_t transaction);

// Makes future files in `directory` be written in place on a file system that otherwise writes each change
// elsewhere (btrfs): on a full disk only writes in place succeed. Gives up the file system's own checksums of
// these files. Existing files are not changed.
void WriteInPlace(const std::string& directory);

// Makes LMDB's lock file in `directory`, or the rest of it, and allocates its disk space: LMDB writes to it
// through a map, and there a full disk ends the process with SIGBUS. `opening` is the lock against other
// openers. Call only before the environment is open in this process (fcntl(2): closing any descriptor of a
// file drops its locks).
//   kNoSpace   the message says what to do
Status TakeRoomForReaders(const std::string& directory, const LockFile::Held& opening);

// Whether the disk beneath [from, from + bytes) of a file is allocated, whatever its length; false if the
// file system does not report it.
bool IsAllocated(int fd, uint64_t from, uint64_t bytes);

}  // namespace modelfs::store
