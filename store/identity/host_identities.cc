#include "store/identity/host_identities.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <grp.h>
#include <pwd.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <climits>
#include <deque>
#include <filesystem>
#include <fstream>
#include <limits>
#include <map>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "cas/base/fd.h"
#include "cas/base/text.h"
#include "cas/base/thread.h"

namespace modelfs::store {
namespace {

constexpr size_t kMostEntryBytes = size_t{1} << 20U;
constexpr size_t kMostMapBytes = size_t{8} << 20U;
constexpr int kMostGroups = 65'536;  // NGROUPS_MAX of Linux
// The interval between checks of the mapping file's and the user database's stamps: well within kLifetimeMs.
constexpr int64_t kLookMs = 200;
// (uid_t)-1 and (gid_t)-1 mean "leave it" to chown(2) and belong to no user or group.
constexpr uint64_t kLastId = std::numeric_limits<uid_t>::max() - uint64_t{1};

// Calls getpwnam_r(3) or a function like it with a buffer that is large enough. ERANGE asks for a larger one;
// every other failure means "no such entry" here.
template <typename Entry, typename Ask>
bool AskForEntry(Entry& entry, std::vector<char>& buffer, Ask ask) {
  Entry* found = nullptr;
  buffer.resize(1024);
  while (ask(&entry, buffer.data(), buffer.size(), &found) == ERANGE && buffer.size() < kMostEntryBytes) {
    buffer.resize(buffer.size() * 2);
  }
  return found != nullptr;
}

class NssDatabase : public UserDatabase {
 public:
  std::optional<User> UserOf(uid_t uid) override {
    return MakeUser([uid](passwd* entry, char* buffer, size_t size, passwd** found) {
      return ::getpwuid_r(uid, entry, buffer, size, found);
    });
  }
  std::optional<User> UserNamed(const std::string& name) override {
    return MakeUser([&name](passwd* entry, char* buffer, size_t size, passwd** found) {
      return ::getpwnam_r(name.c_str(), entry, buffer, size, found);
    });
  }
  std::optional<Group> GroupOf(gid_t gid) override {
    return MakeGroup([gid](group* entry, char* buffer, size_t size, group** found) {
      return ::getgrgid_r(gid, entry, buffer, size, found);
    });
  }
  std::optional<Group> GroupNamed(const std::string& name) override {
    return MakeGroup([&name](group* entry, char* buffer, size_t size, group** found) {
      return ::getgrnam_r(name.c_str(), entry, buffer, size, found);
    });
  }

  std::vector<gid_t> GroupsOf(const User& user) override {
    std::vector<gid_t> groups(32);
    while (true) {
      auto count = static_cast<int>(groups.size());
      if (::getgrouplist(user.name.c_str(), user.gid, groups.data(), &count) >= 0) {
        groups.resize(static_cast<size_t>(count));
        return groups;
      }
      if (groups.size() >= kMostGroups) return {user.gid};
      groups.resize(
          std::min<size_t>(kMostGroups, std::max<size_t>(groups.size() * 2, static_cast<size_t>(count))));
    }
  }

  std::vector<std::string> UserSpellings(const std::string& folded) override { return users_.Of(folded); }
  std::vector<std::string> GroupSpellings(const std::string& folded) override { return groups_.Of(folded); }

  uint64_t Stamp() override {
    uint64_t stamp = 0;
    for (const char* name : {kUsersFile, kGroupsFile}) stamp = Stir(stamp, name);
    return stamp;
  }

 private:
  static constexpr const char* kUsersFile = "/etc/passwd";
  static constexpr const char* kGroupsFile = "/etc/group";

  static uint64_t Stir(uint64_t stamp, const char* file) {
    struct stat info = {};
    if (::stat(file, &info) != 0) return stamp;
    for (const uint64_t word :
         {uint64_t{info.st_ino}, static_cast<uint64_t>(info.st_size),
          static_cast<uint64_t>(info.st_mtim.tv_sec), static_cast<uint64_t>(info.st_mtim.tv_nsec)}) {
      stamp = (stamp ^ word) * 0x100000001b3ULL;  // FNV-1a's prime: any change of a word changes the stamp
    }
    return stamp;
  }

  // The names at the beginnings of the lines of passwd(5) or group(5), by their folded form; read again when
  // the file changed.
  class Spellings {
   public:
    explicit Spellings(const char* file) : file_(file) {}

