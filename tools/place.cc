#include "tools/place.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "cas/base/text.h"
#include "store/identity/user_label.h"

namespace modelfs::tools {
namespace {

std::vector<std::string_view> Split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (true) {
    const size_t at = text.find(separator);
    parts.push_back(text.substr(0, at));
    if (at == std::string_view::npos) return parts;
    text.remove_prefix(at + 1);
  }
}

// The absolute form of `path`; "." and ".." are resolved as text.
std::string Normalized(std::string_view path, std::string_view working_directory) {
  std::vector<std::string_view> parts;
  const auto walk = [&parts](std::string_view text) {
    for (const std::string_view part : Split(text, '/')) {
      if (part == "..") {
        if (!parts.empty()) parts.pop_back();
      } else if (!part.empty() && part != ".") {
        parts.push_back(part);
      }
    }
  };
  if (path.substr(0, 1) != "/") walk(working_directory);
  walk(path);
  std::string out;
  for (const std::string_view part : parts) out += fmt::format("/{}", part);
  return out.empty() ? "/" : out;
}

Error NotMounted(std::string_view path) {
  return Error(
      Code::kInvalidArgument,
      fmt::format("{} is not under a mount of modelfs; name it as catalog.schema.model, or mount the "
                  "registry first: modelfs mount HOME MNT",
                  Printable(path)));
}

}  // namespace

Result<std::vector<MountPoint>> ReadMounts() {
  ASSIGN_OR_RETURN(std::vector<MountPoint> mounts, fs::ReadMountInfo());
  std::erase_if(mounts, [](const MountPoint& mount) { return mount.type != fs::kMountType; });
  return mounts;
}

bool IsOurs(const MountPoint& mount) { return mount.shared || mount.user == ::geteuid(); }

Result<std::string> HomeOf(const MountPoint& mount) {
  if (mount.user == 0 || mount.user == ::geteuid()) return mount.source;
  return Error(
      Code::kPermissionDenied,
      fmt::format("{} is a mount of {}, and only that user's commands may open its registry: use the files "
                  "in the mount, or name a registry of your own with -r HOME and its objects as "
                  "catalog.schema.model",
                  Printable(mount.path), store::UserLabel(mount.user)));
}

std::optional<MountedPath> FindMount(const std::vector<MountPoint>& mounts, std::string_view path,
                                     std::string_view working_directory) {
  const std::string whole = Normalized(path, working_directory);
  std::optional<MountedPath> best;
  for (const MountPoint& mount : mounts) {
    const std::string_view root = mount.path == "/" ? std::string_view() : std::string_view(mount.path);
    if (whole.compare(0, root.size(), root) != 0) continue;
    if (whole.size() > root.size() && whole[root.size()] != '/') continue;
    if (best && best->mount.path.size() > mount.path.size()) continue;
    const std::string below = whole.substr(root.size());
    best = MountedPath{mount, below.empty() ? "/" : below};
  }
  return best;
}

Result<MountedPath> FindMount(std::string_view path) {
  ASSIGN_OR_RETURN(const std::vector<MountPoint> mounts, ReadMounts());
  if (mounts.empty()) return NotMounted(path);  // also avoids a walk into file systems that may hang
  std::error_code failure;
  const std::string working_directory = std::filesystem::current_path(failure).string();
  if (std::optional<MountedPath> found = FindMount(mounts, path, working_directory)) return *found;
  const std::string resolved = std::filesystem::weakly_canonical(std::string(path), failure).string();
  if (!failure) {
    if (std::optional<MountedPath> found = FindMount(mounts, resolved, working_directory)) return *found;
  }
  return NotMounted(path);
}

