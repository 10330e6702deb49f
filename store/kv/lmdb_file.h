// What must be true of a directory and its data.mdb before LMDB may map it. LMDB itself trusts both: a
// file cut short would end the process with SIGBUS at some later read. Used by lmdb_kv.cc alone, but for
// CheckFileSystem: whoever makes a home asks before there is anything of it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "cas/base/result.h"
#include "store/kv/lock_file.h"

namespace modelfs::store {

// What to do about damage, at the end of every sentence about it.
inline constexpr std::string_view kRestoreAdvice =
    "stop every process that uses it and restore it from a backup";

// The name of a file system that is shared over a network or served by a user process, by statfs(2)'s
// f_type; empty for all others. LMDB's locks and memory map do not hold on those.
std::string_view UnsuitableFileSystem(uint64_t statfs_type);

// kFailedPrecondition where `directory`, which must be there, is on one of those; says where to
// put it instead.
Status CheckFileSystem(const std::string& directory);

// kNotFound: no such file. kDataLoss: it is not LMDB's, or a page that its newest state refers to lies
// past the end of the file. Safe while other processes commit.
Status CheckDataFile(const std::string& path);

// Whether the pages that LMDB's transaction `transaction` sees are where they should be and are a tree's,
// without LMDB, which believes them. A read transaction of that number must be open.
//   kDataLoss   a page is damaged
//   kAborted    commits came in between: open another transaction
Status CheckTrees(const std::string& path, uint64_t transaction);

// Files that are made in `directory` from now on are written in place, where the file system would otherwise
// write each change of them elsewhere (btrfs): on a full disk only the former goes on. Gives up the file
// system's own checksums of them. Of files that are there it changes nothing.
void WriteInPlace(const std::string& directory);

// Makes LMDB's lock file in `directory`, or the rest of it, and takes the disk that it needs: LMDB writes to
// it through a map, where a full disk ends the process with SIGBUS. `opening` is the lock against other
// openers. Only before the environment is open in this process (fcntl(2): a lock goes with any descriptor of
// its file).
//   kNoSpace   says what to do
Status TakeRoomForReaders(const std::string& directory, const LockFile::Held& opening);

// Whether the disk beneath [from, from + bytes) of a file is allocated, whatever its length; false where the
// file system does not tell.
bool IsAllocated(int fd, uint64_t from, uint64_t bytes);

}  // namespace modelfs::store