    std::vector<std::string> Of(const std::string& folded) {
      const uint64_t stamp = Stir(1, file_);
      MutexLock lock(mu_);
      if (stamp_ != stamp) Read(stamp);
      const auto [begin, end] = names_.equal_range(folded);
      std::vector<std::string> spellings;
      for (auto it = begin; it != end; ++it) spellings.push_back(it->second);
      return spellings;
    }

   private:
    void Read(uint64_t stamp) REQUIRES(mu_) {
      names_.clear();
      std::ifstream lines(file_);
      for (std::string line; std::getline(lines, line);) {
        const std::string name = line.substr(0, line.find(':'));
        std::string folded = FoldCase(name);
        // A name in lower case is looked up anyway.
        if (folded != name) names_.emplace(std::move(folded), name);
      }
      stamp_ = stamp;
    }

    const char* const file_;
    Mutex mu_;
    uint64_t stamp_ GUARDED_BY(mu_) = 0;
    std::multimap<std::string, std::string> names_ GUARDED_BY(mu_);
  };

  template <typename Ask>
  static std::optional<User> MakeUser(Ask ask) {
    passwd entry{};
    std::vector<char> buffer;
    if (!AskForEntry(entry, buffer, ask) || entry.pw_name == nullptr || *entry.pw_name == '\0')
      return std::nullopt;
    return User{.name = entry.pw_name, .uid = entry.pw_uid, .gid = entry.pw_gid};
  }
  template <typename Ask>
  static std::optional<Group> MakeGroup(Ask ask) {
    group entry{};
    std::vector<char> buffer;
    if (!AskForEntry(entry, buffer, ask) || entry.gr_name == nullptr || *entry.gr_name == '\0')
      return std::nullopt;
    return Group{.name = entry.gr_name, .gid = entry.gr_gid};
  }

  Spellings users_{kUsersFile};
  Spellings groups_{kGroupsFile};
};

// The time of a query.
struct Moment {
  int64_t ms = 0;
  uint64_t generation = 0;  // HostIdentities::Generation
};

// Recent answers by key; absence is an answer too. Thread-safe; queries without the lock.
template <typename Key, typename Value>
class Recent {
 public:
  explicit Recent(int64_t lifetime_ms = HostIdentities::kLifetimeMs) : lifetime_ms_(lifetime_ms) {}

  template <typename Ask>
  Value Get(const Key& key, const Moment& now, Ask ask) {
    {
      MutexLock lock(mu_);
      const auto found = answers_.find(key);
      if (found != answers_.end() && Holds(found->second.asked, now)) return found->second.value;
    }
    Value value = ask();
    MutexLock lock(mu_);
    // All entries are short-lived, so starting afresh costs no more than their expiry.
    if (answers_.size() >= HostIdentities::kMostCached && !answers_.contains(key)) answers_.clear();
    answers_[key] = Answer{value, now};
    return value;
  }

 private:
  struct Answer {
    Value value;
    Moment asked;  // when the query began
  };
  // A clock that was set back makes an answer look as if it came from the future.
  bool Holds(const Moment& asked, const Moment& now) const {
    return asked.generation == now.generation && now.ms >= asked.ms && now.ms - asked.ms < lifetime_ms_;
  }

  const int64_t lifetime_ms_;
  Mutex mu_;
  std::unordered_map<Key, Answer> answers_ GUARDED_BY(mu_);
};

// The content of a mapping file.
struct IdentityMap {
  template <typename Id>
  struct Side {
    std::map<Id, std::string> names;
    std::map<std::string, std::vector<Id>, std::less<>> ids;  // by folded name
    std::map<Id, size_t> lines;
  };
  struct Range {
    uid_t last = 0;
    std::string name;
    size_t line = 0;
  };
  Side<uid_t> users;
  Side<gid_t> groups;
  std::map<uid_t, Range> ranges;                           // of users, by the first uid; they do not overlap
  std::optional<Range> others;                             // every other user but root
  std::map<std::string, std::string, std::less<>> shared;  // names of ranges and others, by their folded form

