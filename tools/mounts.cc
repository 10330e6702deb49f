#include "tools/mounts.h"

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
#include <system_error>

#include "fs/mount_point.h"

namespace modelfs::tools {
namespace {

constexpr size_t kRecordMaxBytes = 64 << 10;

std::string DirectoryOf(const std::string& home) { return home + "/mounts"; }

// Nothing for a file that is no record of ours.
std::string ReadSmallFile(int fd) {
  std::string text(kRecordMaxBytes, '\0');
  const ssize_t count = ::pread(fd, text.data(), text.size(), 0);
  text.resize(count > 0 ? static_cast<size_t>(count) : 0);
  return text;
}

// A process that has died and whose parent, or one of its own threads, has not seen the end of it. One that
// is gone altogether holds no lock, so its record is not there.
bool IsZombie(pid_t pid) {
  // pid (name) state ... (proc_pid_stat(5)); the name may hold anything.
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
  const std::string directory = DirectoryOf(home);
  if (::mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST) {
    return ErrnoError(errno, fmt::format("{}: mkdir", directory));
  }
  const std::string path = fmt::format("{}/{}.json", directory, ::getpid());
  const std::string temporary = path + ".new";
  Fd file(::open(temporary.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!file.valid()) return ErrnoError(errno, fmt::format("{}: open", temporary));
  // Locked before it gets its name: a reader never finds it unlocked while we live.
  if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0)
    return ErrnoError(errno, fmt::format("{}: flock", temporary));
  const nlohmann::ordered_json record = {
      {"mount_point", mount_point}, {"pid", ::getpid()}, {"since_ms", since_ms}};
  const std::string text = record.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  if (::write(file.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
    return ErrnoError(errno, fmt::format("{}: write", temporary));
  }
  if (::rename(temporary.c_str(), path.c_str()) != 0)
    return ErrnoError(errno, fmt::format("{}: rename", path));
  return std::unique_ptr<MountRegistration>(new MountRegistration(path, std::move(file)));
}

MountRegistration::~MountRegistration() { ::unlink(path_.c_str()); }

Result<std::vector<MountRecord>> MountsOf(const std::string& home) {
  std::vector<MountRecord> mounts;
  std::error_code failure;
  for (const auto& entry : std::filesystem::directory_iterator(DirectoryOf(home), failure)) {
    if (entry.path().extension() != ".json") continue;
    const Fd file(::open(entry.path().c_str(), O_RDONLY | O_CLOEXEC));
    if (!file.valid()) continue;  // gone meanwhile
    if (::flock(file.get(), LOCK_SH | LOCK_NB) == 0) {
      ::unlink(entry.path().c_str());
      continue;
    }
    const nlohmann::json record = nlohmann::json::parse(ReadSmallFile(file.get()), nullptr, false);
    if (!record.is_object() || !record["mount_point"].is_string()) continue;
    mounts.push_back({record["mount_point"].get<std::string>(), record.value("pid", 0),
                      record.value("since_ms", int64_t{0})});
  }
  std::sort(mounts.begin(), mounts.end(),
            [](const MountRecord& a, const MountRecord& b) { return a.mount_point < b.mount_point; });
  return mounts;
}

Result<bool> EndIfKilled(const MountPoint& mount) {
  ASSIGN_OR_RETURN(const std::vector<MountRecord> records, MountsOf(mount.source));
  bool killed = false;
  for (const MountRecord& record : records) {
    if (record.mount_point != mount.path) continue;
    if (!IsZombie(record.pid)) return false;  // a later one, on top of it
    killed = true;
  }
  if (killed) RETURN_IF_ERROR(fs::AbortConnection(mount.path));
  return killed;
}

}  // namespace modelfs::tools
