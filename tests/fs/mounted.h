// A registry and a real mount of it, served by a process of its own (mount_server), for tests that use
// nothing but system calls. Everything lies in a directory of the test's own, removed at the end.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace modelfs::fs {

// The reason that mounts cannot be tested here; empty if they can.
std::string WhyNoMount();
#define SKIP_WITHOUT_MOUNT() \
  if (const std::string why = ::modelfs::fs::WhyNoMount(); !why.empty()) GTEST_SKIP() << why

class Mounted {
 public:
  struct Options {
    uint64_t home_bytes = 0;  // not 0: the registry lies on a tmpfs of this size
    int64_t draft_lifetime_s = 7 * 24 * 60 * 60;
    bool shared = false;            // with other users, which can reach the mount point
    std::string identity_map = {};  // a file
    int64_t lock_wait_ms = 10'000;  // how long a change waits for other processes
  };
  Mounted() : Mounted(Options{}) {}
  explicit Mounted(Options options);
  ~Mounted();
  Mounted(const Mounted&) = delete;
  Mounted& operator=(const Mounted&) = delete;

  // Starts the server, with the fail point (cas/base/fail_point.h) if one is named.
  void Start(const std::string& fail_point = "");
  // Sends SIGTERM and returns the exit status.
  int Stop();
  void Kill();  // SIGKILL, and waits
  // Waits until the server has died at its fail point; returns false after a generous time.
  bool WaitUntilKilled();

  // A second mount of the same registry.
  std::string StartAnother();
  // Lets the second mount be killed in the middle of one of its commits: the next, or the `commit`-th
  // (tests/store/kv/meta_signal.h).
  void CutOffAnother(int commit = 1) const;
  // Waits for that; returns false after a generous time.
  bool WaitUntilAnotherIsKilled();

  const std::string& mount() const { return mount_; }
  const std::string& home() const { return home_; }
  std::string scratch(std::string_view name) const;  // a path outside the mount
  std::string path(std::string_view below) const { return mount_ + "/" + std::string(below); }

  // Makes the model's catalog, its schema and the model by mkdir.
  std::string MakeModel(std::string_view catalog_schema_model);
  // Makes a draft with these files and commits it; by system calls.
  void MakeVersion(const std::string& model_path, const std::map<std::string, std::string>& files);

  // The messages in .modelfs/errors, newest last.
  std::string Errors() const;

 private:
  pid_t Launch(const std::string& mount_point, const std::string& fail_point);

  Options options_;
  std::string directory_;
  std::string home_;
  std::string mount_;
  std::string other_mount_;
  pid_t server_ = -1;
  pid_t other_server_ = -1;
};

// The result of a system call: 0 or the positive errno.
int Errno(int result);
int WriteFile(const std::string& path, std::string_view bytes);
std::string ReadFile(const std::string& path);             // "<errno 2>" if it cannot be read
std::string ReadLinkOf(const std::string& path);           // likewise
std::vector<std::string> ListOf(const std::string& path);  // sorted, without . and ..
bool Exists(const std::string& path);
int RenameAt2(const std::string& from, const std::string& to, unsigned flags);

struct ShellResult {
  int status = 0;  // exit code
  std::string output;
};
ShellResult Shell(const std::string& command);

}  // namespace modelfs::fs
