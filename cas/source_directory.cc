#include "cas/source_directory.h"

#include <fcntl.h>
#include <fmt/core.h>

#include <cerrno>
#include <cstdlib>
#include <memory>
#include <optional>

#include "cas/base/text.h"
#include "cas/store_core.h"

namespace modelfs::cas {
namespace {

struct FreeString {
  void operator()(char* text) const { std::free(text); }  // NOLINT: realpath(3) allocates so
};

// The path with every symlink followed, or nothing (and errno) where it leads nowhere.
std::optional<std::string> RealPath(const std::string& path) {
  const std::unique_ptr<char, FreeString> resolved(::realpath(path.c_str(), nullptr));
  if (resolved == nullptr) return std::nullopt;
  return std::string(resolved.get());
}

}  // namespace

bool NameHasChanged(int errno_value) {
  return errno_value == ENOENT || errno_value == ENOTDIR || errno_value == ELOOP || errno_value == ENXIO;
}

Result<SourceDirectory> SourceDirectory::Open(const std::string& path) {
  const std::optional<std::string> real = RealPath(path);
  if (!real.has_value()) return ErrnoError(errno, path);
  Fd directory(::open(real->c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
  if (directory.valid()) return SourceDirectory(*real, std::move(directory));
  if (errno == ENOTDIR) return Error(Code::kInvalidArgument, path + ": is not a directory");
  return ErrnoError(errno, path);
}

Result<std::vector<std::string>> SourceDirectory::List(std::string_view relative) const {
  ASSIGN_OR_RETURN(Fd directory, OpenBelow(relative, O_RDONLY | O_DIRECTORY));
  return ListDirectory(std::move(directory), Shown(relative));
}

Result<FileInfo> SourceDirectory::Stat(std::string_view relative) const {
  ASSIGN_OR_RETURN(const Fd file, OpenBelow(relative, O_PATH));
  return InfoOf(file.get(), Shown(relative));
}

Result<std::string> SourceDirectory::Follow(std::string_view relative) const {
  const std::optional<std::string> target = RealPath(Whole(relative));
  if (!target.has_value()) {
    return Error(Code::kInvalidArgument, "is a symlink that leads nowhere; remove it or restore its target");
  }
  if (*target == path_) return std::string();
  const std::string within = Whole("");
  if (!target->starts_with(within)) {
    return Error(
        Code::kInvalidArgument,
        fmt::format("is a symlink to {}, outside the directory; replace it by a copy", Printable(*target)));
  }
  return target->substr(within.size());
}

Result<Fd> SourceDirectory::OpenRead(std::string_view relative) const {
  return OpenBelow(relative, O_RDONLY | O_NONBLOCK | O_NOCTTY);
}

std::string SourceDirectory::Shown(std::string_view relative) const {
  return relative.empty() ? path_ : Whole(relative);
}

std::string SourceDirectory::Whole(std::string_view relative) const {
  return fmt::format("{}/{}", path_ == "/" ? "" : path_, relative);
}

// openat2(2) does it in one call, but Linux before 5.6 has none, and sandboxes refuse it: both ways would
// have to be right. What a file costs is not these few calls.
Result<Fd> SourceDirectory::OpenBelow(std::string_view relative, int flags) const {
  Fd folder;
  for (std::string_view rest = relative.empty() ? "." : relative;;) {
    const size_t slash = rest.find('/');
    const bool last = slash == std::string_view::npos;
    const std::string name(rest.substr(0, slash));
    // O_PATH needs no more than the right to pass through.
    Fd next(::openat(folder.valid() ? folder.get() : directory_.get(), name.c_str(),
                     (last ? flags : O_PATH | O_DIRECTORY) | O_NOFOLLOW | O_CLOEXEC));
    if (!next.valid() && NameHasChanged(errno)) {
      return Error(Code::kAborted,
                   Shown(relative) + ": changed while it was read; try again when nobody writes to it");
    }
    if (!next.valid()) return ErrnoError(errno, "open " + Shown(relative));
    if (last) return next;
    folder = std::move(next);
    rest.remove_prefix(slash + 1);
  }
}

}  // namespace modelfs::cas
