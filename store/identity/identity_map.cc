#include "store/identity/identity_map.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <climits>
#include <deque>
#include <filesystem>
#include <iterator>
#include <limits>
#include <string_view>
#include <utility>

#include "cas/base/fd.h"
#include "cas/base/text.h"
#include "store/principal.h"

namespace modelfs::store {
namespace {

constexpr size_t kMostMapBytes = size_t{8} << 20U;
// (uid_t)-1 and (gid_t)-1 mean "leave it" to chown(2) and belong to no user or group.
constexpr uint64_t kLastId = std::numeric_limits<uid_t>::max() - uint64_t{1};

int64_t Nanoseconds(const timespec& time) { return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec; }

std::string_view Trim(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r";
  const size_t begin = text.find_first_not_of(kBlank);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlank) - begin + 1);
}

template <typename Id>
Status AddLine(IdentityMap::Side<Id>& side, std::string_view word, uint64_t id, std::string_view name,
               size_t line) {
  if (!side.names.emplace(static_cast<Id>(id), name).second) {
    return Error(Code::kInvalidArgument, fmt::format("{} {} is mapped on line {} already", word, id,
                                                     side.lines.at(static_cast<Id>(id))));
  }
  side.lines.emplace(static_cast<Id>(id), line);
  side.ids[FoldCase(name)].push_back(static_cast<Id>(id));
  return OkStatus();
}

std::optional<uint64_t> ParseId(std::string_view digits) {
  uint64_t id = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), id);
  const bool whole = !digits.empty() && error == std::errc() && end == digits.data() + digits.size();
  return whole && id <= kLastId ? std::optional(id) : std::nullopt;
}

Status AddRange(std::string_view first, std::string_view last, std::string_view name, size_t line,
                IdentityMap& map) {
  const std::optional<uint64_t> begin = ParseId(first);
  const std::optional<uint64_t> end = ParseId(last);
  if (!begin || !end || *begin > *end) {
    return Error(Code::kInvalidArgument,
                 fmt::format("{}-{} is not a range of uids (0 to {}, the lower one first); write `uid "
                             "100000-165535 = USER`",
                             Printable(first), Printable(last), kLastId));
  }
  if (*begin == 0) {
    return Error(Code::kInvalidArgument, "a range may not hold uid 0; root needs a line of its own");
  }
  const auto overlaps = [&](const auto& range) {
    return Error(Code::kInvalidArgument, fmt::format("uids {}-{} overlap with {}-{} on line {}", *begin, *end,
                                                     range.first, range.second.last, range.second.line));
  };
  const auto above = map.ranges.upper_bound(static_cast<uid_t>(*begin));
  if (above != map.ranges.end() && above->first <= *end) return overlaps(*above);
  if (above != map.ranges.begin() && std::prev(above)->second.last >= *begin)
    return overlaps(*std::prev(above));
  map.ranges.emplace(static_cast<uid_t>(*begin),
                     IdentityMap::Range{static_cast<uid_t>(*end), std::string(name), line});
  map.shared.emplace(FoldCase(name), name);
  return OkStatus();
}

Status AddDefault(std::string_view name, size_t line, IdentityMap& map) {
  if (map.others) {
    return Error(Code::kInvalidArgument,
                 fmt::format("every other uid is mapped on line {} already", map.others->line));
  }
  map.others = IdentityMap::Range{0, std::string(name), line};
  map.shared.emplace(FoldCase(name), name);
  return OkStatus();
}

