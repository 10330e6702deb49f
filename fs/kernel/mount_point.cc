#include "fs/kernel/mount_point.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <poll.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <climits>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string_view>
#include <vector>

#include "cas/base/clock.h"
#include "cas/base/fd.h"
#include "cas/base/privileges.h"
#include "cas/base/shell_word.h"
#include "store/identity/user_label.h"

extern char** environ;

namespace modelfs::fs {
namespace {

// mountinfo writes space, tab, newline and backslash as a backslash and three octal digits (proc(5)).
std::string Unescaped(std::string_view text) {
  const auto octal = [](char c) { return c >= '0' && c <= '7'; };
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size() && octal(text[i + 1]) && octal(text[i + 2]) &&
        octal(text[i + 3])) {
      out += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0'));
      i += 3;
    } else {
      out += text[i];
    }
  }
  return out;
}

std::vector<std::string_view> Fields(std::string_view line, char separator) {
  std::vector<std::string_view> fields;
  while (!line.empty()) {
    const size_t end = line.find(separator);
    fields.push_back(line.substr(0, end));
    line.remove_prefix(end == std::string_view::npos ? line.size() : end + 1);
  }
  return fields;
}

// The options that the kernel itself adds for a FUSE file system (fuse_show_options).
void ReadFuseOptions(std::string_view options, MountEntry& entry) {
  constexpr std::string_view kUser = "user_id=";
  for (const std::string_view option : Fields(options, ',')) {
    if (option == "allow_other") entry.shared = true;
    if (!option.starts_with(kUser)) continue;
    std::from_chars(option.data() + kUser.size(), option.data() + option.size(), entry.user);
  }
}

bool IsDeadErrno(int errno_value) {
  return errno_value == ENOTCONN || errno_value == ECONNABORTED || errno_value == ECONNREFUSED;
}

// realpath(3), also if a dead end point is mounted on the last component. It does not ask that mount
// anything, unless the path ends in a slash, which requires a directory.
Result<std::string> Canonical(const std::string& path) {
  std::string trimmed = path;
  while (trimmed.size() > 1 && trimmed.back() == '/') trimmed.pop_back();
  char buffer[PATH_MAX];
  if (::realpath(trimmed.c_str(), buffer) != nullptr) return std::string(buffer);
  const int errno_value = errno;
  if (IsDeadErrno(errno_value)) {
    const size_t slash = trimmed.rfind('/');
    const std::string parent = slash == std::string::npos ? "." : trimmed.substr(0, slash + 1);
    if (::realpath(parent.c_str(), buffer) != nullptr) {
      const std::string name = slash == std::string::npos ? trimmed : trimmed.substr(slash + 1);
      return (std::string_view(buffer) == "/" ? std::string() : std::string(buffer)) + "/" + name;
    }
  }
  if (errno_value == ENOENT) {
    return Error(Code::kNotFound, fmt::format("mount point {}: no such directory", path));
  }
  if (errno_value == ENOTDIR) {
    return Error(Code::kInvalidArgument, fmt::format("mount point {}: not a directory", path));
  }
  return ErrnoError(errno_value, fmt::format("mount point {}", path));
}

constexpr std::chrono::milliseconds kKillTime{100};

