#include "tools/commands/read_ahead.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "fs/kernel/mount_point.h"

namespace modelfs::tools {
namespace {

// Only the arrival of a byte counts, not its value.
[[noreturn]] void Wait(int pipe, const std::string& mount_point, uint32_t read_ahead_kib) {
  ::dup2(pipe, STDIN_FILENO);
  ::close_range(STDIN_FILENO + 1, ~0U,
                0);  // a program that waits for these files to close must not wait for this process
  char byte = 0;
  ssize_t count = 0;
  while ((count = ::read(STDIN_FILENO, &byte, 1)) < 0 && errno == EINTR) {
  }
  if (count == 1) fs::SetReadAhead(mount_point, read_ahead_kib).IgnoreError("reads are right, only slower");
  ::_exit(0);
}

}  // namespace

void ReadAheadKeeper::Start(const std::string& mount_point, uint32_t read_ahead_kib) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return;
  const Fd read_end(ends[0]);
  pipe_ = Fd(ends[1]);
  child_ = ::fork();
  if (child_ == 0) Wait(read_end.get(), mount_point, read_ahead_kib);
}

void ReadAheadKeeper::MountIsUp() {
  const char byte = 1;
  if (pipe_.valid() && ::write(pipe_.get(), &byte, 1) != 1) pipe_.Reset();
  End();
}

void ReadAheadKeeper::End() {
  pipe_.Reset();
  while (child_ > 0 && ::waitpid(child_, nullptr, 0) < 0 && errno == EINTR) {
  }
  child_ = 0;
}

}  // namespace modelfs::tools