Status ParseLine(std::string_view text, size_t number, IdentityMap& map) {
  constexpr std::string_view kHow =
      "write `uid NUMBER = USER`, `uid FIRST-LAST = USER`, `uid * = USER` or `gid NUMBER = GROUP`";
  const size_t equals = text.find('=');
  if (equals == std::string_view::npos)
    return Error(Code::kInvalidArgument, fmt::format("the '=' is missing; {}", kHow));
  const std::string_view left = Trim(text.substr(0, equals));
  const std::string_view name = Trim(text.substr(equals + 1));
  const std::string_view word = left.substr(0, left.find_first_of(" \t"));
  const std::string_view digits = Trim(left.substr(word.size()));
  if (word != "uid" && word != "gid") {
    return Error(Code::kInvalidArgument, fmt::format("{} is neither uid nor gid; {}", Printable(word), kHow));
  }
  const size_t dash = digits.find('-', 1);
  const bool several = digits == "*" || dash != std::string_view::npos;
  if (several && word == "gid") {
    return Error(Code::kInvalidArgument,
                 "ranges and the default are for uids only: each gid needs a line of its own");
  }
  if (several) {
    RETURN_IF_ERROR(CheckPrincipalName(name));
    if (dash == std::string_view::npos) return AddDefault(name, number, map);
    return AddRange(Trim(digits.substr(0, dash)), Trim(digits.substr(dash + 1)), name, number, map);
  }
  const std::optional<uint64_t> id = ParseId(digits);
  if (!id) {
    return Error(Code::kInvalidArgument,
                 fmt::format("{} is not a {} (0 to {}); {}", Printable(digits), word, kLastId, kHow));
  }
  RETURN_IF_ERROR(CheckPrincipalName(name));
  return word == "uid" ? AddLine(map.users, word, *id, name, number)
                       : AddLine(map.groups, word, *id, name, number);
}

Result<IdentityMap> ParseMap(const std::string& file, std::string_view text) {
  IdentityMap map;
  for (size_t number = 1; !text.empty(); ++number) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = Trim(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.empty() || line.front() == '#') continue;
    if (const Status parsed = ParseLine(line, number, map); !parsed.ok()) {
      return parsed.error().Wrap(fmt::format("{}:{}", file, number));
    }
  }
  return map;
}

bool IsTrusted(uid_t owner) { return owner == 0 || owner == ::geteuid(); }
bool OthersMayWrite(const struct stat& info) { return (info.st_mode & (S_IWGRP | S_IWOTH)) != 0; }

// A user that can write a directory on the way to the map can replace the map. So each directory is checked
// like the map, as sshd's StrictModes does. In a sticky one (/tmp) only owners rename and remove.
Status CheckDirectory(const Fd& directory, const std::string& path) {
  // stat(2) shows this number for an owner without a number in this user namespace, such as the owner of / in
  // a rootless container. No process is a user of that number.
  constexpr uid_t kUnmapped = 65'534;
  struct stat info = {};
  if (::fstat(directory.get(), &info) != 0) return ErrnoError(errno, path);
  const bool writable = OthersMayWrite(info) && (info.st_mode & S_ISVTX) == 0;
  if (!writable && (IsTrusted(info.st_uid) || info.st_uid == kUnmapped)) return OkStatus();
  return Error(Code::kPermissionDenied,
               fmt::format("only root and the mounting user may be able to write {} and replace the map: "
                           "chown it and chmod go-w, or keep the map elsewhere",
                           path));
}

// Puts the parts of `path` in front of the rest of the walk.
void Prepend(const std::filesystem::path& path, std::deque<std::string>& rest) {
  std::vector<std::string> names;
  for (const std::filesystem::path& name : path.relative_path()) {
    if (!name.empty() && name != ".") names.push_back(name.string());
  }
  rest.insert(rest.begin(), names.begin(), names.end());
}

