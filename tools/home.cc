#include "tools/home.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <spdlog/logger.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <system_error>
#include <utility>

#include "cas/base/clock.h"
#include "cas/base/fd.h"
#include "cas/base/privileges.h"
#include "cas/base/shell_word.h"
#include "cas/base/text.h"
#include "cas/files.h"
#include "store/actions.h"
#include "store/identity/user_label.h"
#include "store/kv/lmdb_file.h"
#include "store/kv/lmdb_kv.h"

namespace modelfs::tools {
namespace {

// One spelling of a home, whether it is there yet or not: weakly_canonical alone leaves a relative path of
// which nothing exists as it is, and keeps a slash at the end.
std::string Absolute(std::string_view path) {
  std::error_code failure;
  std::filesystem::path whole = std::filesystem::absolute(std::string(path), failure);
  if (!failure) whole = std::filesystem::weakly_canonical(whole, failure);
  if (failure) return std::string(path);
  return whole.has_filename() ? whole.string() : whole.parent_path().string();
}

// The file is read again later, from wherever the process stands then.
Result<std::unique_ptr<store::HostIdentities>> OpenIdentities(const std::string& map,
                                                              std::shared_ptr<spdlog::logger> log) {
  store::HostIdentities::Options options;
  std::error_code failure;
  if (!map.empty()) options.map_file = std::filesystem::absolute(map, failure).string();
  options.log = std::move(log);
  return store::HostIdentities::Open(std::move(options));
}

std::string RegistryDirectory(const std::string& home) { return home + "/registry"; }
std::string DataPath(const std::string& home) { return RegistryDirectory(home) + "/data.mdb"; }

store::LmdbOptions LmdbOptionsFor(const std::string& home, const HomeOptions& options) {
  store::LmdbOptions lmdb;
  lmdb.directory = RegistryDirectory(home);
  lmdb.lock_wait = std::chrono::seconds(options.lock_wait_s);
  return lmdb;
}

// Whether a directory has anything in it that `is_wanted` is true of; false where it is not there.
template <typename Wanted>
bool AnyEntry(const std::filesystem::path& directory, Wanted is_wanted) {
  std::error_code failure;
  for (const auto& entry : std::filesystem::directory_iterator(directory, failure)) {
    if (is_wanted(entry.path())) return true;
  }
  return false;
}

constexpr const char* kHowOthersReachIt =
    "belongs to another user; other users of this host reach it through a mount that its user made with -o "
    "allow_other, or make one of their own with modelfs init";

// Its names are looked up from here on, whatever becomes of its own. Invalid, with errno, where there is
// none.
Fd HoldDirectory(int above, const std::string& path) {
  return Fd(::openat(above, path.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
}

// Nothing of another user's is used, nor of what others could have put there.
Status CheckOwner(const Fd& home, const std::string& path) {
  struct stat info = {};
  if (::fstat(home.get(), &info) != 0) return ErrnoError(errno, path);
  if (info.st_uid == ::geteuid()) return OkStatus();
  const std::string owner = store::UserLabel(info.st_uid);
  if (::geteuid() != 0) {
    return Error(Code::kPermissionDenied, fmt::format("{} (of {}) {}", path, owner, kHowOthersReachIt));
  }
  return Error(
      Code::kPermissionDenied,
      fmt::format("{0} belongs to {1}, and what root does there its owner could not use: run this as "
                  "that user (setpriv --reuid {2} --regid {3} --init-groups modelfs ...); of all "
                  "commands root runs modelfs mount on it, which goes on as that user",
                  path, owner, info.st_uid, info.st_gid));
}

// Refuses a part that is a symlink or belongs to another user. lost+found, which mkfs(8) makes, is not a
// part.
Status CheckPart(const Fd& directory, const std::string& path, const std::string& name) {
  struct stat info = {};
  if (::fstatat(directory.get(), name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0 || name == "lost+found")
    return OkStatus();  // gone meanwhile
  if (S_ISLNK(info.st_mode)) {
    return Error(
        Code::kFailedPrecondition,
        fmt::format("{0}/{1} is a symlink, and nothing of a registry is reached through one: put what it "
                    "leads to in its place; to have it on another disk, mount that one there "
                    "(mount --bind)",
                    path, Printable(name)));
  }
  // An open of a FIFO would wait for a process at its other end.
  if (!S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode)) {
    return Error(
        Code::kFailedPrecondition,
        fmt::format("{}/{} is neither a file nor a directory, and modelfs did not make it: remove it", path,
                    Printable(name)));
  }
  if (info.st_uid == ::geteuid()) return OkStatus();
  return Error(
      Code::kPermissionDenied,
      fmt::format("{0}/{1} belongs to {2} and not, as {0} does, to {3}; give it back, as root: {4}", path,
                  Printable(name), store::UserLabel(info.st_uid), store::UserLabel(::geteuid()),
                  ShellCommand({"chown", "-R", "--no-dereference", std::to_string(::geteuid())}, {path})));
}

Status CheckParts(const Fd& directory, const std::string& path) {
  struct stat info = {};
  if (!directory.valid() || ::fstat(directory.get(), &info) != 0) return ErrnoError(errno, path);
  if ((info.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
    return Error(
        Code::kFailedPrecondition,
        fmt::format("other users can write in {} and put what they like in the place of its files: {}", path,
                    ShellCommand({"chmod", "go-w"}, {path})));
  }
  ASSIGN_OR_RETURN(
      const std::vector<std::string> names,
      cas::ListDirectory(Fd(::openat(directory.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)), path));
  for (const std::string& name : names) RETURN_IF_ERROR(CheckPart(directory, path, name));
  return OkStatus();
}

// Whether somebody else than root can put another directory in the place of this one, for root to work in. In
// a sticky directory (/tmp) only owners rename and remove.
bool OthersMayReplace(const std::filesystem::path& path) {
  if (::geteuid() != 0) return false;
  for (std::filesystem::path above = path.parent_path();; above = above.parent_path()) {
    struct stat info = {};
    if (::stat(above.c_str(), &info) != 0 || info.st_uid != 0) return true;
    if ((info.st_mode & (S_IWGRP | S_IWOTH)) != 0 && (info.st_mode & S_ISVTX) == 0) return true;
    if (!above.has_relative_path()) return false;
  }
}

// Where the files of a home that is held open are reached. The path that holds whatever becomes of its name
// is not the one that people know, so it is taken only where it has to be.
std::string FilesOf(const Fd& held, const std::string& path) {
  return held.valid() && OthersMayReplace(path) ? fmt::format("/proc/self/fd/{}/.", held.get()) : path;
}

// Another user's home, as seen by root.
std::optional<struct stat> AnothersHome(const std::string& path) {
  const Fd home = HoldDirectory(AT_FDCWD, path);
  struct stat info = {};
  const bool anothers =
      ::geteuid() == 0 && home.valid() && ::fstat(home.get(), &info) == 0 && info.st_uid != 0;
  return anothers ? std::optional(info) : std::nullopt;
}

// Whether there are blobs or drafts: things of a registry's that only its data.mdb gives a name and a right
// to stay. Where that is gone, a new one would be told by the next sweep that nothing needs them.
bool HoldsContent(const std::string& home) {
  const auto any = [](const std::filesystem::path&) { return true; };
  return AnyEntry(home + "/objects", [&](const auto& folder) { return AnyEntry(folder, any); }) ||
         AnyEntry(home + "/drafts", any);
}

// Refuses a directory that holds other things: a registry fills its home with folders of its own. The remains
// of an interrupted init are fine, and so is the lost+found of mkfs(8).
Status CheckNewHome(const std::string& path) {
  std::error_code failure;
  // In this order: what another init makes has its data.mdb before it holds anything.
  const bool holds_content = HoldsContent(path);
  if (std::filesystem::exists(DataPath(path), failure)) return OkStatus();
  if (holds_content) return NoRegistry(path);
  if (std::filesystem::exists(RegistryDirectory(path), failure)) return OkStatus();
  for (const auto& entry : std::filesystem::directory_iterator(path, failure)) {
    if (entry.path().filename() == "lost+found") continue;
    return Error(Code::kFailedPrecondition,
                 fmt::format("{} is not empty; give init a new or empty directory", path));
  }
  return OkStatus();
}

// `path`, or of what it would be made in the innermost that is there. `path` is absolute.
std::string InnermostThere(std::filesystem::path path) {
  std::error_code failure;
  while (path.has_relative_path() && !std::filesystem::exists(path, failure)) path = path.parent_path();
  return path.string();
}

// Made, or made private if it is there: names and artifacts are their owner's alone.
Result<Fd> MakePrivateDirectory(const std::string& path) {
  std::error_code failure;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), failure);
  if (failure) return ErrnoError(failure.value(), fmt::format("{}: mkdir", path));
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) {
    return ErrnoError(errno, fmt::format("{}: mkdir", path));
  }
  Fd directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!directory.valid() && errno == ENOTDIR) {
    return Error(Code::kInvalidArgument, fmt::format("{} is not a directory", path));
  }
  if (!directory.valid()) return ErrnoError(errno, path);
  RETURN_IF_ERROR(CheckOwner(directory, path));
  if (::fchmod(directory.get(), 0700) != 0) return ErrnoError(errno, fmt::format("{}: chmod", path));
  return directory;
}

// As HoldHome has it, of a home that is held open.
Status CheckHeld(const Fd& held, const std::string& home) {
  struct stat info = {};
  if (::fstatat(held.get(), "registry", &info, AT_SYMLINK_NOFOLLOW) != 0 && errno == ENOENT)
    return OkStatus();
  RETURN_IF_ERROR(CheckOwner(held, home));
  RETURN_IF_ERROR(CheckParts(held, home));
  RETURN_IF_ERROR(CheckParts(HoldDirectory(held.get(), "registry"), RegistryDirectory(home)));
  if (::faccessat(held.get(), "registry", W_OK, 0) != 0 && errno == EROFS) {
    return Error(
        Code::kFailedPrecondition,
        fmt::format("{} lies on a file system that is read-only, and whoever only reads the registry "
                    "writes, too: who is reading, into registry/lock.mdb; make that file system "
                    "writable, or copy the registry to one that is",
                    home));
  }
  return OkStatus();
}

// A home to work in, which was checked; invalid where there is none.
Result<Fd> Hold(const std::string& home) {
  Fd held = HoldDirectory(AT_FDCWD, home);
  if (!held.valid() && errno == EACCES)
    return Error(Code::kPermissionDenied, fmt::format("{} {}", home, kHowOthersReachIt));
  if (held.valid()) RETURN_IF_ERROR(CheckHeld(held, home));
  return held;
}

// A failure is for the sweep to report, should it find none.
void MakeSweepsLock(const std::string& files) {
  const std::string path = files + std::string(kSweepsLock);
  const Fd made(::open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
}

}  // namespace

Error NoRegistry(const std::string& home) {
  std::error_code failure;
  if (HoldsContent(home)) {
    return Error(Code::kDataLoss,
                 fmt::format("{} is missing, but the artifacts it names are there; stop every process that "
                             "uses them and restore registry/data.mdb from a backup",
                             DataPath(home)));
  }
  if (std::filesystem::exists(home + "/objects", failure)) {
    return Error(Code::kDataLoss,
                 fmt::format("{0} is missing; restore registry/data.mdb from a backup, or, as {1} holds no "
                             "artifacts, begin anew: {2}",
                             DataPath(home), home, ShellCommand({"modelfs", "init"}, {home})));
  }
  return Error(Code::kNotFound, fmt::format("{} holds no registry; make one with: {}", home,
                                            ShellCommand({"modelfs", "init"}, {home})));
}

Result<std::string> HomePath(std::string_view option) {
  std::string_view given = option;
  if (given.empty()) {
    if (const char* environment = std::getenv("MODELFS_REGISTRY")) given = environment;
  }
  if (given.empty()) {
    return Error(Code::kInvalidArgument,
                 "no registry is named; give -r HOME (a directory that \"modelfs init\" made) or set "
                 "MODELFS_REGISTRY");
  }
  if (given.find("://") != std::string_view::npos) {
    return Error(Code::kUnimplemented,
                 fmt::format("{} is a URL; remote registries are not in this version: give a directory of "
                             "this host",
                             Printable(given)));
  }
  return Absolute(given);
}

Result<std::string> HomePath(std::string_view option, const std::vector<const Place*>& places) {
  std::string home;
  std::string said_by;
  if (!option.empty()) {
    ASSIGN_OR_RETURN(home, HomePath(option));
    said_by = "-r";
  }
  for (const Place* place : places) {
    if (place->home.empty()) continue;
    const std::string mounted = Absolute(place->home);
    if (home.empty()) {
      home = mounted;
      said_by = "a path";
    } else if (home != mounted) {
      return Error(Code::kInvalidArgument,
                   fmt::format("{} is in the registry {}, but {} says {}; name one registry only",
                               place->name.ToString(), mounted, said_by, home));
    }
  }
  if (home.empty()) return HomePath(option);
  return home;
}

Status BecomeOwnerOf(const std::string& home) {
  const std::optional<struct stat> info = AnothersHome(home);
  return info ? BecomeUser(info->st_uid, info->st_gid) : OkStatus();
}

bool WouldBecomeOwnerOf(const std::string& home) { return AnothersHome(home).has_value(); }

Status MakeHome(const std::string& path, store::RegistrySettings::SignaturePolicy signature,
                const HomeOptions& options) {
  // First of all: in a mount of modelfs each directory that is made is a catalog, schema or model of others.
  RETURN_IF_ERROR(store::CheckFileSystem(InnermostThere(path)));
  if (const Fd there = HoldDirectory(AT_FDCWD, path); there.valid()) RETURN_IF_ERROR(CheckOwner(there, path));
  RETURN_IF_ERROR(CheckNewHome(path));
  ASSIGN_OR_RETURN(const Fd held, MakePrivateDirectory(path));
  const std::string files = FilesOf(held, path);
  RETURN_IF_ERROR(MakePrivateDirectory(RegistryDirectory(files)));
  store::LmdbOptions lmdb = LmdbOptionsFor(files, options);
  lmdb.mode = store::LmdbOptions::Mode::kCreate;
  ASSIGN_OR_RETURN(const std::unique_ptr<store::Kv> kv, store::OpenLmdbKv(lmdb));
  ASSIGN_OR_RETURN(const auto identities, OpenIdentities(options.identity_map, nullptr));
  Result<store::RegistrySettings> settings =
      store::InitializeRegistry(*kv, SystemClock(), identities->ProcessCaller("cli"), signature);
  if (!settings.ok() && settings.error().code() == Code::kAlreadyExists) {
    return Error(Code::kAlreadyExists, fmt::format("{} is a registry already; nothing was changed", path));
  }
  RETURN_IF_ERROR(settings);
  cas::LocalStore::Options blobs;
  blobs.root = files;
  RETURN_IF_ERROR(cas::LocalStore::Open(cas::RealFiles(), blobs));
  MakeSweepsLock(files);
  return OkStatus();
}

Result<HeldHome> HoldHome(const std::string& path) {
  HeldHome held;
  held.path = path;
  ASSIGN_OR_RETURN(held.directory, Hold(path));
  held.files = FilesOf(held.directory, path);
  std::error_code failure;
  if (!std::filesystem::is_directory(RegistryDirectory(held.files), failure)) return NoRegistry(path);
  return held;
}

Result<std::unique_ptr<LocalHome>> OpenHome(const std::string& path, std::string door,
                                            std::shared_ptr<spdlog::logger> log, const HomeOptions& options) {
  ASSIGN_OR_RETURN(HeldHome held, HoldHome(path));
  return OpenHome(std::move(held), std::move(door), std::move(log), options);
}

Result<std::unique_ptr<LocalHome>> OpenHome(HeldHome held, std::string door,
                                            std::shared_ptr<spdlog::logger> log, const HomeOptions& options) {
  auto home = std::make_unique<LocalHome>();
  home->path = std::move(held.path);
  home->held = std::move(held.directory);
  home->files = std::move(held.files);
  home->log = std::move(log);
  ASSIGN_OR_RETURN(home->identities, OpenIdentities(options.identity_map, home->log));
  home->caller = home->identities->ProcessCaller(std::move(door));

  Result<std::unique_ptr<store::Kv>> kv = store::OpenLmdbKv(LmdbOptionsFor(home->files, options));
  if (!kv.ok() && kv.error().code() == Code::kNotFound) return NoRegistry(home->path);
  if (!kv.ok()) return std::move(kv).error();
  home->kv = std::move(*kv);

  cas::LocalStore::Options blobs;
  blobs.root = home->files;
  blobs.log = home->log;
  ASSIGN_OR_RETURN(home->local_blobs, cas::LocalStore::Open(cas::RealFiles(), blobs));
  MakeSweepsLock(home->files);
  store::EmbeddedRegistryOptions registry;
  registry.audit_directory = home->files + "/audit";
  registry.log = home->log;
  ASSIGN_OR_RETURN(home->embedded,
                   store::EmbeddedRegistry::Open(*home->kv, *home->local_blobs, SystemClock(),
                                                 home->identities.get(), std::move(registry)));
  home->registry = home->embedded.get();
  home->governance = home->embedded.get();
  home->journal = home->embedded.get();
  home->leases = home->embedded.get();
  home->blobs = home->local_blobs.get();
  RETURN_IF_ERROR(home->registry->Authenticate(home->caller));
  TendAuditLog(*home, store::EmbeddedRegistry::Tending::kOverdue);
  cas::DraftStore::Options drafts;
  drafts.root = home->files + "/drafts";
  drafts.blobs = home->local_blobs.get();
  ASSIGN_OR_RETURN(home->drafts, cas::DraftStore::Open(cas::RealFiles(), drafts));
  return home;
}

uint64_t TendAuditLog(LocalHome& home, store::EmbeddedRegistry::Tending when) {
  const store::Caller upkeep = home.embedded->ForUpkeep(home.caller);
  const Result<store::AuditRotation> rotation = home.embedded->TendAudit(upkeep, when);
  if (home.log != nullptr && !rotation.ok()) {
    home.log->warn("audit_not_rotated error=\"{}\"", rotation.error().message());
  } else if (home.log != nullptr && rotation->files > 0) {
    home.log->info("audit_rotated records={} files={}", rotation->records, rotation->files);
  }
  return rotation.ok() ? rotation->records : 0;
}

}  // namespace modelfs::tools
