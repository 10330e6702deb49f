#include "store/identity/host_identities.h"

#include <gtest/gtest.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <thread>
#include <utility>
#include <vector>

#include "cas/base/check.h"
#include "cas/base/text.h"

namespace modelfs::store {
namespace {

class FakeClock : public Clock {
 public:
  int64_t NowMs() const override { return now_ms; }
  int64_t SinceBootMs() const override { return NowMs(); }
  int64_t now_ms = 1'000'000;
};

class FakeDatabase : public UserDatabase {
 public:
  void AddUser(std::string name, uid_t uid, gid_t gid) { users_.push_back({std::move(name), uid, gid}); }
  void AddGroup(std::string name, gid_t gid) { groups_.push_back({std::move(name), gid}); }
  void Join(const std::string& user, gid_t gid) { members_[user].push_back(gid); }
  void RemoveUsers() { users_.clear(); }

  std::optional<User> UserOf(uid_t uid) override {
    ++asked;
    for (const User& user : users_) {
      if (user.uid == uid) return user;
    }
    return std::nullopt;
  }
  std::optional<User> UserNamed(const std::string& name) override {
    ++asked;
    for (const User& user : users_) {
      if (user.name == name) return user;
    }
    return std::nullopt;
  }
  std::optional<Group> GroupOf(gid_t gid) override {
    for (const Group& group : groups_) {
      if (group.gid == gid) return group;
    }
    return std::nullopt;
  }
  std::optional<Group> GroupNamed(const std::string& name) override {
    for (const Group& group : groups_) {
      if (group.name == name) return group;
    }
    return std::nullopt;
  }
  std::vector<gid_t> GroupsOf(const User& user) override {
    std::vector<gid_t> gids = {user.gid};
    for (const gid_t gid : members_[user.name]) gids.push_back(gid);
    return gids;
  }
  std::vector<std::string> UserSpellings(const std::string& folded) override {
    return SpelledLike(folded, users_);
  }
  std::vector<std::string> GroupSpellings(const std::string& folded) override {
    return SpelledLike(folded, groups_);
  }
  uint64_t Stamp() override { return stamp; }

  int asked = 0;
  uint64_t stamp = 1;

 private:
  template <typename Entry>
  static std::vector<std::string> SpelledLike(const std::string& folded, const std::vector<Entry>& entries) {
    std::vector<std::string> names;
    for (const Entry& entry : entries) {
      if (FoldCase(entry.name) == folded) names.push_back(entry.name);
    }
    return names;
  }

  std::vector<User> users_;
  std::vector<Group> groups_;
  std::map<std::string, std::vector<gid_t>> members_;
};

class Host {
 public:
  Host() {
    CHECK(::mkdtemp(directory_.data()) != nullptr);
    database.AddUser("ann", 1000, 100);
    database.AddUser("Bob", 1001, 1001);
    database.AddGroup("staff", 100);
    database.AddGroup("data-science", 200);
    database.AddGroup("bob", 1001);
    database.Join("ann", 200);
  }
  ~Host() { std::filesystem::remove_all(directory_); }

  const std::string& directory() const { return directory_; }
  std::string map_file() const { return directory_ + "/identities"; }
  // By a rename, as an editor does it, so that even a file of the same size is another file.
  void WriteMap(const std::string& text) const {
    std::ofstream(map_file() + ".new") << text;
    std::filesystem::rename(map_file() + ".new", map_file());
  }
  Result<std::unique_ptr<HostIdentities>> Open(bool mapped) {
    return OpenMap(mapped ? map_file() : std::string());
  }
  Result<std::unique_ptr<HostIdentities>> OpenMap(std::string file) {
    return HostIdentities::Open(
        {.map_file = std::move(file), .database = &database, .clock = &clock, .log = nullptr});
  }
  std::unique_ptr<HostIdentities> MustOpen(bool mapped) {
    auto opened = Open(mapped);
    CHECK(opened.ok());
    return *std::move(opened);
  }

  FakeDatabase database;
  FakeClock clock;

