#include "tools/mounts.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>

#include "cas/base/chandle.h"
#include "fs/kernel/mount_point.h"

namespace modelfs::tools {
namespace {

constexpr size_t kRecordMaxBytes = 64 << 10;

// More than any home has, and few enough to read from another user's home.
constexpr size_t kMostRecords = 1000;

// Opens the directory at an absolute path without symlinks, as a mount's source is. Returns no descriptor if
// the path does not exist or has a symlink. It also opens nothing on a FUSE file system, because another
// user's daemon could block it there.
Fd OpenWithoutLinks(const std::string& path) {
  const Result<std::vector<fs::MountEntry>> mounts = fs::ReadMountInfo();
  if (!mounts.ok() || path.substr(0, 1) != "/") return {};
  const fs::MountEntry* below = nullptr;
  for (const fs::MountEntry& mount : *mounts) {
    if (IsWithin(path, mount.path) && (below == nullptr || mount.path.size() >= below->path.size()))
      below = &mount;
  }
  if (below != nullptr && below->type.starts_with("fuse")) return {};
  Fd directory(::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
  for (const std::filesystem::path& name : std::filesystem::path(path).relative_path()) {
    if (!directory.valid() || name == "..") return {};
    directory = Fd(::openat(directory.get(), name.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  }
  return directory;
}

// The owner of HOME/mounts.
std::optional<uid_t> OwnerOf(const Fd& directory) {
  struct stat info = {};
  if (!directory.valid() || ::fstat(directory.get(), &info) != 0) return std::nullopt;
  return info.st_uid;
}

// Opens a small regular file that belongs to `owner`, without blocking. Returns no descriptor for anything
// else.
Fd OpenRecord(const Fd& directory, const std::string& name, uid_t owner) {
  Fd file(::openat(directory.get(), name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
  struct stat info = {};
  if (!file.valid() || ::fstat(file.get(), &info) != 0) return {};
  const bool a_record =
      S_ISREG(info.st_mode) && info.st_uid == owner && info.st_size <= static_cast<off_t>(kRecordMaxBytes);
  return a_record ? std::move(file) : Fd();
}

std::string ReadSmallFile(int fd) {
  std::string text(kRecordMaxBytes, '\0');
  const ssize_t count = ::pread(fd, text.data(), text.size(), 0);
  text.resize(count > 0 ? static_cast<size_t>(count) : 0);
  return text;
}

// nullopt if the text is not a record of a mount.
std::optional<MountRecord> ParseRecord(const std::string& text) {
  const nlohmann::json record = nlohmann::json::parse(text, nullptr, false);
  if (!record.is_object()) return std::nullopt;
  const auto mount_point = record.find("mount_point");
  const auto pid = record.find("pid");
  const auto since_ms = record.find("since_ms");
  if (mount_point == record.end() || !mount_point->is_string()) return std::nullopt;
  if (pid == record.end() || !pid->is_number_integer()) return std::nullopt;
  if (since_ms == record.end() || !since_ms->is_number_integer()) return std::nullopt;
  return MountRecord{mount_point->get<std::string>(), pid->get<pid_t>(), since_ms->get<int64_t>()};
}

// Whether a process has died but still exists, because its parent has not waited for it or one of its threads
// has not ended. A process that is gone completely holds no lock, so MountsOf returns no record of it.
bool IsZombie(pid_t pid) {
  // pid (name) state ... (proc_pid_stat(5)); the name may have any characters.
  std::ifstream file(fmt::format("/proc/{}/stat", pid));
  std::string line;
  std::getline(file, line);
  const size_t name_end = line.rfind(')');
  return name_end != std::string::npos && line.compare(name_end, 4, ") Z ") == 0;
}

}  // namespace

Result<std::unique_ptr<MountRegistration>> MountRegistration::Write(const std::string& home,
                                                                    const std::string& mount_point,
                                                                    int64_t since_ms) {
  const std::string path = home + "/mounts";
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) return ErrnoError(errno, path + ": mkdir");
  Fd directory(::open(path.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!directory.valid()) return ErrnoError(errno, path + ": open");
  std::string name = fmt::format("{}.json", ::getpid());
  const std::string temporary = name + ".new";
  ::unlinkat(directory.get(), temporary.c_str(), 0);  // left by a killed process with the same pid
  Fd file(
      ::openat(directory.get(), temporary.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  const auto failed = [&](std::string_view call) {
    return ErrnoError(errno, fmt::format("{}/{}: {}", path, temporary, call));
  };
  if (!file.valid()) return failed("open");
  // Lock the file before it gets its name: a reader never finds it unlocked while this process lives.
  if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) return failed("flock");
  const nlohmann::ordered_json record = {
      {"mount_point", mount_point}, {"pid", ::getpid()}, {"since_ms", since_ms}};
  const std::string text = record.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  if (::write(file.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()))
    return failed("write");
  if (::renameat(directory.get(), temporary.c_str(), directory.get(), name.c_str()) != 0)
    return failed("rename");
  return std::unique_ptr<MountRegistration>(
      new MountRegistration(std::move(directory), std::move(name), std::move(file)));
}

MountRegistration::~MountRegistration() { ::unlinkat(directory_.get(), name_.c_str(), 0); }

std::vector<MountRecord> MountsOf(const std::string& home) {
  std::vector<MountRecord> mounts;
  const Fd directory = OpenWithoutLinks(home + "/mounts");
  const std::optional<uid_t> owner = OwnerOf(directory);
  if (!owner) return mounts;
  const bool ours = *owner == ::geteuid();
  const CHandle<DIR, closedir> names(
      ::fdopendir(::openat(directory.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)));
  if (names == nullptr) return mounts;
  for (size_t seen = 0; ours || seen < kMostRecords; ++seen) {
    const dirent* entry = ::readdir(names.get());
    if (entry == nullptr) break;
    const std::string name = entry->d_name;
    if (!name.ends_with(".json")) continue;
    const Fd file = OpenRecord(directory, name, *owner);
    if (!file.valid()) continue;  // removed meanwhile, or not a mount's record
    if (::flock(file.get(), LOCK_SH | LOCK_NB) == 0) {
      if (ours) ::unlinkat(directory.get(), name.c_str(), 0);
      continue;
    }
    if (std::optional<MountRecord> record = ParseRecord(ReadSmallFile(file.get())))
      mounts.push_back(*std::move(record));
  }
  std::sort(mounts.begin(), mounts.end(),
            [](const MountRecord& a, const MountRecord& b) { return a.mount_point < b.mount_point; });
  return mounts;
}

Result<bool> EndIfKilled(const MountPoint& mount) {
  if (mount.user != ::geteuid()) return false;
  bool killed = false;
  for (const MountRecord& record : MountsOf(mount.source)) {
    if (record.mount_point != mount.path) continue;
    if (!IsZombie(record.pid)) return false;  // a later mount, on top of the dead one
    killed = true;
  }
  if (killed) RETURN_IF_ERROR(fs::AbortConnection(mount.path));
  return killed;
}

std::optional<pid_t> DaemonOf(const MountPoint& mount) {
  for (const MountRecord& record : MountsOf(mount.source)) {
    if (record.mount_point == mount.path) return record.pid;
  }
  if (mount.user != ::geteuid()) return std::nullopt;
  const Result<fs::Health> health = fs::HealthOf(mount.path);
  if (!health.ok() || *health != fs::Health::kAlive) return std::nullopt;
  std::ifstream file(mount.path + "/.modelfs/status");
  const nlohmann::json status = nlohmann::json::parse(file, nullptr, false);
  const auto pid = status.is_object() ? status.find("pid") : status.end();
  if (pid == status.end() || !pid->is_number_integer()) return std::nullopt;
  return pid->get<pid_t>();
}

}  // namespace modelfs::tools
