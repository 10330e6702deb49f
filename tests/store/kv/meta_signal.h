// For a program that stops, or dies, in the middle of LMDB's commit: it is written, and not published to
// readers yet. Replaces system calls for the whole program, so it is included once.
#pragma once

#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>

namespace modelfs::testing {

// The signal for this process once the page that names the newest tree is written; 0: none.
inline volatile sig_atomic_t signal_at_meta = 0;
// The number of such pages until the signal.
inline std::atomic<int> metas_to_go{1};

inline ssize_t WriteAndSignal(const char* name, int fd, const void* bytes, size_t count, off_t offset) {
  const auto real = reinterpret_cast<ssize_t (*)(int, const void*, size_t, off_t)>(::dlsym(RTLD_NEXT, name));
  const ssize_t written = real(fd, bytes, count, offset);
  // Only that page goes through a descriptor with O_DSYNC (mdb.c, mdb_env_write_meta).
  if (signal_at_meta != 0 && (::fcntl(fd, F_GETFL) & O_DSYNC) != 0 && --metas_to_go == 0) {
    ::raise(signal_at_meta);
  }
  return written;
}

}  // namespace modelfs::testing

// Found before the C library's, by LMDB too, which may use either name.
extern "C" {
ssize_t InterposedPwrite(int fd, const void* bytes, size_t count, off_t offset) __asm__("pwrite");
ssize_t InterposedPwrite(int fd, const void* bytes, size_t count, off_t offset) {
  return modelfs::testing::WriteAndSignal("pwrite", fd, bytes, count, offset);
}
ssize_t InterposedPwrite64(int fd, const void* bytes, size_t count, off_t offset) __asm__("pwrite64");
ssize_t InterposedPwrite64(int fd, const void* bytes, size_t count, off_t offset) {
  return modelfs::testing::WriteAndSignal("pwrite64", fd, bytes, count, offset);
}
}