 private:
  std::string directory_ = (std::filesystem::temp_directory_path() / "modelfs-identities-XXXXXX").string();
};

using Names = std::vector<std::string>;

TEST(HostIdentities, NamesAUserAndItsGroups) {
  Host host;
  const auto identities = host.MustOpen(false);
  const Caller ann = identities->CallerOf(1000, 100);
  EXPECT_EQ(ann.principal, "ann");
  EXPECT_EQ(ann.uid, 1000U);
  EXPECT_EQ(ann.groups, (Names{"staff", "data-science"}));
  EXPECT_FALSE(ann.IsUpkeep());
}

TEST(HostIdentities, CountsTheGroupThatTheProcessRunsAs) {
  Host host;
  const auto identities = host.MustOpen(false);
  EXPECT_EQ(identities->CallerOf(1001, 1001).groups, Names{"bob"});
  EXPECT_EQ(identities->CallerOf(1001, 200).groups, (Names{"data-science", "bob"}));
  EXPECT_EQ(identities->CallerOf(1001, 4711).groups, Names{"bob"}) << "a group without a name is left out";
}

TEST(HostIdentities, AnUnmappedUidHasNoNameAndNoGroups) {
  Host host;
  const auto identities = host.MustOpen(false);
  const Caller nobody = identities->CallerOf(4711, 100);
  EXPECT_EQ(nobody.principal, "uid:4711");
  EXPECT_TRUE(IsNobody(nobody.principal));
  EXPECT_TRUE(nobody.groups.empty());
}

TEST(HostIdentities, ANameThatNoPrincipalCanHaveGivesNoPrincipal) {
  Host host;
  const std::string invisible = "\xe2\x80\x8b";  // a space of no width
  host.database.AddUser("ann" + invisible, 1003, 100);
  host.database.AddGroup("staff" + invisible, 300);
  host.database.Join("ann", 300);
  const auto identities = host.MustOpen(false);
  EXPECT_EQ(identities->CallerOf(1003, 100).principal, "uid:1003");
  EXPECT_EQ(identities->CallerOf(1000, 100).groups, (Names{"staff", "data-science"}));
}

TEST(HostIdentities, FindsNamesInAnyCaseAndUsersBeforeGroups) {
  Host host;
  const auto identities = host.MustOpen(false);
  const auto ann = identities->Find("ANN");
  ASSERT_TRUE(ann.has_value());
  EXPECT_EQ(ann->name, "ann");
  EXPECT_EQ(ann->kind, PrincipalKind::kUser);
  EXPECT_EQ(identities->Find("staff")->kind, PrincipalKind::kGroup);
  EXPECT_EQ(identities->Find("Bob")->kind, PrincipalKind::kUser);
  EXPECT_EQ(identities->Find("bob")->kind, PrincipalKind::kUser) << "the user Bob, before the group bob";
  EXPECT_FALSE(identities->Find("eve").has_value());
  EXPECT_EQ(identities->UidsOf("ann"), std::vector<uid_t>{1000});
  EXPECT_EQ(identities->GidsOf("DATA-SCIENCE"), std::vector<gid_t>{200});
  EXPECT_TRUE(identities->UidsOf("eve").empty());
  EXPECT_EQ(identities->GroupsOf("ann"), (Names{"staff", "data-science"}));
  EXPECT_TRUE(identities->GroupsOf("eve").empty());
}

TEST(HostIdentities, CachesAnswersForASecond) {
  Host host;
  const auto identities = host.MustOpen(false);
  EXPECT_EQ(identities->CallerOf(1000, 100).principal, "ann");
  EXPECT_EQ(identities->CallerOf(4711, 1).principal, "uid:4711");
  const int asked = host.database.asked;
  host.database.Join("ann", 1001);
  host.database.AddUser("eve", 4711, 1);
  host.clock.now_ms += HostIdentities::kLifetimeMs - 1;
  EXPECT_EQ(identities->CallerOf(1000, 100).groups, (Names{"staff", "data-science"}));
  EXPECT_EQ(identities->CallerOf(4711, 1).principal, "uid:4711");
  EXPECT_EQ(host.database.asked, asked);
  host.clock.now_ms += 1;
  EXPECT_EQ(identities->CallerOf(1000, 100).groups, (Names{"staff", "data-science", "bob"}));
  EXPECT_EQ(identities->CallerOf(4711, 1).principal, "eve");
}

TEST(HostIdentities, AClockThatIsSetBackProlongsNoAnswer) {
  Host host;
  const auto identities = host.MustOpen(false);
  EXPECT_EQ(identities->CallerOf(1000, 100).principal, "ann");
  host.database.RemoveUsers();
  host.clock.now_ms -= 3'600'000;
  EXPECT_EQ(identities->CallerOf(1000, 100).principal, "uid:1000");
}

TEST(HostIdentities, WithAMappingFileOnlyMappedNamesExist) {
  Host host;
  host.WriteMap("# people\n\n  uid 1000 = ann@x.org\r\nuid 1002=Zoë\ngid 200 = data science\n");
  const auto identities = host.MustOpen(true);
  EXPECT_EQ(identities->CallerOf(1000, 100).principal, "ann@x.org");
  EXPECT_EQ(identities->CallerOf(1000, 100).groups, Names{"data science"})
      << "by the user database: ann is in 200";
  EXPECT_EQ(identities->CallerOf(1002, 200).groups, Names{"data science"}) << "by the request's own group";
  EXPECT_TRUE(identities->CallerOf(1002, 100).groups.empty());
  EXPECT_EQ(identities->CallerOf(1001, 1001).principal, "uid:1001");
  EXPECT_EQ(identities->UidsOf("ANN@X.ORG"), std::vector<uid_t>{1000});
  EXPECT_TRUE(identities->UidsOf("ann").empty());
  EXPECT_EQ(identities->Find("zoË")->name, "Zoë");
  EXPECT_FALSE(identities->Find("staff").has_value());
  EXPECT_EQ(identities->GroupsOf("ann@x.org"), Names{"data science"});
}

TEST(HostIdentities, OnePersonMayHaveSeveralNumbers) {
  Host host;
  host.WriteMap("uid 1000 = ann\nuid 2000 = Ann\ngid 1 = g\ngid 2 = g\n");
  const auto identities = host.MustOpen(true);
  EXPECT_EQ(identities->UidsOf("ann"), (std::vector<uid_t>{1000, 2000}));
  EXPECT_EQ(identities->GidsOf("g"), (std::vector<gid_t>{1, 2}));
}

TEST(HostIdentities, ARangeNamesItsUidsAndTheDefaultNamesAllOthers) {
  Host host;
  host.WriteMap(
      "uid * = guests\nuid 100000-165535 = batch\nuid 100007 = ann\nuid 200000 - 200000 = solo\n"
      "gid 100 = staff\n");
  const auto identities = host.Open(true).value();
  const struct {
    uid_t uid;
    const char* principal;
    bool shared;
  } kRows[] = {{99'999, "guests", true}, {100'000, "batch", true},        {100'006, "batch", true},
               {100'007, "ann", false},  {165'535, "batch", true},        {165'536, "guests", true},
               {200'000, "solo", true},  {200'001, "guests", true},       {1, "guests", true},
               {0, "uid:0", false},      {4'294'967'294U, "guests", true}};
  for (const auto& row : kRows) {
    const Caller caller = identities->CallerOf(row.uid, 100);
    EXPECT_EQ(caller.principal, row.principal) << row.uid;
    EXPECT_EQ(caller.shared_name, row.shared) << row.uid;
    EXPECT_EQ(caller.groups, row.uid == 0 ? std::vector<std::string>() : std::vector<std::string>{"staff"});
  }
  for (const char* name : {"batch", "BATCH", "solo", "guests"}) {
    EXPECT_TRUE(identities->IsShared(name)) << name;
    EXPECT_TRUE(identities->UidsOf(name).empty()) << name;
    EXPECT_EQ(identities->Find(name)->kind, PrincipalKind::kUser) << name;
  }
  EXPECT_FALSE(identities->IsShared("ann"));
  EXPECT_EQ(identities->UidsOf("ann"), std::vector<uid_t>{100'007});
  EXPECT_FALSE(host.Open(false).value()->IsShared("batch"));
}

TEST(HostIdentities, ABadRangeIsReportedWithItsLineAndTheRangeItOverlaps) {
  Host host;
  const struct {
    const char* map;
    const char* says;
  } kRows[] = {
      {"uid 10-20 = a\nuid 20-30 = b\n", ":2: uids 20-30 overlap with 10-20 on line 1"},
      {"uid 10-20 = a\nuid 5-10 = b\n", ":2: uids 5-10 overlap with 10-20 on line 1"},
      {"uid 10-20 = a\n\nuid 12-13 = b\n", ":3: uids 12-13 overlap with 10-20 on line 1"},
      {"uid 12-13 = a\nuid 10-20 = a\n", ":2: uids 10-20 overlap with 12-13 on line 1"},
      {"uid * = a\nuid * = b\n", ":2: every other uid is mapped on line 1 already"},
      {"uid 0-10 = a\n", ":1: a range may not hold uid 0; root needs a line of its own"},
      {"uid 20-10 = a\n", ":1: 20-10 is not a range of uids"},
      {"uid 10- = a\n", ":1: 10- is not a range of uids"},
      {"uid 1-4294967295 = a\n", ":1: 1-4294967295 is not a range of uids"},
      {"uid -5 = a\n", ":1: -5 is not a uid"},
      {"gid 1-2 = a\n", ":1: ranges and the default are for uids only"},
      {"gid * = a\n", ":1: ranges and the default are for uids only"},
      {"uid 1-2 = \n", ":1: principal \"\""},
  };
  for (const auto& row : kRows) {
    host.WriteMap(row.map);
    const auto opened = host.Open(true);
    ASSERT_FALSE(opened.ok()) << row.map;
    EXPECT_EQ(opened.error().code(), Code::kInvalidArgument) << row.map;
    EXPECT_NE(opened.error().message().find(row.says), std::string::npos) << opened.error().message();
  }
  host.WriteMap("uid 10-20 = a\nuid 21-30 = b\nuid 15 = c\nuid 1-9 = d\n");
  EXPECT_TRUE(host.Open(true).ok());
}

TEST(HostIdentities, ABadLineIsReportedWithItsFile) {
  const struct {
    const char* text;
    const char* line;
    const char* says;
  } kRows[] = {
      {"uid 1000 ann\n", ":1:", "the '=' is missing"},
      {"# fine\nuser 1000 = ann\n", ":2:", "neither uid nor gid"},
      {"uid = ann\n", ":1:", "is not a uid"},
      {"uid -1 = ann\n", ":1:", "is not a uid"},
      {"uid 1000x = ann\n", ":1:", "is not a uid"},
      {"gid 4294967295 = all\n", ":1:", "is not a gid"},
      {"uid 1000 =\n", ":1:", "cannot be empty"},
      {"uid 1000 = uid:1000\n", ":1:", "uid:"},
      {"uid 1000 = ann\n\nuid 1000 = bob\n", ":3:", "on line 1 already"},
  };
  for (const auto& row : kRows) {
    SCOPED_TRACE(row.text);
    Host host;
    host.WriteMap(row.text);
    const auto opened = host.Open(true);
    ASSERT_FALSE(opened.ok());
    EXPECT_EQ(opened.error().code(), Code::kInvalidArgument);
    EXPECT_NE(opened.error().message().find(host.map_file() + row.line), std::string::npos)
        << opened.error().message();
    EXPECT_NE(opened.error().message().find(row.says), std::string::npos) << opened.error().message();
  }
}

TEST(HostIdentities, AMappingFileThatOthersCanWriteIsRefused) {
  Host host;
  host.WriteMap("uid 1000 = ann\n");
  std::filesystem::permissions(host.map_file(), std::filesystem::perms::others_write,
                               std::filesystem::perm_options::add);
  const auto opened = host.Open(true);
  ASSERT_FALSE(opened.ok());
  EXPECT_EQ(opened.error().code(), Code::kPermissionDenied);

  // The file's owner may write it, too; only root can give one away for the test.
  if (::geteuid() != 0) return;
  host.WriteMap("uid 1000 = ann\n");
  std::filesystem::permissions(host.map_file(), std::filesystem::perms::owner_read);
  EXPECT_TRUE(host.Open(true).ok());
  ASSERT_EQ(::chown(host.map_file().c_str(), 60001, 60001), 0);
  const auto of_another = host.Open(true);
  ASSERT_FALSE(of_another.ok());
  EXPECT_EQ(of_another.error().code(), Code::kPermissionDenied);
}

// A user that may write the directory can replace the map: as sshd's StrictModes checks.
TEST(HostIdentities, AMappingFileInADirectoryThatOthersCanWriteIsRefused) {
  Host host;
  const std::string above = host.directory() + "/above";
  const std::string inside = above + "/inside";
  std::filesystem::create_directories(inside);
  const std::string file = inside + "/map";
  std::ofstream(file) << "uid 1000 = ann\n";
  const std::string link = inside + "/link";
  std::filesystem::create_symlink(host.map_file(), link);
  host.WriteMap("uid 1000 = ann\n");
  struct Row {
    std::string directory;
    mode_t mode;
    uid_t owner;
    bool good;
  };
  const uid_t self = ::geteuid();
  constexpr uid_t kAnother = 60001;
  for (const Row& row : {Row{inside, 0755, self, true}, Row{inside, 0775, self, false},
                         Row{inside, 0757, self, false}, Row{inside, 01777, self, true},
                         Row{inside, 0755, kAnother, false}, Row{inside, 01777, kAnother, false},
                         Row{above, 0777, self, false}, Row{above, 0755, kAnother, false}}) {
    if (row.owner != self && self != 0) continue;  // only root can give one away for the test
    SCOPED_TRACE(row.directory + " " + std::to_string(row.mode) + " " + std::to_string(row.owner));
    ASSERT_EQ(::chown(row.directory.c_str(), row.owner, static_cast<gid_t>(-1)), 0);
    ASSERT_EQ(::chmod(row.directory.c_str(), row.mode), 0);
    // A link's own directory counts like that of the file that it leads to.
    for (const std::string& named : {file, link}) {
      const auto opened = host.OpenMap(named);
      EXPECT_EQ(opened.ok(), row.good) << named;
      if (opened.ok()) continue;
      EXPECT_EQ(opened.error().code(), Code::kPermissionDenied);
      EXPECT_NE(opened.error().message().find(row.directory), std::string::npos) << opened.error().message();
    }
    ASSERT_EQ(::chown(row.directory.c_str(), self, static_cast<gid_t>(-1)), 0);
    ASSERT_EQ(::chmod(row.directory.c_str(), 0755), 0);
  }
  // And a good link to a file in a bad directory.
  const std::string outside = host.directory() + "/outside";
  std::filesystem::create_symlink(file, outside);
  ASSERT_TRUE(host.OpenMap(outside).ok());
  ASSERT_EQ(::chmod(inside.c_str(), 0777), 0);
  EXPECT_FALSE(host.OpenMap(outside).ok());
  // A link in between, and one among the directories on the way.
  ASSERT_EQ(::chmod(inside.c_str(), 0755), 0);
  const std::string open_to_all = host.directory() + "/open";
  std::filesystem::create_directories(open_to_all);
  std::filesystem::create_symlink(file, open_to_all + "/link");
  std::filesystem::create_symlink(inside, open_to_all + "/folder");
  std::filesystem::create_symlink(open_to_all + "/link", host.directory() + "/by-link");
  std::filesystem::create_symlink("open/folder/map", host.directory() + "/by-folder");
  for (const char* name : {"/by-link", "/by-folder"}) {
    SCOPED_TRACE(name);
    ASSERT_EQ(::chmod(open_to_all.c_str(), 0755), 0);
    const auto opened = host.OpenMap(host.directory() + name);
    EXPECT_TRUE(opened.ok()) << opened.error().message();
    ASSERT_EQ(::chmod(open_to_all.c_str(), 0777), 0);
    EXPECT_FALSE(host.OpenMap(host.directory() + name).ok());
  }
  if (self != 0) return;
  ASSERT_EQ(::chmod(open_to_all.c_str(), 01777), 0);
  EXPECT_TRUE(host.OpenMap(host.directory() + "/by-link").ok());
  ASSERT_EQ(::lchown((open_to_all + "/link").c_str(), kAnother, kAnother), 0);
  EXPECT_FALSE(host.OpenMap(host.directory() + "/by-link").ok()) << "any user may put a link there";
  std::filesystem::create_symlink("round", host.directory() + "/round");
  EXPECT_FALSE(host.OpenMap(host.directory() + "/round").ok());
}

TEST(HostIdentities, AMapThatIsNotARegularFileIsRefusedAtOnce) {
  Host host;
  const std::vector<std::pair<std::string, std::function<void()>>> kinds{
      {"a FIFO", [&] { ASSERT_EQ(::mkfifo(host.map_file().c_str(), 0600), 0); }},
      {"a directory", [&] { std::filesystem::create_directory(host.map_file()); }},
      {"a device", [&] { std::filesystem::create_symlink("/dev/zero", host.map_file()); }},
  };
  for (const auto& [kind, make] : kinds) {
    SCOPED_TRACE(kind);
    host.WriteMap("uid 1000 = ann\n");
    const auto identities = host.MustOpen(true);
    const uint64_t before = identities->Generation();
    std::filesystem::remove(host.map_file());
    make();
    const auto opened = host.Open(true);
    ASSERT_FALSE(opened.ok());
    EXPECT_EQ(opened.error().code(), Code::kInvalidArgument);
    EXPECT_NE(opened.error().message().find("regular file"), std::string::npos) << opened.error().message();
    host.clock.now_ms += HostIdentities::kLifetimeMs;
    EXPECT_EQ(identities->CallerOf(1000, 0).principal, "ann") << "the old one stays in force";
    EXPECT_EQ(identities->Generation(), before);
    std::filesystem::remove(host.map_file());
  }
}

TEST(HostIdentities, AMissingMappingFileIsAnError) {
  Host host;
  const auto opened = host.Open(true);
  ASSERT_FALSE(opened.ok());
  EXPECT_EQ(opened.error().code(), Code::kNotFound);
}

TEST(HostIdentities, AChangedMappingFileReplacesTheOldOneUnlessItIsBad) {
  Host host;
  host.WriteMap("uid 1000 = ann\n");
  const auto identities = host.MustOpen(true);
  const uint64_t first = identities->Generation();
  EXPECT_EQ(identities->CallerOf(1000, 0).principal, "ann");
  host.WriteMap("uid 1000 = bob\n");
  host.clock.now_ms += HostIdentities::kLifetimeMs;
  EXPECT_EQ(identities->CallerOf(1000, 0).principal, "bob");
  const uint64_t second = identities->Generation();
  EXPECT_GT(second, first);

  host.WriteMap("nonsense\n");
  host.clock.now_ms += HostIdentities::kLifetimeMs;
  EXPECT_EQ(identities->CallerOf(1000, 0).principal, "bob");
  std::filesystem::remove(host.map_file());
  host.clock.now_ms += HostIdentities::kLifetimeMs;
  EXPECT_EQ(identities->CallerOf(1000, 0).principal, "bob");
  EXPECT_EQ(identities->Generation(), second);

  host.WriteMap("uid 1000 = eve\n");
  host.clock.now_ms += HostIdentities::kLifetimeMs;
  EXPECT_EQ(identities->CallerOf(1000, 0).principal, "eve");
}

TEST(HostIdentities, UsersAndGroupsOfTheHostAreFoundInAnyCase) {
  Host host;
  host.database.AddGroup("Sales", 300);
  const auto identities = host.MustOpen(false);
  for (const char* spelled : {"Bob", "bob", "BOB"}) {
    EXPECT_EQ(identities->UidsOf(spelled), std::vector<uid_t>{1001}) << spelled;
    const auto found = identities->Find(spelled);
    ASSERT_TRUE(found) << spelled;
    EXPECT_EQ(found->name, "Bob");
    EXPECT_EQ(found->kind, PrincipalKind::kUser) << "rather than the group of that name";
    EXPECT_EQ(identities->GroupsOf(spelled), std::vector<std::string>{"bob"});
  }
  for (const char* spelled : {"Sales", "sales", "SALES"}) {
    EXPECT_EQ(identities->GidsOf(spelled), std::vector<gid_t>{300}) << spelled;
  }
  // Names that differ in case only are one principal, so all of their uids are returned.
  host.database.AddUser("bob", 1002, 1001);
  host.clock.now_ms += HostIdentities::kLifetimeMs;
  EXPECT_EQ(identities->UidsOf("bob"), (std::vector<uid_t>{1002, 1001}));
  EXPECT_EQ(identities->UidsOf("Bob"), (std::vector<uid_t>{1001, 1002}));
  EXPECT_TRUE(identities->UidsOf("bobby").empty());
}

TEST(HostIdentities, TheGenerationRisesWithTheUserDatabase) {
  Host host;
  const auto identities = host.MustOpen(false);
  const uint64_t before = identities->Generation();
  ++host.database.stamp;
  host.clock.now_ms += HostIdentities::kLifetimeMs;
  EXPECT_GT(identities->Generation(), before);
  EXPECT_EQ(identities->Generation(), identities->Generation());
}

TEST(HostIdentities, AChangeOfTheUserDatabaseDropsCachedAnswers) {
  Host host;
  const auto identities = host.MustOpen(false);
  EXPECT_TRUE(identities->UidsOf("eve").empty());
  EXPECT_EQ(identities->CallerOf(1003, 0).principal, "uid:1003");
  const uint64_t before = identities->Generation();
  host.database.AddUser("eve", 1003, 100);
  ++host.database.stamp;
  while (identities->Generation() == before) ++host.clock.now_ms;
  EXPECT_EQ(identities->UidsOf("eve"), std::vector<uid_t>{1003});
  EXPECT_EQ(identities->CallerOf(1003, 0).principal, "eve");
}

TEST(HostIdentities, FindsTheUsersAmongManyNames) {
  Host host;
  host.database.AddUser("toor", 1000, 100);
  const auto identities = host.MustOpen(false);
  EXPECT_EQ(identities->UidsCalled({"etl", "bob", "staff", "ann", "toor"}), (std::vector<uid_t>{1001, 1000}))
      << "1000 is named ann, and not toor";

  std::vector<std::string> names;
  for (int i = 0; i < 10'000; ++i) names.push_back("robot-" + std::to_string(i));
  EXPECT_TRUE(identities->UidsCalled(names).empty());
  const int asked = host.database.asked;
  host.clock.now_ms += 2 * HostIdentities::kLifetimeMs;
  EXPECT_TRUE(identities->UidsCalled(names).empty());
  EXPECT_EQ(host.database.asked, asked) << "the user database is not queried for so many each second";

  const uint64_t before = identities->Generation();
  host.database.AddUser("robot-7", 1007, 100);
  ++host.database.stamp;
  while (identities->Generation() == before) ++host.clock.now_ms;
  EXPECT_EQ(identities->UidsCalled(names), std::vector<uid_t>{1007});
  // A change in a directory service changes no stamp.
  host.database.AddUser("robot-8", 1008, 100);
  host.clock.now_ms += HostIdentities::kAbsenceMs;
  EXPECT_EQ(identities->UidsCalled(names), (std::vector<uid_t>{1007, 1008}));

  host.WriteMap("uid 2000 = robot-9\n");
  EXPECT_EQ(host.MustOpen(true)->UidsCalled(names), std::vector<uid_t>{2000});
}

TEST(HostIdentities, KeepsABoundedNumberOfAnswers) {
  Host host;
  const auto identities = host.MustOpen(false);
  for (uid_t uid = 100'000; uid < 100'000 + 3 * HostIdentities::kMostCached; ++uid) {
    identities->CallerOf(uid, 0);
  }
  const int asked = host.database.asked;
  identities->CallerOf(100'000, 0);
  EXPECT_GT(host.database.asked, asked) << "the first of so many is no longer cached";
}

TEST(HostIdentities, ManyThreadsAskAtOnce) {
  Host host;
  const auto identities =
      HostIdentities::Open({.map_file = {}, .database = nullptr, .clock = nullptr, .log = nullptr});
  ASSERT_TRUE(identities.ok());
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 8; ++thread) {
    threads.emplace_back([&] {
      for (uid_t uid = 0; uid < 200; ++uid) (*identities)->CallerOf(uid, uid);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(HostIdentities, KnowsTheUsersOfThisHost) {
  const auto identities =
      HostIdentities::Open({.map_file = {}, .database = nullptr, .clock = nullptr, .log = nullptr});
  ASSERT_TRUE(identities.ok());
  const passwd* self = ::getpwuid(::getuid());
  const Caller caller = (*identities)->ProcessCaller("cli");
  EXPECT_EQ(caller.principal, self != nullptr ? self->pw_name : "uid:" + std::to_string(::getuid()));
  EXPECT_EQ(caller.uid, ::getuid());
  EXPECT_EQ(caller.proof, Proof::kProcess);
  EXPECT_EQ(caller.door, "cli");
}

}  // namespace
}  // namespace modelfs::store
