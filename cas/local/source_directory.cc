#include "cas/local/source_directory.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <deque>
#include <memory>
#include <optional>

#include "cas/base/check.h"
#include "cas/base/codec.h"
#include "cas/base/text.h"
#include "cas/local/blob_directory.h"
#include "cas/tree.h"

namespace modelfs::cas {
namespace {

struct FreeString {
  void operator()(char* text) const { std::free(text); }  // NOLINT: realpath(3) allocates so
};

// The path with every symlink followed. Returns nothing, and sets errno, if it leads nowhere.
std::optional<std::string> RealPath(const std::string& path) {
  const std::unique_ptr<char, FreeString> resolved(::realpath(path.c_str(), nullptr));
  if (resolved == nullptr) return std::nullopt;
  return std::string(resolved.get());
}

// In a cache of the Hugging Face Hub, links below …/snapshots/<commit> name their blobs in …/blobs.
constexpr std::string_view kHubSnapshots = "snapshots";
constexpr std::string_view kUp = "../";
constexpr std::string_view kHubBlobs = "blobs/";

// The mode bits of others; shifted to the left, they are the bits of the group and of the owner.
constexpr mode_t kMayRead = S_IROTH;
constexpr mode_t kMayPass = S_IXOTH;
constexpr unsigned kOwnersBits = 6;
constexpr unsigned kGroupsBits = 3;

// Whether the modes give this user access: as the owner, or else both as group and as others. Ignores ACLs.
bool Allows(const struct stat& info, uid_t user, mode_t bits) {
  const mode_t wanted = info.st_uid == user ? bits << kOwnersBits : bits | bits << kGroupsBits;
  return user == 0 || (info.st_mode & wanted) == wanted;
}

bool Allow(const struct stat& info, const std::vector<uid_t>& users, mode_t bits) {
  return std::all_of(users.begin(), users.end(), [&](uid_t user) { return Allows(info, user, bits); });
}

std::string_view Name(std::string_view path) { return path.substr(path.rfind('/') + 1); }

Error NotTheReaders(const std::string& path) {
  return {
      Code::kPermissionDenied,
      fmt::format("{}: a symlink leads there, but the link's owner may not read it by its mode, so it is not "
                  "stored in that user's name: remove the link, or replace it by a copy",
                  Printable(path))};
}

}  // namespace

bool NameHasChanged(int errno_value) {
  return errno_value == ENOENT || errno_value == ENOTDIR || errno_value == ELOOP || errno_value == ENXIO;
}

Result<SourceDirectory> SourceDirectory::Open(const std::string& path) {
  const std::optional<std::string> real = RealPath(path);
  if (!real.has_value()) return ErrnoError(errno, path);
  SourceDirectory source;
  Fd directory(::open(real->c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
  if (!directory.valid() && errno == ENOTDIR) {
    return Error(Code::kInvalidArgument, path + ": is not a directory");
  }
  if (!directory.valid()) return ErrnoError(errno, path);
  if (Name(real->substr(0, real->rfind('/'))) == kHubSnapshots) {
    Fd blobs(::openat(directory.get(), "../../blobs", O_PATH | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
    source.has_hub_blobs_ = blobs.valid();
    source.roots_.push_back({.path = *real + "/../../blobs", .directory = std::move(blobs), .readers = {}});
  }
  source.roots_.insert(source.roots_.begin(),
                       Root{.path = *real, .directory = std::move(directory), .readers = {}});
  return source;
}

Result<std::vector<std::string>> SourceDirectory::List(std::string_view relative) const {
  ASSIGN_OR_RETURN(Fd directory, OpenBelow(relative, O_RDONLY | O_DIRECTORY));
  return ListDirectory(std::move(directory), Shown(relative));
}

Result<FileInfo> SourceDirectory::Stat(std::string_view relative) const {
  ASSIGN_OR_RETURN(const Fd file, OpenBelow(relative, O_PATH));
  return InfoOf(file.get(), Shown(relative));
}

Result<std::string> SourceDirectory::Follow(std::string_view relative, LinksOut links_out) {
  if (relative.starts_with('/')) return FollowOut(relative);
  ASSIGN_OR_RETURN(const std::string text, RealFiles().ReadLink(Shown(relative)));
  if (const std::optional<std::string> blob = HubBlob(relative, text); blob.has_value()) {
    ASSIGN_OR_RETURN(const FileInfo info, Stat(*blob));
    if (S_ISREG(info.mode)) return *blob;
    return Error(Code::kInvalidArgument,
                 fmt::format("is a symlink to {}, which is not a regular file", Printable(text)));
  }
  const std::optional<std::string> target = RealPath(Shown(relative));
  if (!target.has_value()) {
    return Error(Code::kInvalidArgument, "is a symlink that leads nowhere; remove it or restore its target");
  }
  const std::string& path = roots_.front().path;
  if (*target == path) return std::string();
  const std::string within = path == "/" ? path : path + "/";
  if (target->starts_with(within)) return target->substr(within.size());
  if (links_out == LinksOut::kFollow) return FollowOut(relative);
  return Error(
      Code::kInvalidArgument,
      fmt::format("is a symlink to {}, outside the directory; replace it by a copy, or register with "
                  "--dereference",
                  Printable(*target)));
}

std::optional<std::string> SourceDirectory::HubBlob(std::string_view relative, std::string_view text) const {
  if (!has_hub_blobs_) return std::nullopt;
  // Strips one ../ for each level between the link's folder and the directory that holds snapshots and blobs.
  for (auto ups = 2 + std::count(relative.begin(), relative.end(), '/'); ups > 0; --ups) {
    if (!text.starts_with(kUp)) return std::nullopt;
    text.remove_prefix(kUp.size());
  }
  if (!text.starts_with(kHubBlobs)) return std::nullopt;
  text.remove_prefix(kHubBlobs.size());
  if (text.empty() || text == "." || text == ".." || text.find('/') != std::string_view::npos) {
    return std::nullopt;
  }
  return fmt::format("/1/{}", text);
}

// A walk along a path through links, by descriptors.
class SourceDirectory::Outwards {
 public:
  // `readers`: the owners of links, without ourselves.
  Outwards(Fd from, std::string path, std::vector<uid_t> readers)
      : at_(std::move(from)), path_(std::move(path)), readers_(std::move(readers)) {}

  // Follows the link `name` in the current directory. Afterwards the current directory is the target and
  // `name` is empty, or the current directory holds the target file `name`.
  Status Follow(std::string& name) {
    std::deque<std::string> left = {name};
    name.clear();
    while (!left.empty()) {
      const std::string component = std::move(left.front());
      left.pop_front();
      if (component.empty() || component == ".") continue;
      if (!name.empty()) return Nowhere();  // a file is on the way
      Fd next(::openat(at_.get(), component.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
      if (!next.valid() && (errno == ENOENT || errno == ENOTDIR)) return Nowhere();
      if (!next.valid()) return ErrnoError(errno, "open " + path_ + "/" + component);
      struct stat here {};
      struct stat info {};
      if (::fstat(at_.get(), &here) != 0 || ::fstat(next.get(), &info) != 0) return ErrnoError(errno, path_);
      if (!Allow(here, readers_, kMayPass)) return NotTheReaders(path_);
      if (S_ISLNK(info.st_mode)) {
        RETURN_IF_ERROR(Enter(next, info, left));
      } else if (S_ISDIR(info.st_mode)) {
        at_ = std::move(next);
        path_ += "/" + component;
      } else {
        name = component;
      }
    }
    return OkStatus();
  }

  Root Take() {
    return {.path = std::move(path_), .directory = std::move(at_), .readers = std::move(readers_)};
  }

 private:
  Error Nowhere() const {
    return {Code::kInvalidArgument, "is a symlink that leads nowhere; remove it or restore its target"};
  }

  // Puts the components of a link's text before the components that are left.
  Status Enter(const Fd& link, const struct stat& info, std::deque<std::string>& left) {
    if (++followed_ > kMostLinksFollowed) {
      return Error(Code::kInvalidArgument,
                   fmt::format("is a symlink that leads in a circle, or over more than {} others",
                               kMostLinksFollowed));
    }
    if (info.st_uid != ::geteuid()) readers_.push_back(info.st_uid);
    std::array<char, PATH_MAX> text{};
    const ssize_t count = ::readlinkat(link.get(), "", text.data(), text.size());
    if (count < 0) return ErrnoError(errno, "readlink " + path_);
    std::string_view rest(text.data(), static_cast<size_t>(count));
    if (rest.starts_with('/')) {
      at_ = Fd(::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
      if (!at_.valid()) return ErrnoError(errno, "open /");
      path_.clear();
    }
    std::vector<std::string> components;
    while (!rest.empty()) {
      const size_t slash = rest.find('/');
      components.emplace_back(rest.substr(0, slash));
      rest.remove_prefix(slash == std::string_view::npos ? rest.size() : slash + 1);
    }
    left.insert(left.begin(), components.begin(), components.end());
    return OkStatus();
  }

  Fd at_;
  std::string path_;
  std::vector<uid_t> readers_;
  int followed_ = 0;
};

Result<std::string> SourceDirectory::FollowOut(std::string_view relative) {
  const Place place = At(relative);
  const size_t slash = relative.rfind('/');
  const bool in_root = place.relative.find('/') == std::string::npos;
  std::string name(Name(place.relative));
  ASSIGN_OR_RETURN(Fd folder,
                   OpenBelow(in_root && !relative.starts_with('/') ? "" : relative.substr(0, slash),
                             O_PATH | O_DIRECTORY));
  std::string path = Shown(relative);
  path.resize(path.rfind('/'));
  Outwards outwards(std::move(folder), std::move(path), place.root->readers);
  RETURN_IF_ERROR(outwards.Follow(name));
  return Added(outwards.Take(), name);
}

std::string SourceDirectory::Added(Root root, std::string_view relative) {
  roots_.push_back(std::move(root));
  return fmt::format("/{}{}{}", roots_.size() - 1, relative.empty() ? "" : "/", relative);
}

SourceDirectory::Place SourceDirectory::At(std::string_view relative) const {
  if (!relative.starts_with('/')) return {.root = &roots_.front(), .relative = std::string(relative)};
  relative.remove_prefix(1);
  const size_t slash = std::min(relative.find('/'), relative.size());
  const std::optional<uint64_t> number = ParseDecimal(relative.substr(0, slash));
  CHECK(number.has_value() && *number < roots_.size());
  relative.remove_prefix(std::min(slash + 1, relative.size()));
  return {.root = &roots_[*number], .relative = std::string(relative)};
}

Result<Fd> SourceDirectory::OpenRead(std::string_view relative) const {
  return OpenBelow(relative, O_RDONLY | O_NONBLOCK | O_NOCTTY);
}

std::string SourceDirectory::Shown(std::string_view relative) const {
  const Place place = At(relative);
  if (place.relative.empty()) return place.root->path.empty() ? "/" : place.root->path;
  return fmt::format("{}/{}", place.root->path == "/" ? "" : place.root->path, place.relative);
}

// openat2(2) would do this in one call, but Linux before 5.6 does not have it, and sandboxes refuse it. Then
// both ways would have to be right. These few calls are a small part of a file's cost.
Result<Fd> SourceDirectory::OpenBelow(std::string_view relative, int flags) const {
  const Place place = At(relative);
  const std::vector<uid_t>& readers = place.root->readers;
  const auto allowed = [&](const Fd& fd, mode_t bits) -> Status {
    if (readers.empty()) return OkStatus();
    struct stat info {};
    if (::fstat(fd.get(), &info) != 0) return ErrnoError(errno, Shown(relative));
    return Allow(info, readers, bits) ? OkStatus() : Status(NotTheReaders(Shown(relative)));
  };
  Fd folder;
  for (std::string_view rest = place.relative.empty() ? "." : std::string_view(place.relative);;) {
    const size_t slash = rest.find('/');
    const bool last = slash == std::string_view::npos;
    const std::string name(rest.substr(0, slash));
    const Fd& at = folder.valid() ? folder : place.root->directory;
    RETURN_IF_ERROR(allowed(at, kMayPass));
    // O_PATH needs only the right to pass through the directory.
    Fd next(::openat(at.get(), name.c_str(), (last ? flags : O_PATH | O_DIRECTORY) | O_NOFOLLOW | O_CLOEXEC));
    if (!next.valid() && NameHasChanged(errno)) {
      return Error(Code::kAborted,
                   Shown(relative) + ": changed while it was read; try again when nobody writes to it");
    }
    if (!next.valid()) return ErrnoError(errno, "open " + Shown(relative));
    if (last) {
      if ((flags & O_PATH) == 0) RETURN_IF_ERROR(allowed(next, kMayRead));
      return next;
    }
    folder = std::move(next);
    rest.remove_prefix(slash + 1);
  }
}

}  // namespace modelfs::cas