Result<Place> PlaceBelowMount(std::string_view below) {
  Place place;
  std::vector<std::string_view> parts = Split(below.substr(std::min<size_t>(1, below.size())), '/');
  if (parts.size() == 1 && parts[0].empty()) return place;
  const auto refuse = [&](std::string_view why) {
    return Error(Code::kInvalidArgument, fmt::format("{} {}", Printable(below), why));
  };
  if (parts[0] == ".modelfs") return refuse("belongs to the mount itself and is not a catalog");

  // <schema>/<model>@<Alias> is the alias as a directory.
  std::string model_leaf;
  size_t rest = 3;
  if (parts.size() >= 3) {
    const size_t at = parts[2].find('@');
    model_leaf = parts[2].substr(0, at);
    if (at != std::string_view::npos) {
      const std::string_view alias = parts[2].substr(at + 1);
      RETURN_IF_ERROR(store::CheckAliasName(alias));
      place.version = std::string(alias);
    }
  }
  for (size_t i = 0; i < std::min<size_t>(3, parts.size()); ++i) {
    const std::string_view part = i == 2 ? std::string_view(model_leaf) : parts[i];
    RETURN_IF_ERROR(store::CheckObjectName(part));
    place.name.parts.emplace_back(part);
  }
  if (!place.HasVersion() && parts.size() >= 4) {
    const std::string_view folder = parts[3];
    if (folder != "versions" && folder != "aliases") {
      return refuse("is neither in the model's versions/ nor in its aliases/");
    }
    if (parts.size() >= 5) {
      if (folder == "aliases") {
        RETURN_IF_ERROR(store::CheckAliasName(parts[4]));
        place.version = std::string(parts[4]);
      } else if (parts[4] == "latest") {
        place.version = Latest{};
      } else if (const std::optional<store::VersionNumber> number = store::ParseVersionNumber(parts[4])) {
        place.version = *number;
      } else {
        return refuse("is a draft, not a version; commit it first: modelfs commit PATH");
      }
    }
    rest = 5;
  }
  for (size_t i = rest; i < parts.size(); ++i) {
    place.inside += fmt::format("{}{}", place.inside.empty() ? "" : "/", parts[i]);
  }
  return place;
}

bool IsInDraft(std::string_view below) {
  const std::vector<std::string_view> parts = Split(below, '/');  // the first is empty
  return parts.size() >= 6 && parts[3].find('@') == std::string_view::npos && parts[4] == "versions" &&
         parts[5] != "latest" && !store::ParseVersionNumber(parts[5]);
}

bool IsPath(std::string_view text) {
  if (text.substr(0, 1) == "/") return true;
  const std::string_view first = text.substr(0, text.find('/'));
  return first == "." || first == "..";
}

Result<Place> ParsePlace(std::string_view text) {
  const auto by_path = [&text]() -> Result<Place> {
    ASSIGN_OR_RETURN(const MountedPath found, FindMount(text));
    ASSIGN_OR_RETURN(Place place, PlaceBelowMount(found.below));
    ASSIGN_OR_RETURN(place.home, HomeOf(found.mount));
    return place;
  };
  if (IsPath(text)) return by_path();

  const bool model_form =
      text.substr(0, 8) == "models:/" || text.find_first_of("/@") != std::string_view::npos;
  if (!model_form) {
    Result<store::FullName> name = store::FullName::Parse(text);
    if (name.ok()) return Place{std::move(*name), {}, {}, {}};
    // In a directory of a mount, "iris" could be either. The name wins; "./iris" is the path.
    return std::move(name).error();
  }
  Result<store::ModelSpec> spec = store::ModelSpec::Parse(text);
  if (spec.ok()) {
    Place place;
    place.name = std::move(spec->model);
    if (const auto* number = std::get_if<store::VersionNumber>(&spec->version)) place.version = *number;
    if (const auto* alias = std::get_if<std::string>(&spec->version)) place.version = *alias;
    return place;
  }
  // "iris/versions/3", typed inside a mount.
  if (text.substr(0, 8) != "models:/" && text.find('/') != std::string_view::npos) {
    Result<Place> place = by_path();
    if (place.ok()) return place;
  }
  return std::move(spec).error();
}

Result<Place> ParsePlaceOrMetastore(std::string_view text) {
  if (text == "metastore" || (text == "." && !FindMount(text).ok())) return Place();
  return ParsePlace(text);
}

bool IsWithin(std::string_view path, std::string_view directory) {
  if (directory == "/") return true;
  return path.substr(0, directory.size()) == directory &&
         (path.size() == directory.size() || path[directory.size()] == '/');
}

}  // namespace modelfs::tools
