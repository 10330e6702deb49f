#include "tools/mount_options.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "cas/base/text.h"

namespace modelfs::tools {
namespace {

// Ours is nosuid, nodev whatever these say; the rest is mount(8)'s or systemd's business.
constexpr std::array<std::string_view, 24> kPassedOver = {
    "rw",     "auto",  "noauto", "_netdev", "nofail",   "dev",        "nodev",    "suid",
    "nosuid", "exec",  "noexec", "user",    "nouser",   "users",      "owner",    "group",
    "sync",   "async", "atime",  "noatime", "relatime", "norelatime", "defaults", "nomand"};

constexpr std::string_view kIdentityMap = "identity_map=";

Status Apply(std::string_view word, fs::MountOptions& options, std::string& identity_map) {
  if (word == "allow_other") {
    options.allow_other = true;
  } else if (word == "ro") {
    options.read_only = true;
  } else if (word == "nopassthrough") {
    options.passthrough = false;
  } else if (word.starts_with(kIdentityMap)) {
    identity_map = word.substr(kIdentityMap.size());
    if (identity_map.empty()) {
      return Error(Code::kInvalidArgument,
                   "mount option identity_map names no file; write identity_map=FILE");
    }
  } else if (word.substr(0, 2) != "x-" && word.substr(0, 5) != "user=" && word.substr(0, 8) != "comment=" &&
             std::find(kPassedOver.begin(), kPassedOver.end(), word) == kPassedOver.end()) {
    return Error(Code::kInvalidArgument,
                 fmt::format("mount option \"{}\" is not known; there are ro, allow_other, nopassthrough and "
                             "identity_map=FILE",
                             Printable(word)));
  }
  return OkStatus();
}

}  // namespace

Status ApplyMountOptions(const std::vector<std::string>& arguments, fs::MountOptions& options,
                         std::string& identity_map) {
  for (const std::string& argument : arguments) {
    std::string_view rest = argument;
    while (!rest.empty()) {
      const size_t comma = rest.find(',');
      if (const std::string_view word = rest.substr(0, comma); !word.empty()) {
        RETURN_IF_ERROR(Apply(word, options, identity_map));
      }
      rest.remove_prefix(comma == std::string_view::npos ? rest.size() : comma + 1);
    }
  }
  return OkStatus();
}

}  // namespace modelfs::tools
