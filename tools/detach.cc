#include "tools/detach.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <string>

#include "cas/base/error_table.h"

namespace modelfs::tools {
namespace {

// The report in the pipe: one byte, kReady or the error's Code, then the error's message.
constexpr char kReady = 'R';
constexpr char kFirstCode = 'a';

void WriteAll(int fd, const std::string& text) {
  size_t done = 0;
  while (done < text.size()) {
    const ssize_t count = ::write(fd, text.data() + done, text.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return;  // the foreground is gone
    done += static_cast<size_t>(count);
  }
}

std::string ReadAll(int fd) {
  std::string text;
  char block[4096];
  while (true) {
    const ssize_t count = ::read(fd, block, sizeof block);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return text;
    text.append(block, static_cast<size_t>(count));
  }
}

Status Report(const std::string& text, pid_t child) {
  if (text.empty()) {
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    const std::string how = WIFSIGNALED(status) ? fmt::format("was killed by signal {}", WTERMSIG(status))
                                                : fmt::format("ended with code {}", WEXITSTATUS(status));
    return Error(Code::kInternal, fmt::format("the background process {} before it was ready", how));
  }
  if (text[0] == kReady) return OkStatus();
  return Error(static_cast<Code>(text[0] - kFirstCode), text.substr(1));
}

}  // namespace

void Waiter::Ready() {
  const Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (null.valid()) {
    for (const int standard : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) ::dup2(null.get(), standard);
  }
  WriteAll(pipe_.get(), std::string(1, kReady));
  pipe_.Reset();
}

void Waiter::Failed(const Error& error) {
  if (!pipe_.valid()) return;  // after Ready, errors are only in the log
  WriteAll(pipe_.get(), static_cast<char>(kFirstCode + static_cast<int>(error.code())) + error.message());
  pipe_.Reset();
}

Status RunDetached(const std::function<Status(Waiter&)>& run) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return ErrnoError(errno, "pipe");
  Fd read_end(ends[0]);
  Fd write_end(ends[1]);
  const pid_t child = ::fork();
  if (child < 0) return ErrnoError(errno, "fork");
  if (child > 0) {
    write_end.Reset();
    return Report(ReadAll(read_end.get()), child);
  }
  read_end.Reset();
  ::setsid();
  std::signal(SIGPIPE, SIG_IGN);  // the foreground may be gone before the report
  int exit_code = EXIT_SUCCESS;
  {
    Waiter waiter(std::move(write_end));
    const Status status = run(waiter);
    if (!status.ok()) {
      waiter.Failed(status.error());
      exit_code = RowOf(status.error().code()).exit_code;
    }
  }
  std::_Exit(exit_code);  // without a flush: stdio's buffers are copies of the foreground's
}

}  // namespace modelfs::tools
