#include "tools/mount_options.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cstdlib>
#include <string>
#include <string_view>

#include "cas/base/text.h"

namespace modelfs::tools {
namespace {

using Options = fs::MountOptions;

// Options that set something. A later one overrides an earlier one, as in mount(8).
struct Word {
  std::string_view name;
  void (*apply)(Options& options);
};
constexpr std::array kWords = {
    Word{"allow_other", [](Options& options) { options.allow_other = true; }},
    Word{"nopassthrough", [](Options& options) { options.passthrough = false; }},
    Word{"ro", [](Options& options) { options.read_only = true; }},
    Word{"rw", [](Options& options) { options.read_only = false; }},
    Word{"noexec", [](Options& options) { options.no_exec = true; }},
    Word{"exec", [](Options& options) { options.no_exec = false; }},
    Word{"sync", [](Options& options) { options.synchronous = true; }},
    Word{"async", [](Options& options) { options.synchronous = false; }},
    Word{"noatime", [](Options& options) { options.no_atime = true; }},
    Word{"atime", [](Options& options) { options.no_atime = false; }},
    Word{"relatime", [](Options& options) { options.no_atime = false; }},
    Word{"norelatime", [](Options& options) { options.no_atime = false; }},
    // mount(8): these imply noexec, unless exec follows.
    Word{"user", [](Options& options) { options.no_exec = true; }},
    Word{"users", [](Options& options) { options.no_exec = true; }},
};

// Ignored options: the mount has their effect already (nosuid, nodev), or they are for mount(8) and systemd,
// which decide when to mount and for which users.
constexpr std::array<std::string_view, 11> kPassedOver = {"defaults", "nosuid", "nodev",   "nomand",
                                                          "auto",     "noauto", "_netdev", "nofail",
                                                          "nouser",   "owner",  "group"};

constexpr std::string_view kIdentityMap = "identity_map=";
constexpr std::string_view kLockWait = "lock_wait=";
constexpr std::string_view kScrubDays = "scrub_days=";

Status ApplyScrubDays(const std::string& days, fs::MountOptions& options) {
  constexpr double kMostDays = 3650;
  constexpr double kMillisecondsPerDay = 24.0 * 60 * 60 * 1000;
  char* end = nullptr;
  const double number = std::strtod(days.c_str(), &end);
  const bool whole = !days.empty() && std::isdigit(static_cast<unsigned char>(days[0])) != 0 && *end == '\0';
  if (!whole || !(number <= kMostDays) || (number > 0 && number * kMillisecondsPerDay < 1)) {
    return Error(Code::kInvalidArgument,
                 fmt::format("mount option scrub_days=\"{}\" is not a number of days; write scrub_days=7, "
                             "scrub_days=0.5, or scrub_days=0 for no scrub",
                             Printable(days)));
  }
  options.scrub_period_ms = static_cast<int64_t>(number * kMillisecondsPerDay);
  return OkStatus();
}

bool IsPassedOver(std::string_view word) {
  return word.starts_with("x-") || word.starts_with("user=") || word.starts_with("comment=") ||
         std::find(kPassedOver.begin(), kPassedOver.end(), word) != kPassedOver.end();
}

Status ApplyLockWait(std::string_view value, HomeOptions& home) {
  const auto [end, failure] = std::from_chars(value.data(), value.data() + value.size(), home.lock_wait_s);
  if (failure == std::errc() && end == value.data() + value.size() && home.lock_wait_s <= kMostLockWaitS)
    return OkStatus();
  return Error(Code::kInvalidArgument,
               fmt::format("mount option lock_wait is \"{}\"; write lock_wait=SECONDS, from 0 to {}",
                           Printable(value), kMostLockWaitS));
}

Status Apply(std::string_view word, Options& options, HomeOptions& home) {
  const auto known =
      std::find_if(kWords.begin(), kWords.end(), [&](const Word& each) { return each.name == word; });
  if (known != kWords.end()) {
    known->apply(options);
    return OkStatus();
  }
  if (word.starts_with(kIdentityMap)) {
    home.identity_map = word.substr(kIdentityMap.size());
    if (!home.identity_map.empty()) return OkStatus();
    return Error(Code::kInvalidArgument, "mount option identity_map names no file; write identity_map=FILE");
  }
  if (word.starts_with(kScrubDays)) {
    return ApplyScrubDays(std::string(word.substr(kScrubDays.size())), options);
  }
  if (word.starts_with(kLockWait)) return ApplyLockWait(word.substr(kLockWait.size()), home);
  if (word == "suid" || word == "dev") {
    return Error(
        Code::kInvalidArgument,
        fmt::format("mount option \"{0}\" is impossible: every mount of a registry is no{0}; leave it out",
                    word));
  }
  if (IsPassedOver(word)) return OkStatus();
  return Error(
      Code::kInvalidArgument,
      fmt::format("mount option \"{}\" is unknown; the options are ro, noexec, sync, noatime, allow_other, "
                  "nopassthrough, scrub_days=N, identity_map=FILE and lock_wait=SECONDS",
                  Printable(word)));
}

}  // namespace

Status ApplyMountOptions(const std::vector<std::string>& arguments, fs::MountOptions& options,
                         HomeOptions& home) {
  for (const std::string& argument : arguments) {
    std::string_view rest = argument;
    while (!rest.empty()) {
      const size_t comma = rest.find(',');
      if (const std::string_view word = rest.substr(0, comma); !word.empty()) {
        RETURN_IF_ERROR(Apply(word, options, home));
      }
      rest.remove_prefix(comma == std::string_view::npos ? rest.size() : comma + 1);
    }
  }
  return OkStatus();
}

}  // namespace modelfs::tools
