#include "tests/fs/mounted.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <poll.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "cas/base/check.h"
#include "cas/base/fd.h"

namespace modelfs::fs {
namespace {

constexpr auto kGenerous = std::chrono::seconds(60);

bool WaitFor(pid_t process, int* status) {
  const auto until = std::chrono::steady_clock::now() + kGenerous;
  while (std::chrono::steady_clock::now() < until) {
    const pid_t ended = ::waitpid(process, status, WNOHANG);
    if (ended == process) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return false;
}

void Detach(const std::string& mount_point) { ::umount2(mount_point.c_str(), MNT_DETACH); }

}  // namespace

std::string WhyNoMount() {
  if (::access("/dev/fuse", R_OK | W_OK) != 0) return "no access to /dev/fuse";
  if (::geteuid() != 0) return "mounting in this test needs root";
  return "";
}

Mounted::Mounted(Options options) : options_(std::move(options)) {
  directory_ = (std::filesystem::temp_directory_path() / "modelfs-mount-XXXXXX").string();
  CHECK(::mkdtemp(directory_.data()) != nullptr);
  if (options_.shared) CHECK(::chmod(directory_.c_str(), 0711) == 0);
  home_ = directory_ + "/home";
  mount_ = directory_ + "/mnt";
  std::filesystem::create_directories(home_);
  std::filesystem::create_directories(mount_);
  std::filesystem::create_directories(directory_ + "/scratch");
  if (options_.home_bytes != 0) {
    const std::string size = fmt::format("size={}", options_.home_bytes);
    CHECK(::mount("tmpfs", home_.c_str(), "tmpfs", 0, size.c_str()) == 0);
  }
}

Mounted::~Mounted() {
  if (server_ > 0) Stop();
  if (other_server_ > 0) {
    ::kill(other_server_, SIGTERM);
    int status = 0;
    if (!WaitFor(other_server_, &status)) ::kill(other_server_, SIGKILL);
  }
  Detach(mount_);
  if (!other_mount_.empty()) Detach(other_mount_);
  if (options_.home_bytes != 0) Detach(home_);
  std::error_code ignored;
  std::filesystem::remove_all(directory_, ignored);
}

pid_t Mounted::Launch(const std::string& mount_point, const std::string& fail_point) {
  std::array<int, 2> pipe = {};
  CHECK(::pipe2(pipe.data(), O_CLOEXEC) == 0);
  const Fd ready(pipe[0]);
  Fd child_end(pipe[1]);
  const std::string lifetime = std::to_string(options_.draft_lifetime_s);
  const std::string lock_wait = std::to_string(options_.lock_wait_ms);
  const pid_t child = ::fork();
  CHECK(child >= 0);
  if (child == 0) {
    ::dup2(child_end.get(), STDOUT_FILENO);
    if (!fail_point.empty()) ::setenv("MODELFS_FAIL_POINT", fail_point.c_str(), 1);
    ::execl(MOUNT_SERVER, MOUNT_SERVER, home_.c_str(), mount_point.c_str(), lifetime.c_str(),
            options_.shared ? "shared" : "private", options_.identity_map.c_str(), lock_wait.c_str(),
            nullptr);
    ::_exit(127);
  }
  child_end.Reset();
  std::array<char, 16> said = {};
  const ssize_t got = ::read(ready.get(), said.data(), said.size());
  CHECK(got > 0);  // nothing: the server ended, with the reason on standard error
  return child;
}

void Mounted::Start(const std::string& fail_point) { server_ = Launch(mount_, fail_point); }

std::string Mounted::StartAnother() {
  other_mount_ = directory_ + "/mnt2";
  std::error_code ignored;  // the mount before it may have died there
  std::filesystem::create_directories(other_mount_, ignored);
  other_server_ = Launch(other_mount_, "");
  return other_mount_;
}

void Mounted::CutOffAnother(int commit) const {
  CHECK(::sigqueue(other_server_, SIGUSR1, {.sival_int = commit}) == 0);
}

bool Mounted::WaitUntilAnotherIsKilled() {
  int status = 0;
  if (!WaitFor(other_server_, &status)) return false;
  other_server_ = -1;
  return WIFSIGNALED(status);
}

int Mounted::Stop() {
  CHECK(server_ > 0);  // -1 would be all processes of the machine
  ::kill(server_, SIGTERM);
  int status = -1;
  if (!WaitFor(server_, &status)) {
    ::kill(server_, SIGKILL);
    ::waitpid(server_, &status, 0);
  }
  server_ = -1;
  return status;
}

void Mounted::Kill() {
  CHECK(server_ > 0);
  ::kill(server_, SIGKILL);
  int status = 0;
  ::waitpid(server_, &status, 0);
  server_ = -1;
}

bool Mounted::WaitUntilKilled() {
  int status = 0;
  if (!WaitFor(server_, &status)) return false;
  server_ = -1;
  return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

std::string Mounted::scratch(std::string_view name) const {
  return fmt::format("{}/scratch/{}", directory_, name);
}

std::string Mounted::MakeModel(std::string_view name) {
  std::string made = mount_;
  std::stringstream parts{std::string(name)};
  for (std::string part; std::getline(parts, part, '/');) {
    made += "/" + part;
    const int error = Errno(::mkdir(made.c_str(), 0755));
    CHECK(error == 0 || error == EEXIST);
  }
  return made;
}

void Mounted::MakeVersion(const std::string& model_path, const std::map<std::string, std::string>& files) {
  const std::string draft = model_path + "/versions/.made-by-test";
  CHECK(Errno(::mkdir(draft.c_str(), 0755)) == 0);
  for (const auto& file : files) {
    std::filesystem::create_directories(std::filesystem::path(draft + "/" + file.first).parent_path());
    CHECK(WriteFile(draft + "/" + file.first, file.second) == 0);
  }
  CHECK(Errno(::rename(draft.c_str(), (model_path + "/versions/next").c_str())) == 0);
}

std::string Mounted::Errors() const { return ReadFile(mount_ + "/.modelfs/errors"); }

int Errno(int result) { return result < 0 ? errno : 0; }

int WriteFile(const std::string& path, std::string_view bytes) {
  const Fd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!file.valid()) return errno;
  while (!bytes.empty()) {
    const ssize_t count = ::write(file.get(), bytes.data(), bytes.size());
    if (count < 0) return errno;
    bytes.remove_prefix(static_cast<size_t>(count));
  }
  return 0;
}

std::string ReadFile(const std::string& path) {
  const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.valid()) return fmt::format("<errno {}>", errno);
  std::string bytes;
  std::array<char, 65536> buffer;
  while (true) {
    const ssize_t count = ::read(file.get(), buffer.data(), buffer.size());
    if (count < 0) return fmt::format("<errno {}>", errno);
    if (count == 0) return bytes;
    bytes.append(buffer.data(), static_cast<size_t>(count));
  }
}

std::string ReadLinkOf(const std::string& path) {
  std::array<char, 4096> target;
  const ssize_t length = ::readlink(path.c_str(), target.data(), target.size());
  if (length < 0) return fmt::format("<errno {}>", errno);
  return std::string(target.data(), static_cast<size_t>(length));
}

std::vector<std::string> ListOf(const std::string& path) {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(path, error)) {
    names.push_back(entry.path().filename().string());
  }
  if (error) names.push_back(fmt::format("<errno {}>", error.value()));
  std::sort(names.begin(), names.end());
  return names;
}

bool Exists(const std::string& path) {
  struct stat attr = {};
  return ::lstat(path.c_str(), &attr) == 0;
}

int RenameAt2(const std::string& from, const std::string& to, unsigned flags) {
  return Errno(
      static_cast<int>(::syscall(SYS_renameat2, AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), flags)));
}

ShellResult Shell(const std::string& command) {
  ShellResult result;
  std::FILE* pipe = ::popen(("exec 2>&1; " + command).c_str(), "re");
  CHECK(pipe != nullptr);
  std::array<char, 4096> buffer;
  for (size_t count = 0; (count = std::fread(buffer.data(), 1, buffer.size(), pipe)) > 0;) {
    result.output.append(buffer.data(), count);
  }
  const int status = ::pclose(pipe);
  result.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return result;
}

}  // namespace modelfs::fs