Status RunFusermount(const std::string& mount_point, bool lazy) {
  std::vector<std::string> words = {"fusermount3", "-u"};
  if (lazy) words.emplace_back("-z");
  words.emplace_back("--");
  words.push_back(mount_point);
  std::vector<char*> arguments;
  arguments.reserve(words.size() + 1);
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);

  // Discard its message: it knows errno only as text, and the errors below are more precise.
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  pid_t child = 0;
  const int spawned = ::posix_spawnp(&child, "fusermount3", &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (spawned != 0) {
    return Error(Code::kPermissionDenied,
                 fmt::format("unmount {}: fusermount3 cannot be run ({}); install the package fuse3",
                             mount_point, std::strerror(spawned)));
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return OkStatus();
  return Error(Code::kFailedPrecondition, fmt::format("unmount {}: busy", mount_point));
}

// Processes that use a file below `mount_point`: as working directory, root or program, by a descriptor or by
// a mapping; as "123 (python3)". Only those that /proc shows this user. Links are read, never followed:
// following one would ask the mount.
std::vector<std::string> HoldersOf(const std::string& mount_point) {
  const auto below = [&](const std::string& link) {
    char target[PATH_MAX];
    const ssize_t size = ::readlink(link.c_str(), target, sizeof(target));
    if (size <= 0) return false;
    const std::string_view path(target, static_cast<size_t>(size));
    return path.starts_with(mount_point) &&
           (path.size() == mount_point.size() || path[mount_point.size()] == '/');
  };
  const auto names_in = [](const std::string& directory) {
    std::vector<std::string> names;
    if (DIR* open = ::opendir(directory.c_str()); open != nullptr) {
      while (const dirent* entry = ::readdir(open)) {
        if (entry->d_name[0] != '.') names.emplace_back(entry->d_name);
      }
      ::closedir(open);
    }
    return names;
  };
  const auto maps_it = [&](const std::string& process) {
    std::ifstream maps(process + "/maps");
    for (std::string line; std::getline(maps, line);) {
      const size_t at = line.find('/');
      if (at != std::string::npos && line.compare(at, mount_point.size() + 1, mount_point + "/") == 0)
        return true;
    }
    return false;
  };

  std::vector<std::string> holders;
  for (const std::string& pid : names_in("/proc")) {
    if (pid.find_first_not_of("0123456789") != std::string::npos) continue;
    const std::string process = "/proc/" + pid;
    bool holds = below(process + "/cwd") || below(process + "/root") || below(process + "/exe");
    if (!holds) {
      for (const std::string& fd : names_in(process + "/fd")) {
        if (below(fmt::format("{}/fd/{}", process, fd))) {
          holds = true;
          break;
        }
      }
    }
    if (!holds && !maps_it(process)) continue;
    std::string name;
    std::ifstream comm(process + "/comm");
    std::getline(comm, name);
    holders.push_back(fmt::format("{} ({})", pid, name));
  }
  return holders;
}

}  // namespace

std::vector<MountEntry> ParseMountInfo(std::string_view text) {
  std::vector<MountEntry> mounts;
  for (const std::string_view line : Fields(text, '\n')) {
    // id, parent, major:minor, root, mount point, options, optional fields..., "-", type, source, options
    const std::vector<std::string_view> fields = Fields(line, ' ');
    const auto dash = std::find(fields.begin(), fields.end(), "-");
    if (fields.size() < 5 || fields.end() - dash < 3) continue;
    MountEntry entry{.path = Unescaped(fields[4]),
                     .device = std::string(fields[2]),
                     .type = Unescaped(*(dash + 1)),
                     .source = Unescaped(*(dash + 2))};
    if (entry.type.starts_with("fuse") && fields.end() - dash > 3) ReadFuseOptions(*(dash + 3), entry);
    mounts.push_back(std::move(entry));
  }
  return mounts;
}

Result<std::vector<MountEntry>> ReadMountInfo() {
  std::ifstream file("/proc/self/mountinfo");
  std::ostringstream text;
  text << file.rdbuf();
  if (!file) return Error(Code::kInternal, "/proc/self/mountinfo: cannot be read; is /proc mounted?");
  return ParseMountInfo(text.str());
}

std::optional<MountEntry> FindMount(const std::string& mount_point) {
  std::optional<MountEntry> found;
  Result<std::vector<MountEntry>> mounts = ReadMountInfo();
  if (!mounts.ok()) return found;
  for (MountEntry& mount : *mounts) {
    if (mount.path == mount_point) found = std::move(mount);
  }
  return found;
}

// Asks by statfs(2), the one call that FUSE always sends to its daemon, so it distinguishes the living from
// the dead. If the daemon hangs, the call does, too. Once the daemon has read the request, not even SIGKILL
// ends it. So a child process asks, which can be left behind.
Result<Health> HealthOf(const std::string& path) {
  constexpr int kExitDead = 1;
  const pid_t child = ::fork();
  if (child < 0) return ErrnoError(errno, "fork");
  if (child == 0) {
    // Only async-signal-safe calls, because there may be threads. The child may outlive us and must not keep
    // our locks.
    ::close_range(0, ~0U, 0);
    struct statfs numbers = {};
    const bool dead = ::statfs(path.c_str(), &numbers) != 0 && IsDeadErrno(errno);
    ::_exit(dead ? kExitDead : 0);
  }
  // Called by number: glibc 2.36 declares pidfd_open() for C only.
  const Fd process(static_cast<int>(::syscall(SYS_pidfd_open, child, 0)));
  const int errno_value = process.valid() ? 0 : errno;
  int status = 0;
  const auto ends_within = [&](std::chrono::milliseconds time) {
    const Deadline deadline = Deadline::After(time);
    while (process.valid() && !deadline.Passed()) {
      const auto left =
          std::chrono::ceil<std::chrono::milliseconds>(deadline.at() - std::chrono::steady_clock::now());
      pollfd wait = {process.get(), POLLIN, 0};
      if (::poll(&wait, 1, static_cast<int>(std::max<int64_t>(left.count(), 0))) > 0) {
        return ::waitpid(child, &status, 0) == child;
      }
    }
    return false;
  };
  if (ends_within(kAnswerTime)) {
    return WIFEXITED(status) && WEXITSTATUS(status) == kExitDead ? Health::kDead : Health::kAlive;
  }
  ::kill(child, SIGKILL);
  // The child ends at once, unless the daemon has read the request: then it ends with the mount, and init
  // reaps it.
  ends_within(kKillTime);
  if (errno_value != 0) return ErrnoError(errno_value, "pidfd_open");
  return Health::kSilent;
}

