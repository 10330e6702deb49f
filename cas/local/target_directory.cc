#include "cas/local/target_directory.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <system_error>

#include "cas/base/text.h"
#include "cas/files.h"
#include "cas/local/source_directory.h"

namespace modelfs::cas {
namespace {

constexpr int kHoldDirectory = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

Error Changed(const std::string& path) {
  return Error(Code::kAborted, path + ": changed while it was written; try again where nobody else writes");
}

Error NotEmpty(const std::string& path) {
  return Error(Code::kAlreadyExists,
               Printable(path) + " exists and is not an empty directory; nothing was written");
}

// Whether `name` in `parent` still is the open directory.
bool IsStill(int parent, const std::string& name, int directory) {
  struct stat now {};
  struct stat then {};
  return ::fstatat(parent, name.c_str(), &now, AT_SYMLINK_NOFOLLOW) == 0 && ::fstat(directory, &then) == 0 &&
         now.st_dev == then.st_dev && now.st_ino == then.st_ino;
}

// The path of `name` in an open directory, for calls that take paths: no other name on it is looked up again.
std::string Through(int directory, const std::string& name) {
  return fmt::format("/proc/self/fd/{}/{}", directory, name);
}

// Opens the directory that `path` names; returns nothing if it does not exist. Does not follow a symlink of
// another user: anyone with write access to the directory above could have created it. It could lead to any
// place that only the caller can write to.
Result<std::optional<Fd>> OpenNamed(const std::filesystem::path& path, const std::string& shown) {
  const auto failed = [&shown]() -> Result<std::optional<Fd>> {
    if (errno == ENOENT) return std::optional<Fd>();
    if (errno == ENOTDIR) return NotEmpty(shown);
    return ErrnoError(errno, shown);
  };
  Fd named(::open(path.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  if (!named.valid()) return failed();
  struct stat info {};
  if (::fstat(named.get(), &info) != 0) return failed();
  if (!S_ISLNK(info.st_mode)) {
    Fd there(::openat(named.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!there.valid()) return failed();
    return std::optional(std::move(there));
  }
  if (info.st_uid != ::geteuid() && info.st_uid != 0) {
    return Error(Code::kPermissionDenied,
                 fmt::format("{}: is a symlink of another user (uid {}) and is not followed; name the "
                             "directory itself",
                             Printable(shown), info.st_uid));
  }
  // Reads the very link that the owner check saw, through the same descriptor.
  std::string text(PATH_MAX, '\0');
  const ssize_t length = ::readlinkat(named.get(), "", text.data(), text.size());
  if (length < 0) return failed();
  text.resize(static_cast<size_t>(length));
  Fd there(::open((path.parent_path() / text).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!there.valid()) return failed();
  return std::optional(std::move(there));
}

}  // namespace

Result<TargetDirectory> TargetDirectory::Open(const std::string& path) {
  std::filesystem::path whole = std::filesystem::path(path).lexically_normal();
  if (!whole.has_filename()) whole = whole.parent_path();
  if (!whole.has_filename() || whole.filename() == "..") {
    return Error(Code::kInvalidArgument, Printable(path) + ": name a new or an empty directory");
  }
  ASSIGN_OR_RETURN(const std::optional<Fd> there, OpenNamed(whole, path));
  if (!there) return OpenNew(path, whole);
  // The listing closes its descriptor, so it gets one of its own.
  ASSIGN_OR_RETURN(const std::vector<std::string> present,
                   ListDirectory(Fd(::openat(there->get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)), path));
  if (!present.empty()) return NotEmpty(path);
  TargetDirectory target(path, Fd(), "", false);
  target.open_.push_back({"", Fd(::openat(there->get(), ".", kHoldDirectory))});
  return target;
}

Result<TargetDirectory> TargetDirectory::OpenNew(const std::string& path,
                                                 const std::filesystem::path& whole) {
  const std::filesystem::path above = whole.has_parent_path() ? whole.parent_path() : ".";
  RETURN_IF_ERROR(RealFiles().MakeDirectories(above.string()));
  Fd parent(::open(above.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!parent.valid()) return ErrnoError(errno, above.string());
  TargetDirectory target(path, std::move(parent), whole.filename().string(), true);
  RETURN_IF_ERROR(target.MakeNew());
  return target;
}

TargetDirectory::~TargetDirectory() {
  if (!finished_ && !open_.empty()) Discard();
}

Status TargetDirectory::MakeNew() {
  temporary_ = fmt::format("{}.download-{}", name_, ::getpid());
  if (::mkdirat(parent_.get(), temporary_.c_str(), 0700) != 0) {
    return ErrnoError(errno, fmt::format("{}.download-{}: mkdir", path_, ::getpid()));
  }
  Fd directory(::openat(parent_.get(), temporary_.c_str(), kHoldDirectory));
  if (!directory.valid()) return NameHasChanged(errno) ? Changed(path_) : ErrnoError(errno, path_);
  open_.push_back({temporary_, std::move(directory)});
  return OkStatus();
}

Status TargetDirectory::MakeDirectory(const std::string& relative) { return Enter(relative); }

Result<Fd> TargetDirectory::CreateFile(const std::string& relative, mode_t mode) {
  const size_t slash = relative.rfind('/');
  RETURN_IF_ERROR(Enter(slash == std::string::npos ? "" : relative.substr(0, slash)));
  const std::string name = relative.substr(slash + 1);
  Fd file(::openat(open_.back().directory.get(), name.c_str(),
                   O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode));
  if (!file.valid() && errno == EEXIST) return Changed(Shown(name));
  if (!file.valid()) return ErrnoError(errno, "create " + Shown(name));
  if (open_.size() == 1) made_.push_back(name);
  return file;
}

Status TargetDirectory::Enter(std::string_view folder) {
  size_t level = 1;  // of open_; the rest of `folder` is below it
  while (!folder.empty() && level < open_.size()) {
    const size_t slash = folder.find('/');
    if (folder.substr(0, slash) != open_[level].name) break;
    folder.remove_prefix(slash == std::string_view::npos ? folder.size() : slash + 1);
    ++level;
  }
  while (open_.size() > level) RETURN_IF_ERROR(Pop());
  while (!folder.empty()) {
    const size_t slash = folder.find('/');
    RETURN_IF_ERROR(Push(std::string(folder.substr(0, slash))));
    folder.remove_prefix(slash == std::string_view::npos ? folder.size() : slash + 1);
  }
  return OkStatus();
}

Status TargetDirectory::Push(std::string name) {
  const int parent = open_.back().directory.get();
  // For users, so not private like the store's directories: the same mode as from mkdir(1).
  if (::mkdirat(parent, name.c_str(), 0777) != 0) {
    if (errno == EEXIST) return Changed(Shown(name));
    return ErrnoError(errno, "mkdir " + Shown(name));
  }
  if (open_.size() == 1) made_.push_back(name);
  Fd directory(::openat(parent, name.c_str(), kHoldDirectory));
  if (!directory.valid() && NameHasChanged(errno)) return Changed(Shown(name));
  if (!directory.valid()) return ErrnoError(errno, "open " + Shown(name));
  open_.push_back({std::move(name), std::move(directory)});
  return OkStatus();
}

Status TargetDirectory::Pop() {
  const Level level = std::move(open_.back());
  open_.pop_back();
  if (IsStill(open_.back().directory.get(), level.name, level.directory.get())) return OkStatus();
  return Changed(Shown(level.name));
}

Status TargetDirectory::Finish() {
  RETURN_IF_ERROR(Enter(""));
  if (is_new_) {
    if (!IsStill(parent_.get(), temporary_, open_.front().directory.get())) return Changed(path_);
    int renamed =
        ::renameat2(parent_.get(), temporary_.c_str(), parent_.get(), name_.c_str(), RENAME_NOREPLACE);
    // The file system does not support the flag (renameat2(2)); without it, an empty directory may be
    // replaced.
    if (renamed != 0 && errno == EINVAL)
      renamed = ::renameat(parent_.get(), temporary_.c_str(), parent_.get(), name_.c_str());
    if (renamed != 0 && errno == EEXIST) return NotEmpty(path_);
    if (renamed != 0) return ErrnoError(errno, fmt::format("{}: rename", path_));
  }
  finished_ = true;
  return OkStatus();
}

// remove_all follows no symlink below its path.
void TargetDirectory::Discard() {
  std::error_code failure;
  for (const std::string& name : made_)
    std::filesystem::remove_all(Through(open_.front().directory.get(), name), failure);
  if (is_new_ && IsStill(parent_.get(), temporary_, open_.front().directory.get()))
    ::unlinkat(parent_.get(), temporary_.c_str(), AT_REMOVEDIR);
}

std::string TargetDirectory::Shown(std::string_view name) const {
  std::string shown = path_;
  for (size_t level = 1; level < open_.size(); ++level) shown += "/" + open_[level].name;
  return fmt::format("{}/{}", shown, name);
}

}  // namespace modelfs::cas