  // The name of a uid that has no line of its own.
  const std::string* SharedNameOf(uid_t uid) const {
    if (uid == 0) return nullptr;
    const auto above = ranges.upper_bound(uid);
    if (above != ranges.begin() && std::prev(above)->second.last >= uid)
      return &std::prev(above)->second.name;
    return others ? &others->name : nullptr;
  }
};

// The identity of a file, from stat(2).
struct FileStamp {
  dev_t device = 0;
  ino_t inode = 0;
  off_t size = 0;
  int64_t modified_ns = 0;
  int64_t changed_ns = 0;
  friend bool operator==(const FileStamp&, const FileStamp&) = default;
};

int64_t Nanoseconds(const timespec& time) { return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec; }

FileStamp StampOf(const struct stat& info) {
  return {info.st_dev, info.st_ino, info.st_size, Nanoseconds(info.st_mtim), Nanoseconds(info.st_ctim)};
}

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

struct ReadMap {
  IdentityMap map;
  FileStamp stamp;
};

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

Result<ReadMap> ReadMapFile(const std::string& file) {
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
  ReadMap read;
  ASSIGN_OR_RETURN(read.map, ParseMap(file, text));
  read.stamp = StampOf(info);
  return read;
}

}  // namespace

UserDatabase& HostUserDatabase() {
  static NssDatabase database;
  return database;
}

class HostIdentities::Impl {
 public:
  explicit Impl(Options options)
      : options_(std::move(options)),
        database_(options_.database != nullptr ? *options_.database : HostUserDatabase()),
        clock_(options_.clock != nullptr ? *options_.clock : SystemClock()),
        database_stamp_(database_.Stamp()) {}

  Status Load() {
    if (options_.map_file.empty()) return OkStatus();
    ASSIGN_OR_RETURN(ReadMap read, ReadMapFile(options_.map_file));
    MutexLock lock(mu_);
    seen_ = read.stamp;
    map_ = std::make_shared<const IdentityMap>(std::move(read.map));
    return OkStatus();
  }

  Caller CallerOf(uid_t uid, gid_t gid) {
    const MapPtr map = Look();
    Caller caller;
    caller.uid = uid;
    std::optional<std::string> name = NameOf(map, uid);
    if (const std::string* shared = map != nullptr && !name ? map->SharedNameOf(uid) : nullptr) {
      name = *shared;
      caller.shared_name = true;
    }
    if (!name) {
      caller.principal = fmt::format("uid:{}", uid);
      return caller;
    }
    caller.principal = *name;
    std::vector<gid_t> gids = SupplementaryOf(uid);
    gids.push_back(gid);
    caller.groups = GroupNames(map, std::move(gids));
    return caller;
  }

  std::vector<uid_t> UidsOf(std::string_view user) {
    const MapPtr map = Look();
    const std::string folded = FoldCase(user);
    if (map != nullptr) {
      const auto found = map->users.ids.find(folded);
      return found == map->users.ids.end() ? std::vector<uid_t>() : found->second;
    }
    std::vector<uid_t> uids;
    for (const UserDatabase::User& found : UsersNamed(user)) uids.push_back(found.uid);
    return uids;
  }

  std::vector<gid_t> GidsOf(std::string_view group) {
    const MapPtr map = Look();
    const std::string folded = FoldCase(group);
    if (map != nullptr) {
      const auto found = map->groups.ids.find(folded);
      return found == map->groups.ids.end() ? std::vector<gid_t>() : found->second;
    }
    std::vector<gid_t> gids;
    for (const UserDatabase::Group& found : GroupsNamed(group)) gids.push_back(found.gid);
    return gids;
  }

  bool IsShared(std::string_view user) {
    const MapPtr map = Look();
    return map != nullptr && map->shared.contains(FoldCase(user));
  }

  std::vector<uid_t> UidsCalled(const std::vector<std::string>& names) {
    std::vector<uid_t> uids;
    if (Look() != nullptr) {  // a mapping file gives a uid one name
      for (const std::string& name : names) {
        const std::vector<uid_t> mapped = UidsOf(name);
        uids.insert(uids.end(), mapped.begin(), mapped.end());
      }
      return uids;
    }
    static_assert(kMostCached >= kMaxUsers + kMaxGroups, "all of a registry's names are kept at once");
    const Moment now = Now();
    for (const std::string& name : names) {
      if (!users_there_.Get(name, now, [&] { return !UsersNamed(name).empty(); })) continue;
      for (const UserDatabase::User& user : UsersNamed(name)) {
        const std::optional<std::string> called = NameOf(nullptr, user.uid);
        if (called && FoldCase(*called) == FoldCase(name)) uids.push_back(user.uid);
      }
    }
    return uids;
  }