// Opens the map along every directory and link that leads to it, as path_resolution(7) does. A link in
// between may belong to any user, and a path that was checked may lead elsewhere a moment later.
Result<Fd> OpenMapFile(const std::string& file) {
  constexpr int kMostLinks = 40;
  std::error_code error;
  std::filesystem::path at = "/";
  std::deque<std::string> rest;
  Prepend(std::filesystem::absolute(file, error), rest);
  Fd directory(::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (error || !directory.valid()) return ErrnoError(error ? error.value() : errno, file);
  RETURN_IF_ERROR(CheckDirectory(directory, at.string()));
  for (int links = 0; !rest.empty();) {
    const std::string name = rest.front();
    rest.pop_front();
    const std::string shown = (at / name).lexically_normal().string();
    struct stat info = {};
    if (::fstatat(directory.get(), name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0)
      return ErrnoError(errno, shown);
    if (S_ISLNK(info.st_mode)) {
      if (!IsTrusted(info.st_uid)) {
        return Error(Code::kPermissionDenied,
                     fmt::format("the link {} does not belong to root or the mounting user: name the "
                                 "file that it leads to",
                                 shown));
      }
      if (++links > kMostLinks) return ErrnoError(ELOOP, file);
      std::array<char, PATH_MAX> target{};
      const ssize_t length = ::readlinkat(directory.get(), name.c_str(), target.data(), target.size());
      if (length < 0) return ErrnoError(errno, shown);
      const std::filesystem::path leads_to(std::string(target.data(), static_cast<size_t>(length)));
      Prepend(leads_to, rest);
      if (!leads_to.is_absolute()) continue;
      directory = Fd(::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
      at = "/";
    } else if (rest.empty()) {
      // O_NONBLOCK: a FIFO or a device in this place must not make the caller wait for its other end.
      Fd map(
          ::openat(directory.get(), name.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY));
      if (!map.valid()) return ErrnoError(errno, shown);
      return map;
    } else {
      directory = Fd(::openat(directory.get(), name.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
      at = shown;
    }
    if (!directory.valid()) return ErrnoError(errno, shown);
    RETURN_IF_ERROR(CheckDirectory(directory, at.string()));
  }
  return ErrnoError(EISDIR, file);
}

}  // namespace

const std::string* IdentityMap::SharedNameOf(uid_t uid) const {
  if (uid == 0) return nullptr;
  const auto above = ranges.upper_bound(uid);
  if (above != ranges.begin() && std::prev(above)->second.last >= uid) return &std::prev(above)->second.name;
  return others ? &others->name : nullptr;
}

FileStamp StampOf(const struct stat& info) {
  return {info.st_dev, info.st_ino, info.st_size, Nanoseconds(info.st_mtim), Nanoseconds(info.st_ctim)};
}

Result<ReadIdentityMap> ReadIdentityMapFile(const std::string& file) {
  const Result<Fd> opened = OpenMapFile(file);
  if (!opened.ok()) return opened.error().Wrap(fmt::format("identity map {}", file));
  const Fd& fd = *opened;
  struct stat info = {};
  if (::fstat(fd.get(), &info) != 0) return ErrnoError(errno, fmt::format("identity map {}", file));
  if (!S_ISREG(info.st_mode)) {
    return Error(Code::kInvalidArgument, fmt::format("identity map {}: it is not a regular file", file));
  }
  if (OthersMayWrite(info) || !IsTrusted(info.st_uid)) {
    return Error(Code::kPermissionDenied,
                 fmt::format("identity map {}: it names the users, so only root and the mounting user may be "
                             "able to write it: chown it, and chmod go-w",
                             file));
  }
  std::string text;
  std::vector<char> buffer(size_t{64} << 10U);
  while (true) {
    const ssize_t count = ::read(fd.get(), buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return ErrnoError(errno, fmt::format("identity map {}", file));
    if (count == 0) break;
    text.append(buffer.data(), static_cast<size_t>(count));
    if (text.size() > kMostMapBytes) {
      return Error(Code::kInvalidArgument,
                   fmt::format("identity map {}: it is larger than {} bytes", file, kMostMapBytes));
    }
  }
  ReadIdentityMap read;
  ASSIGN_OR_RETURN(read.map, ParseMap(file, text));
  read.stamp = StampOf(info);
  return read;
}

}  // namespace modelfs::store
