// Names as people type them: "c", "c.s", "c.s.m", "c.s.m/3", "c.s.m@Champion", each model form also with
// "models:/" in front, or a path under a modelfs mount. store/names.h decides which names are valid; this
// file only decides which form a text has.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "cas/base/result.h"
#include "fs/kernel/mount_point.h"
#include "store/names.h"

namespace modelfs::tools {

// A modelfs mount, as the kernel lists it.
using MountPoint = fs::MountEntry;

// The mounts with file system type fuse.modelfs, in the kernel's order.
Result<std::vector<MountPoint>> ReadMounts();

// Whether the kernel lets this process use a mount: the mount is shared, or belongs to this user.
bool IsOurs(const MountPoint& mount);

// The registry that a mount names as its source, for a command to open. The mount's user could name any
// registry and so make another user's command change the wrong one. Therefore only mounts of root and of this
// process's user are trusted.
//   kPermissionDenied   the mount belongs to another user
Result<std::string> HomeOf(const MountPoint& mount);

struct Latest {};  // versions/latest: the newest READY version

// The meaning of a name.
struct Place {
  store::FullName name;  // no parts: the registry itself, that is, a mount's root
  std::variant<std::monostate, store::VersionNumber, std::string, Latest> version;  // the string: an alias
  std::string inside;  // a path below the version's root; empty for the version itself
  std::string home;    // for a path: the source of its mount; else empty

  bool HasVersion() const { return version.index() != 0; }
};

// A path and the mount that it lies on. `below` starts with '/' and has no ".", ".." or empty parts.
struct MountedPath {
  MountPoint mount;
  std::string below;
};

// Looks at the text alone, not at the file system, so that an alias's symlink stays the alias. nullopt if
// `path` is on none of the mounts.
std::optional<MountedPath> FindMount(const std::vector<MountPoint>& mounts, std::string_view path,
                                     std::string_view working_directory);

// The same for the mounts of this host: tries `path` as written, then with its symlinks resolved.
//   kInvalidArgument   not under a modelfs mount
Result<MountedPath> FindMount(std::string_view path);

// The place of a path below a mount's root: "/prod/ml/iris/versions/3/weights".
//   kInvalidArgument   a draft, or a path that names no object of the registry
Result<Place> PlaceBelowMount(std::string_view below);

// Whether a path below a mount's root is a draft or in one: "/prod/ml/iris/versions/draft/weights".
bool IsInDraft(std::string_view below);

// Whether `text` is a path rather than a name: it starts with '/', or its first component is "." or "..".
bool IsPath(std::string_view text);

// Parses any of the forms.
Result<Place> ParsePlace(std::string_view text);
// The same, but "metastore" is the registry itself, and so is "." outside every mount.
Result<Place> ParsePlaceOrMetastore(std::string_view text);

// Whether `path` is `directory` or lies in it. Both are absolute, without symlinks or trailing slashes.
bool IsWithin(std::string_view path, std::string_view directory);

}  // namespace modelfs::tools
