#include "store/identity/host_identities.h"

#include <fmt/core.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "cas/base/text.h"
#include "cas/base/thread.h"
#include "store/identity/identity_map.h"

namespace modelfs::store {
namespace {

// The interval between checks of the mapping file's and the user database's stamps: well within kLifetimeMs.
constexpr int64_t kLookMs = 200;

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

}  // namespace

class HostIdentities::Impl {
 public:
  explicit Impl(Options options)
      : options_(std::move(options)),
        database_(options_.database != nullptr ? *options_.database : HostUserDatabase()),
        clock_(options_.clock != nullptr ? *options_.clock : SystemClock()),
        database_stamp_(database_.Stamp()) {}

  Status Load() {
    if (options_.map_file.empty()) return OkStatus();
    ASSIGN_OR_RETURN(ReadIdentityMap read, ReadIdentityMapFile(options_.map_file));
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
    std::optional<Result<ReadIdentityMap>> read;
    FileStamp now;
    if (!options_.map_file.empty()) {
      struct stat info = {};
      if (::stat(options_.map_file.c_str(), &info) == 0) now = StampOf(info);
      if (now != seen) read = ReadIdentityMapFile(options_.map_file);
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