  std::optional<Found> Find(std::string_view name) {
    const MapPtr map = Look();
    const std::string folded = FoldCase(name);
    if (map != nullptr) {
      if (const auto user = map->users.ids.find(folded); user != map->users.ids.end()) {
        return Found{map->users.names.at(user->second.front()), PrincipalKind::kUser};
      }
      if (const auto shared = map->shared.find(folded); shared != map->shared.end()) {
        return Found{shared->second, PrincipalKind::kUser};
      }
      if (const auto group = map->groups.ids.find(folded); group != map->groups.ids.end()) {
        return Found{map->groups.names.at(group->second.front()), PrincipalKind::kGroup};
      }
      return std::nullopt;
    }
    if (const auto users = UsersNamed(name); !users.empty()) {
      return Found{users.front().name, PrincipalKind::kUser};
    }
    if (const auto groups = GroupsNamed(name); !groups.empty()) {
      return Found{groups.front().name, PrincipalKind::kGroup};
    }
    return std::nullopt;
  }

  std::vector<std::string> GroupsOf(std::string_view user) {
    std::vector<gid_t> gids;
    for (const uid_t uid : UidsOf(user)) {
      for (const gid_t gid : SupplementaryOf(uid)) gids.push_back(gid);
    }
    return GroupNames(Look(), std::move(gids));
  }

  uint64_t Generation() {
    Look();
    MutexLock lock(mu_);
    return generation_;
  }

 private:
  using MapPtr = std::shared_ptr<const IdentityMap>;  // null: no mapping file was given

  // The mapping in force; checks now and then whether the file was changed.
  MapPtr Look() {
    const int64_t now_ms = clock_.NowMs();
    FileStamp seen;
    {
      MutexLock lock(mu_);
      if (now_ms >= looked_at_ms_ && now_ms - looked_at_ms_ < kLookMs) return map_;
      looked_at_ms_ = now_ms;
      seen = seen_;
    }
    const uint64_t stamp = database_.Stamp();
    std::optional<Result<ReadMap>> read;
    FileStamp now;
    if (!options_.map_file.empty()) {
      struct stat info = {};
      if (::stat(options_.map_file.c_str(), &info) == 0) now = StampOf(info);
      if (now != seen) read = ReadMapFile(options_.map_file);
    }
    std::string complaint;
    MapPtr map;
    {
      MutexLock lock(mu_);
      if (database_stamp_ != stamp) {
        database_stamp_ = stamp;
        ++generation_;
      }
      if (read && read->ok()) {
        seen_ = (*read)->stamp;
        map_ = std::make_shared<const IdentityMap>(std::move((*read)->map));
        ++generation_;
      } else if (read) {
        seen_ = now;  // logged once, and tried again when the file changes
        complaint = read->error().message();
      }
      map = map_;
    }
    if (!complaint.empty() && options_.log != nullptr) {
      options_.log->error("identity_map_not_reloaded file={} reason=\"{}\"", options_.map_file, complaint);
    }
    return map;
  }

  std::optional<std::string> NameOf(const MapPtr& map, uid_t uid) {
    if (map != nullptr) {
      const auto found = map->users.names.find(uid);
      if (found == map->users.names.end()) return std::nullopt;
      return found->second;
    }
    const std::optional<UserDatabase::User> user = UserOf(uid);
    // A name that no principal can have gives its user no name.
    if (!user || !CheckPrincipalName(user->name).ok()) return std::nullopt;
    return user->name;
  }

  std::vector<std::string> GroupNames(const MapPtr& map, std::vector<gid_t> gids) {
    std::sort(gids.begin(), gids.end());
    gids.erase(std::unique(gids.begin(), gids.end()), gids.end());
    std::vector<std::string> names;
    names.reserve(gids.size());
    for (const gid_t gid : gids) {
      if (map != nullptr) {
        if (const auto found = map->groups.names.find(gid); found != map->groups.names.end()) {
          names.push_back(found->second);
        }
      } else if (auto group = GroupOf(gid); group && CheckPrincipalName(group->name).ok()) {
        names.push_back(std::move(group->name));
      }
    }
    return names;
  }

  // The database's entries for these names, each once, in this order.
  template <typename Entry>
  static std::vector<Entry> AskForEach(const std::vector<std::string>& names,
                                       std::optional<Entry> (UserDatabase::*named)(const std::string&),
                                       UserDatabase& database) {
    std::vector<Entry> entries;
    for (const std::string& name : names) {
      std::optional<Entry> entry = (database.*named)(name);
      const auto same = [&](const Entry& other) { return other.name == entry->name; };
      // A directory service that compares without case finds the same entry for each spelling.
      if (entry && std::none_of(entries.begin(), entries.end(), same)) entries.push_back(*std::move(entry));
    }
    return entries;
  }
  static std::vector<std::string> Spellings(const std::string& name, const std::string& folded,
                                            const std::vector<std::string>& of_the_host) {
    std::vector<std::string> names{name};
    if (folded != name) names.push_back(folded);
    for (const std::string& each : of_the_host) {
      if (each != name && each != folded) names.push_back(each);
    }
    return names;
  }

