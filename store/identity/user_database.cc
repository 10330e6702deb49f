#include "store/identity/user_database.h"

#include <grp.h>
#include <pwd.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <map>
#include <utility>

#include "cas/base/text.h"
#include "cas/base/thread.h"

namespace modelfs::store {
namespace {

constexpr size_t kMostEntryBytes = size_t{1} << 20U;
constexpr int kMostGroups = 65'536;  // NGROUPS_MAX of Linux

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

}  // namespace

UserDatabase& HostUserDatabase() {
  static NssDatabase database;
  return database;
}

}  // namespace modelfs::store
