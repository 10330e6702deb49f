// Names as people type them: "c", "c.s", "c.s.m", "c.s.m/3", "c.s.m@Champion", each model form also with
// "models:/" in front, or a path under a mount of modelfs. What may stand in a name is decided by
// store/names.h; here is only which form it is.
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

// A mount of ours, as the kernel lists it.
using MountPoint = fs::MountEntry;

// The mounts with file system type fuse.modelfs, in the kernel's order.
Result<std::vector<MountPoint>> ReadMounts();

// Whether the kernel lets this process into a mount: it is shared, or this user's own.
bool IsOurs(const MountPoint& mount);

// The registry that a mount says it is of, for a command to open. Its user could say any, and have somebody
// else's command change what it does not mean, so only root and the user of this process are believed.
//   kPermissionDenied   the mount is another user's
Result<std::string> HomeOf(const MountPoint& mount);

struct Latest {};  // versions/latest: the newest READY version

// What a name means.
struct Place {
  store::FullName name;  // no parts: the registry itself, that is, a mount's root
  std::variant<std::monostate, store::VersionNumber, std::string, Latest> version;  // the string: an alias
  std::string inside;  // a path below the version's root; empty for the version itself
  std::string home;    // by path: the source of the mount it lies on; else empty

  bool HasVersion() const { return version.index() != 0; }
};

// A path and the mount that it lies on. `below` starts with '/' and has no ".", ".." or empty parts.
struct MountedPath {
  MountPoint mount;
  std::string below;
};

// By text alone, without asking the file system: an alias's symlink stays the alias. Nothing where
// `path` is on none of them.
std::optional<MountedPath> FindMount(const std::vector<MountPoint>& mounts, std::string_view path,
                                     std::string_view working_directory);

// The same for this process: tries `path` as written, then with its symlinks resolved.
//   kInvalidArgument   not under a mount of modelfs
Result<MountedPath> FindMount(std::string_view path);

// The place of a path below a mount's root: "/prod/ml/iris/versions/3/weights".
//   kInvalidArgument   a draft, or a path that stands for nothing in the registry
Result<Place> PlaceBelowMount(std::string_view below);

// Whether a path below a mount's root is a draft or in one: "/prod/ml/iris/versions/draft/weights".
bool IsInDraft(std::string_view below);

// Whether `text` is meant as a path rather than as a name: it starts with '/' or is or starts with a "." or
// ".." component.
bool IsPath(std::string_view text);

// Any of the forms.
Result<Place> ParsePlace(std::string_view text);
// The same; "metastore" is the registry itself, and so is "." outside of every mount.
Result<Place> ParsePlaceOrMetastore(std::string_view text);

// Whether `path` is `directory` or lies in it; both absolute, without symlinks and slashes at the end.
bool IsWithin(std::string_view path, std::string_view directory);

}  // namespace modelfs::tools