  Moment Now() {
    Moment now{.ms = clock_.NowMs()};
    MutexLock lock(mu_);
    now.generation = generation_;
    return now;
  }

  // The user database's own answers, cached for kLifetimeMs.
  std::optional<UserDatabase::User> UserOf(uid_t uid) {
    return users_.Get(uid, Now(), [&] { return database_.UserOf(uid); });
  }
  std::optional<UserDatabase::Group> GroupOf(gid_t gid) {
    return groups_.Get(gid, Now(), [&] { return database_.GroupOf(gid); });
  }
  std::vector<UserDatabase::User> UsersNamed(std::string_view spelled) {
    const std::string name(spelled);
    return users_by_name_.Get(name, Now(), [&] {
      const std::string folded = FoldCase(name);
      return AskForEach<UserDatabase::User>(Spellings(name, folded, database_.UserSpellings(folded)),
                                            &UserDatabase::UserNamed, database_);
    });
  }
  std::vector<UserDatabase::Group> GroupsNamed(std::string_view spelled) {
    const std::string name(spelled);
    return groups_by_name_.Get(name, Now(), [&] {
      const std::string folded = FoldCase(name);
      return AskForEach<UserDatabase::Group>(Spellings(name, folded, database_.GroupSpellings(folded)),
                                             &UserDatabase::GroupNamed, database_);
    });
  }
  // The groups of the user that the database has for a uid, whatever its name; empty if it has none.
  std::vector<gid_t> SupplementaryOf(uid_t uid) {
    return memberships_.Get(uid, Now(), [&] {
      const std::optional<UserDatabase::User> user = database_.UserOf(uid);
      return user ? database_.GroupsOf(*user) : std::vector<gid_t>();
    });
  }

  const Options options_;
  UserDatabase& database_;
  const Clock& clock_;

  Mutex mu_;
  MapPtr map_ GUARDED_BY(mu_);
  FileStamp seen_ GUARDED_BY(mu_);  // of the file that was read, or could not be
  int64_t looked_at_ms_ GUARDED_BY(mu_) = 0;
  uint64_t database_stamp_ GUARDED_BY(mu_);
  uint64_t generation_ GUARDED_BY(mu_) = 1;

  Recent<uid_t, std::optional<UserDatabase::User>> users_;
  Recent<gid_t, std::optional<UserDatabase::Group>> groups_;
  Recent<std::string, std::vector<UserDatabase::User>> users_by_name_;
  Recent<std::string, std::vector<UserDatabase::Group>> groups_by_name_;
  Recent<uid_t, std::vector<gid_t>> memberships_;
  Recent<std::string, bool> users_there_{kAbsenceMs};  // whether a user of that name existed
};

HostIdentities::HostIdentities(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
HostIdentities::~HostIdentities() = default;

Result<std::unique_ptr<HostIdentities>> HostIdentities::Open(Options options) {
  auto impl = std::make_unique<Impl>(std::move(options));
  RETURN_IF_ERROR(impl->Load());
  return std::unique_ptr<HostIdentities>(new HostIdentities(std::move(impl)));
}

Caller HostIdentities::CallerOf(uid_t uid, gid_t gid) { return impl_->CallerOf(uid, gid); }

Caller HostIdentities::ProcessCaller(std::string door) {
  Caller caller = CallerOf(::getuid(), ::getgid());
  caller.proof = Proof::kProcess;
  caller.door = std::move(door);
  return caller;
}

std::vector<uid_t> HostIdentities::UidsOf(std::string_view user) { return impl_->UidsOf(user); }
std::vector<gid_t> HostIdentities::GidsOf(std::string_view group) { return impl_->GidsOf(group); }
bool HostIdentities::IsShared(std::string_view user) { return impl_->IsShared(user); }
std::vector<uid_t> HostIdentities::UidsCalled(const std::vector<std::string>& names) {
  return impl_->UidsCalled(names);
}
uint64_t HostIdentities::Generation() { return impl_->Generation(); }
std::optional<PrincipalDirectory::Found> HostIdentities::Find(std::string_view name) {
  return impl_->Find(name);
}
std::vector<std::string> HostIdentities::GroupsOf(std::string_view user) { return impl_->GroupsOf(user); }

}  // namespace modelfs::store