Status AbortConnection(const std::string& mount_point) {
  const std::optional<MountEntry> mount = FindMount(mount_point);
  if (!mount) return OkStatus();
  // The file is named by the device's minor number (Documentation/filesystems/fuse.rst, "Control
  // filesystem").
  const std::string control =
      fmt::format("/sys/fs/fuse/connections/{}/abort", mount->device.substr(mount->device.find(':') + 1));
  const Fd file(::open(control.c_str(), O_WRONLY | O_CLOEXEC));
  if (file.valid() && ::write(file.get(), "1", 1) == 1) return OkStatus();
  // MNT_FORCE aborts first, and then unmounts a mount that is not busy (umount2(2)). This descriptor keeps it
  // busy, so the dead mount stays and is reported as such. Opening it asks the daemon nothing.
  const Fd root(::open(mount_point.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (::umount2(mount_point.c_str(), MNT_FORCE | UMOUNT_NOFOLLOW) == 0 || errno == EBUSY) return OkStatus();
  return ErrnoError(errno, fmt::format("{}: its daemon was killed, and only root can end the mount that it "
                                       "left behind: {}",
                                       mount_point, ShellCommand({"umount", "-f"}, {mount_point})));
}

Result<Fd> OpenDevice() {
  Fd device(::open("/dev/fuse", O_RDWR | O_CLOEXEC));
  if (device.valid()) return device;
  const int errno_value = errno;
  if (errno_value == ENOENT || errno_value == ENODEV || errno_value == ENXIO) {
    return Error(Code::kPermissionDenied,
                 "mount: /dev/fuse is missing; load the kernel's fuse module (modprobe fuse), or give the "
                 "container the device");
  }
  if (errno_value == EACCES) {
    return Error(
        Code::kPermissionDenied,
        fmt::format("mount: {} may not open /dev/fuse; have root give it back the rights that it has by "
                    "default: chmod 666 /dev/fuse",
                    store::UserLabel(::geteuid())));
  }
  if (errno_value == EPERM) {
    return Error(Code::kPermissionDenied,
                 "mount: /dev/fuse is there, but this container may not open it; start it with the device "
                 "(--device /dev/fuse)");
  }
  return ErrnoError(errno_value, "mount: /dev/fuse");
}

Status SetReadAhead(const std::string& mount_point, uint32_t read_ahead_kib) {
  const std::optional<MountEntry> mount = FindMount(mount_point);
  if (!mount) return OkStatus();
  const std::string name = fmt::format("/sys/class/bdi/{}/read_ahead_kb", mount->device);
  const Fd file(::open(name.c_str(), O_WRONLY | O_CLOEXEC));
  const std::string text = std::to_string(read_ahead_kib);
  if (file.valid() && ::write(file.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()))
    return OkStatus();
  return ErrnoError(errno, name);
}

Result<std::string> PrepareMountPoint(const std::string& path) {
  const Result<std::string> found = Canonical(path);
  if (!found.ok() && found.error().code() == Code::kNotFound) {
    return Error(Code::kNotFound, fmt::format("{}; make it first: {}", found.error().message(),
                                              ShellCommand({"mkdir", "-p"}, {path})));
  }
  ASSIGN_OR_RETURN(const std::string canonical, found);
  // Daemons that died on top of each other leave a pile; no real pile is this high.
  constexpr int kMaxDead = 64;
  for (int i = 0; i < kMaxDead; ++i) {
    const std::optional<MountEntry> mount = FindMount(canonical);
    if (!mount) break;
    Health health = Health::kAlive;
    if (mount->type.starts_with("fuse")) {
      ASSIGN_OR_RETURN(health, HealthOf(canonical));
    }
    if (health == Health::kSilent) {
      return Error(
          Code::kUnavailable,
          fmt::format("mount point {}: {} ({}) is mounted there and did not answer within {} s; try "
                      "again, or, if its daemon hangs for good, detach it: {}",
                      path, mount->source, mount->type, kAnswerTime.count(),
                      mount->type == kMountType ? ShellCommand({"modelfs", "umount", "--lazy"}, {path})
                                                : ShellCommand({"umount", "-l"}, {path})));
    }
    if (health == Health::kAlive) {
      return Error(Code::kAlreadyExists,
                   fmt::format("mount point {}: {} ({}) is mounted there; unmount it first or choose another "
                               "directory",
                               path, mount->source, mount->type));
    }
    RETURN_IF_ERROR(Detach(canonical, true));
  }
  struct stat attr = {};
  if (::stat(canonical.c_str(), &attr) != 0) return ErrnoError(errno, fmt::format("mount point {}", path));
  if (!S_ISDIR(attr.st_mode)) {
    return Error(Code::kInvalidArgument, fmt::format("mount point {}: not a directory", path));
  }
  return canonical;
}

Result<Fd> HoldMountPoint(const std::string& canonical) {
  Fd at(::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
  std::string_view rest = canonical;
  while (at.valid() && !rest.empty()) {
    const size_t slash = std::min(rest.find('/'), rest.size());
    const std::string name(rest.substr(0, slash));
    rest.remove_prefix(std::min(slash + 1, rest.size()));
    if (name.empty()) continue;
    at = Fd(::openat(at.get(), name.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  }
  if (at.valid()) return at;
  if (errno != ENOTDIR && errno != ELOOP && errno != ENOENT)
    return ErrnoError(errno, fmt::format("mount point {}", canonical));
  return Error(Code::kAborted,
               fmt::format("mount point {}: somebody put something else in its place meanwhile", canonical));
}

Status Detach(const std::string& mount_point, bool lazy) {
  const size_t slash = mount_point.rfind('/');
  const Result<Fd> above = HoldMountPoint(mount_point.substr(0, slash));
  if (!above.ok() && above.error().code() == Code::kAborted) return above.error();
  if (!above.ok()) return RunFusermount(mount_point, lazy);
  const std::string path = fmt::format("/proc/self/fd/{}/{}", above->get(), mount_point.substr(slash + 1));
  const int flags = UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0);
  if (::umount2(path.c_str(), flags) == 0) return OkStatus();
  if (errno == EPERM) return RunFusermount(mount_point, lazy);
  if (errno == EBUSY) return Error(Code::kFailedPrecondition, fmt::format("unmount {}: busy", mount_point));
  return ErrnoError(errno, fmt::format("unmount {}", mount_point));
}

Status Unmount(const std::string& mount_point, bool lazy) {
  const Result<std::string> found = Canonical(mount_point);
  if (!found.ok() && found.error().code() == Code::kNotFound) {
    return Error(
        Code::kNotFound,
        fmt::format("unmount {}: no such directory; \"modelfs status\" lists the mounts", mount_point));
  }
  ASSIGN_OR_RETURN(const std::string canonical, found);
  const std::optional<MountEntry> mount = FindMount(canonical);
  if (!mount || mount->type != kMountType) {
    return Error(Code::kNotFound, fmt::format("unmount {}: no registry is mounted there", mount_point));
  }
  if (!HasAdminCapability() && mount->user != ::geteuid()) {
    return Error(Code::kPermissionDenied,
                 fmt::format("unmount {}: it is a mount of {}; that user or root can unmount it", mount_point,
                             store::UserLabel(mount->user)));
  }
  Status detached = Detach(canonical, lazy);
  if (detached.ok() || detached.error().code() != Code::kFailedPrecondition) return detached;
  std::string holders;
  for (const std::string& holder : HoldersOf(canonical)) {
    holders += holders.empty() ? " by " : ", ";
    holders += holder;
  }
  return Error(Code::kFailedPrecondition,
               fmt::format("unmount {}: in use{}; end the processes that use it, or unmount lazily",
                           mount_point, holders));
}

}  // namespace modelfs::fs
