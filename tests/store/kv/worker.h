// A worker process (store_worker.cc), and the lines that it prints.
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <vector>

namespace modelfs::testing {

class Worker {
 public:
  explicit Worker(std::vector<std::string> args, const std::string& fail_point = "",
                  const std::string& program = STORE_WORKER) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) std::abort();
    args.insert(args.begin(), program);
    std::vector<char*> argv;
    for (std::string& arg : args) argv.push_back(arg.data());
    argv.push_back(nullptr);
    std::string setting = "MODELFS_FAIL_POINT=" + fail_point;
    std::vector<char*> environment;
    for (char** variable = environ; *variable != nullptr; ++variable) environment.push_back(*variable);
    if (!fail_point.empty()) environment.push_back(setting.data());
    environment.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    if (::posix_spawn(&pid_, program.c_str(), &actions, nullptr, argv.data(), environment.data()) != 0)
      std::abort();
    posix_spawn_file_actions_destroy(&actions);
    ::close(ends[1]);
    output_ = ::fdopen(ends[0], "r");
  }
  ~Worker() {
    if (pid_ > 0) {
      Kill();
      Wait();
    }
    ::fclose(output_);
  }
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // The next line; nullopt at the end.
  std::optional<std::string> Line() {
    char buffer[256];
    if (::fgets(buffer, sizeof(buffer), output_) == nullptr) return std::nullopt;
    std::string line(buffer);
    if (!line.empty() && line.back() == '\n') line.pop_back();
    return line;
  }
  std::vector<std::string> AllLines() {
    std::vector<std::string> lines;
    while (auto line = Line()) lines.push_back(*line);
    return lines;
  }
  pid_t pid() const { return pid_; }
  // Returns once a signal has stopped it; false if it ended instead.
  bool WaitUntilStopped() const {
    int status = 0;
    return ::waitpid(pid_, &status, WUNTRACED) == pid_ && WIFSTOPPED(status);
  }
  void Continue() { Send(SIGCONT); }
  void Kill() { Send(SIGKILL); }
  // The wait(2) status.
  int Wait() {
    int status = 0;
    ::waitpid(pid_, &status, 0);
    pid_ = -1;
    return status;
  }

 private:
  // Sends nothing to a worker that was waited for: -1 would mean all processes of the machine.
  void Send(int signal) const {
    if (pid_ > 0) ::kill(pid_, signal);
  }

  pid_t pid_ = -1;
  FILE* output_ = nullptr;
};

}  // namespace modelfs::testing
