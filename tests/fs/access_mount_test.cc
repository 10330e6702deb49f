// Several users of one shared mount, by system calls of processes that really are those users: grants and
// cache entries of one user never serve another.

#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/posix_acl_xattr.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include "cas/base/check.h"
#include "cas/base/fd.h"
#include "tests/fs/shared_mount.h"

namespace modelfs::fs {
namespace {

using store::Privilege;

int OpenRead(const std::string& path) {
  const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.valid()) return errno;
  std::array<char, 64> bytes;
  if (::read(file.get(), bytes.data(), bytes.size()) <= 0) return errno != 0 ? errno : EIO;
  return 0;
}

int MapIt(const std::string& path) {
  const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.valid()) return errno;
  void* const at = ::mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE, file.get(), 0);
  if (at == MAP_FAILED) return errno;
  return static_cast<const char*>(at)[0] == '\0' ? EIO : 0;
}

int RunIt(const std::string& path) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::execl(path.c_str(), path.c_str(), nullptr);
    ::_exit(errno);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 254;
}

int ListIt(const std::string& path) {
  DIR* directory = ::opendir(path.c_str());
  if (directory == nullptr) return errno;
  errno = 0;
  int names = 0;
  while (::readdir(directory) != nullptr) ++names;
  const int error = errno;
  ::closedir(directory);
  return names > 2 ? 0 : (error != 0 ? error : ENOENT);
}

int StatWithoutSync(const std::string& path) {
  struct statx attr = {};
  return Errno(::statx(AT_FDCWD, path.c_str(), AT_STATX_DONT_SYNC, STATX_BASIC_STATS, &attr));
}

int ReadTheLink(const std::string& path) {
  std::array<char, 64> target;
  return ::readlink(path.c_str(), target.data(), target.size()) > 0 ? 0 : errno;
}

int GetAttribute(const std::string& path, const char* name) {
  std::array<char, 256> value;
  return ::getxattr(path.c_str(), name, value.data(), value.size()) >= 0 ? 0 : errno;
}

// One system call on a model, and its result for root without grants: root sees names and attributes, but
// cannot open or list.
struct Call {
  const char* name;
  int root_without;
  int (*run)(const std::string& model);
};

const Call kCalls[] = {
    {"lookup", 0,
     [](const std::string& model) {
       struct stat attr = {};
       return Errno(::lstat((model + "/versions/1/MLmodel").c_str(), &attr));
     }},
    {"stat", 0,
     [](const std::string& model) {
       struct stat attr = {};
       return Errno(::stat((model + "/versions/1/data/weights").c_str(), &attr));
     }},
    {"statx without asking", 0,
     [](const std::string& model) { return StatWithoutSync(model + "/versions/1/MLmodel"); }},
    {"access", 0,
     [](const std::string& model) { return Errno(::access((model + "/versions/1/MLmodel").c_str(), R_OK)); }},
    {"open and read", EACCES,
     [](const std::string& model) { return OpenRead(model + "/versions/1/MLmodel"); }},
    {"read through the alias", EACCES,
     [](const std::string& model) { return OpenRead(model + "/aliases/Champion/data/weights"); }},
    {"read through the alias's directory", EACCES,
     [](const std::string& model) { return OpenRead(model + "@Champion/data/weights"); }},
    {"mmap", EACCES, [](const std::string& model) { return MapIt(model + "/versions/1/data/weights"); }},
    {"exec", EACCES, [](const std::string& model) { return RunIt(model + "/versions/1/run.sh"); }},
    {"readdir of the model", EACCES, [](const std::string& model) { return ListIt(model); }},
    {"readdir of versions", EACCES, [](const std::string& model) { return ListIt(model + "/versions"); }},
    {"readdir of aliases", EACCES, [](const std::string& model) { return ListIt(model + "/aliases"); }},
    {"readdir of a version", EACCES, [](const std::string& model) { return ListIt(model + "/versions/1"); }},
    {"readdir inside a version", EACCES,
     [](const std::string& model) { return ListIt(model + "/versions/1/data"); }},
    {"readlink of an alias", EACCES,
     [](const std::string& model) { return ReadTheLink(model + "/aliases/Champion"); }},
    {"readlink of versions/latest", EACCES,
     [](const std::string& model) { return ReadTheLink(model + "/versions/latest"); }},
    {"getxattr of the model", EACCES,
     [](const std::string& model) { return GetAttribute(model, "user.modelfs.owner"); }},
    {"getxattr of a version", EACCES,
     [](const std::string& model) { return GetAttribute(model + "/versions/1", "user.modelfs.sha256"); }},
    {"getxattr of a file", EACCES,
     [](const std::string& model) {
       return GetAttribute(model + "/versions/1/MLmodel", "user.modelfs.sha256");
     }},
    {"listxattr", EACCES,
     [](const std::string& model) {
       std::array<char, 4096> names;
       return ::listxattr((model + "/versions/1").c_str(), names.data(), names.size()) > 0 ? 0 : errno;
     }},
    {"model.json", EACCES, [](const std::string& model) { return OpenRead(model + "/.info/model.json"); }},
    {"a version's json", EACCES,
     [](const std::string& model) { return OpenRead(model + "/.info/versions/1.json"); }},
};

void WarmAs(const User& user, const std::string& model) {
  const int warmed = As(user, [&] {
    for (const Call& call : kCalls) {
      if (const int error = call.run(model)) return error;
    }
    return 0;
  });
  EXPECT_EQ(warmed, 0) << user.name << " may all this";
}

enum class Kernel { kCold, kWarm };

class AccessMount : public testing::TestWithParam<Kernel> {
 protected:
  // Brings the kernel's caches into the parameter's state before each look.
  void Prepare(const std::string& model) const {
    if (GetParam() == Kernel::kWarm) WarmAs(kAnn, model);
  }
};
INSTANTIATE_TEST_SUITE_P(Kernel, AccessMount, testing::Values(Kernel::kCold, Kernel::kWarm),
                         [](const auto& instance) {
                           return instance.param == Kernel::kCold ? "Cold" : "WarmedByTheOwner";
                         });

TEST_P(AccessMount, GrantsDecideForEachUserWhateverTheKernelCachedForOthers) {
  SKIP_WITHOUT_MOUNT();
  SharedMount shared;
  const struct {
    User user;
    std::string granted_to;
  } kRows[] = {
      {kBob, kBob.name}, {kDora, kScience}, {kSam, kScience}, {kEve, "account users"}, {kRootUser, "root"}};
  for (const auto& row : kRows) {
    SCOPED_TRACE(row.user.name);
    const std::string name = "for-" + row.user.name;
    const std::string model = shared.MakeModel(name);
    const std::string dotted = "cat.sch." + name;
    const auto refused = [&](const Call& call) { return row.user.uid == 0 ? call.root_without : EACCES; };

    for (const Call& call : kCalls) {
      Prepare(model);
      EXPECT_EQ(As(row.user, [&] { return call.run(model); }), refused(call))
          << call.name << ", nothing granted";
    }
    shared.Grant(dotted, row.granted_to, {Privilege::kExecute});
    for (const Call& call : kCalls) {
      Prepare(model);
      EXPECT_EQ(As(row.user, [&] { return call.run(model); }), 0) << call.name << ", granted";
    }

    if (GetParam() == Kernel::kWarm) WarmAs(row.user, model);
    shared.Revoke(dotted, row.granted_to, {Privilege::kExecute});
    // The daemon refuses as soon as the revoke has returned; the kernel after its notification.
    EXPECT_EQ(As(row.user, [&] { return OpenRead(model + "/versions/1/MLmodel"); }), EACCES);
    EXPECT_EQ(As(row.user, [&] { return ListIt(model + "/versions/1"); }), EACCES);
    for (const Call& call : kCalls) {
      Prepare(model);
      int answer = -1;
      EXPECT_TRUE(Eventually([&] {
        answer = As(row.user, [&] { return call.run(model); });
        return answer == refused(call);
      })) << call.name
          << ", revoked: " << answer;
    }
    WarmAs(kAnn, model);
  }
}

TEST(SharedByUsers, AnOpenFileDoesNotRevealItsModelsNewName) {
  SKIP_WITHOUT_MOUNT();
  SharedMount shared;
  const std::string model = shared.MakeModel("before");
  shared.Grant("cat.sch.before", kBob.name, {Privilege::kExecute});
  const Fd kept(::open((model + "/versions/1/MLmodel").c_str(), O_PATH | O_CLOEXEC));
  ASSERT_TRUE(kept.valid());
  const std::string again = "/proc/self/fd/" + std::to_string(kept.get());
  ASSERT_EQ(As(kBob, [&] { return OpenRead(again); }), 0);
  shared.Revoke("cat.sch.before", kBob.name, {Privilege::kExecute});
  // Through the mount, so that it knows the new name, too.
  const std::string secret = shared.path() + "/cat/sch/merger";
  ASSERT_EQ(As(kAnn, [&] { return Errno(::rename(model.c_str(), secret.c_str())); }), 0);
  WarmAs(kAnn, secret);
  EXPECT_EQ(As(kBob, [&] { return OpenRead(again); }), EACCES);
  EXPECT_EQ(As(kBob, [&] { return Errno(::open(again.c_str(), O_WRONLY)); }), EACCES);
  const auto told = [&](const User& user, const char* what) {
    return As(user, [&] {
      std::ifstream errors(shared.path() + "/.modelfs/errors");
      const std::string text(std::istreambuf_iterator<char>(errors), {});
      if (text.empty()) return 2;
      return text.find(what) != std::string::npos ? 1 : 0;
    });
  };
  EXPECT_EQ(told(kBob, "merger"), 0);
  EXPECT_EQ(told(kBob, "this model"), 1);
  // A user that may see it gets the name.
  EXPECT_NE(As(kAnn, [&] { return Errno(::mkdir((secret + "/versions/1/more").c_str(), 0777)); }), 0);
  EXPECT_EQ(told(kAnn, "/cat/sch/merger/versions/1"), 1);
}

TEST(SharedByUsers, BothGatesAreNeededOnTheWay) {
  SKIP_WITHOUT_MOUNT();
  SharedMount shared;
  const std::string model = shared.MakeModel("gated");
  const auto read = [&] { return As(kBob, [&] { return OpenRead(model + "/versions/1/MLmodel"); }); };
  shared.Grant("cat.sch.gated", kBob.name, {Privilege::kExecute});
  EXPECT_EQ(read(), 0);
  for (const auto& [container, gate] :
       {std::pair("cat", Privilege::kUseCatalog), std::pair("cat.sch", Privilege::kUseSchema)}) {
    shared.Revoke(container, "account users", {gate});
    EXPECT_EQ(read(), EACCES) << container;
    EXPECT_TRUE(Eventually([&] { return As(kBob, [&] { return StatWithoutSync(model); }) == EACCES; }));
    shared.Grant(container, "account users", {gate});
    EXPECT_EQ(read(), 0) << container;
  }
}

// A user that may tag a model passes through versions/, and learns no number there that another user has
// asked for.
TEST_P(AccessMount, AUserThatMayOnlyTagReadsNoLink) {
  SKIP_WITHOUT_MOUNT();
  SharedMount shared;
  const std::string model = shared.MakeModel("tagged");
  shared.Grant("cat.sch.tagged", kEve.name, {Privilege::kApplyTag});
  Prepare(model);
  EXPECT_EQ(As(kEve, [&] { return ReadTheLink(model + "/versions/latest"); }), EACCES);
  EXPECT_EQ(As(kRootUser, [&] { return ReadTheLink(model + "/aliases/Champion"); }), EACCES);
}

TEST(SharedByUsers, AServicePrincipalEntersLikeAUser) {
  SKIP_WITHOUT_MOUNT();
  SharedMount shared;
  store::EmbeddedRegistry& registry = shared.registry();
  for (const User& user : {kBob, kEve}) {
    ASSERT_TRUE(
        registry.CreatePrincipal(shared.admin(), store::PrincipalKind::kServicePrincipal, user.name).ok());
  }
  ASSERT_TRUE(registry.CreatePrincipal(shared.admin(), store::PrincipalKind::kGroup, "robots").ok());
  ASSERT_TRUE(registry.AddMember(shared.admin(), "robots", kEve.name).ok());
  const std::string model = shared.MakeModel("served");
  shared.Grant("cat.sch.served", kBob.name, {Privilege::kExecute});
  shared.Grant("cat.sch.served", "robots", {Privilege::kExecute});
  for (const User& user : {kBob, kEve}) {
    WarmAs(user, model);
  }
}

// A look at names, attributes and ACLs below a schema, by the kernel alone.
int LookAt(const User& user, const std::string& model) {
  return As(user, [&] {
    const int there = StatWithoutSync(model + "/versions/1/data/weights");
    const int acl = GetAttribute(model + "/versions", "system.posix_acl_access");
    return there == acl ? there : 100;
  });
}

TEST(SharedByUsers, AServicePrincipalIsNotLetThroughByTheHostsGroups) {
  SKIP_WITHOUT_MOUNT();
  SharedMount shared;
  store::EmbeddedRegistry& registry = shared.registry();
  const std::string model = shared.MakeModel("grouped");
  shared.Grant("cat.sch.grouped", kScience, {Privilege::kExecute});
  WarmAs(kSam, model);  // the kernel has ACLs from when sam was a user
  ASSERT_TRUE(
      registry.CreatePrincipal(shared.admin(), store::PrincipalKind::kServicePrincipal, kSam.name).ok());
  EXPECT_EQ(As(kSam, [&] { return OpenRead(model + "/versions/1/MLmodel"); }), EACCES);
  EXPECT_TRUE(Eventually([&] { return LookAt(kSam, model) == EACCES; }));
  WarmAs(kDora, model);
  shared.Grant("cat.sch.grouped", kSam.name, {Privilege::kExecute});
  WarmAs(kSam, model);
  shared.Revoke("cat.sch.grouped", kSam.name, {Privilege::kExecute});
  EXPECT_TRUE(Eventually([&] { return LookAt(kSam, model) == EACCES; }));
  ASSERT_TRUE(registry.DeletePrincipal(shared.admin(), kSam.name).ok());
  EXPECT_TRUE(Eventually([&] { return LookAt(kSam, model) == 0; })) << "a user of the group again";
}

TEST(SharedByUsers, AUserNamedLikeAGroupDoesNotGetEveryonesAccess) {
  SKIP_WITHOUT_MOUNT();
  SharedMount shared;
  store::EmbeddedRegistry& registry = shared.registry();
  const std::string model = shared.MakeModel("open");
  shared.Grant("cat.sch.open", "account users", {Privilege::kExecute});
  WarmAs(kEve, model);
  ASSERT_TRUE(registry.CreatePrincipal(shared.admin(), store::PrincipalKind::kGroup, kEve.name).ok());
  EXPECT_TRUE(Eventually([&] { return LookAt(kEve, model) == EACCES; }));
  EXPECT_TRUE(Eventually([&] { return As(kEve, [&] { return StatWithoutSync(model); }) == EACCES; }));
  WarmAs(kBob, model);

  // A user that gets the name later is shut out, too; the uid is bob's now.
  shared.Renumber({{kEve.name, kBob.uid}, {kBob.name, kEve.uid}});
  EXPECT_TRUE(Eventually([&] { return LookAt(kBob, model) == EACCES; }));
  EXPECT_TRUE(Eventually([&] { return LookAt(kEve, model) == 0; }));
  ASSERT_TRUE(registry.DeletePrincipal(shared.admin(), kEve.name).ok());
  EXPECT_TRUE(Eventually([&] { return LookAt(kBob, model) == 0; }));
}

// BROWSE opens the directories on the way also to users with closed gates.
TEST(SharedByUsers, BrowseBehindClosedGatesShowsTheModelAndNothingInIt) {
  SKIP_WITHOUT_MOUNT();
  SharedMount shared;
  shared.Grant("cat", kAnn.name, {Privilege::kUseCatalog, Privilege::kUseSchema});
  const std::string groups = shared.MakeModel("groups");
  const std::string everyones = shared.MakeModel("everyones");
  shared.Grant("cat.sch.groups", kScience, {Privilege::kExecute, Privilege::kManage, Privilege::kApplyTag});
  shared.Grant("cat.sch.everyones", "account users", {Privilege::kExecute, Privilege::kApplyTag});
  WarmAs(kSam, groups);
  WarmAs(kEve, everyones);
  shared.Grant("cat", "account users", {Privilege::kBrowse});
  shared.Revoke("cat", "account users", {Privilege::kUseCatalog});
  const auto look = [](const User& user, const std::string& path) {
    return As(user, [&] { return StatWithoutSync(path); });
  };
  const auto expect_browsing = [&](const User& user, const std::string& model) {
    for (const char* inside : {"/versions/1", "/versions/1/data/weights", "/aliases/Champion"}) {
      EXPECT_TRUE(Eventually([&] { return look(user, model + inside) == EACCES; })) << user.name << inside;
    }
    EXPECT_EQ(As(user, [&] { return OpenRead(model + "/.info/model.json"); }), 0) << user.name;
  };
  expect_browsing(kSam, groups);
  expect_browsing(kEve, everyones);
  WarmAs(kAnn, groups);

  // A group's rights reach each member if any group of the host opens the gates for that member.
  shared.Grant("cat", kScience, {Privilege::kUseCatalog});
  WarmAs(kSam, groups);
  WarmAs(kDora, everyones);
  expect_browsing(kEve, everyones);
  shared.Revoke("cat", kScience, {Privilege::kUseCatalog});
  shared.Grant("cat", kGates, {Privilege::kUseCatalog});
  const User in_both{kSam.name, kSam.uid, kGatesId, kSam.groups};
  WarmAs(in_both, groups);
  // docs/governance.md, "Limits of the ACLs": no ACL entry can require both groups.
  EXPECT_EQ(look(kSam, groups + "/versions/1/MLmodel"), 0);
  EXPECT_EQ(As(kSam, [&] { return OpenRead(groups + "/versions/1/MLmodel"); }), EACCES);
  EXPECT_EQ(As(kSam, [&] { return ListIt(groups + "/versions/1"); }), EACCES);
  EXPECT_EQ(As(kSam, [&] { return ReadTheLink(groups + "/aliases/Champion"); }), EACCES);
  // A user that is named on the way has an entry.
  shared.Grant("cat", kSam.name, {Privilege::kBrowse});
  expect_browsing(kSam, groups);
}

// docs/governance.md, in the same section: the kernel lets an owner past every ACL.
TEST(SharedByUsers, AnOwnerWithBrowseBehindClosedGatesSeesNumbersAndAliasesOnly) {
  SKIP_WITHOUT_MOUNT();
  SharedMount shared;
  const std::string model = shared.MakeModel("owned");
  CHECK(shared.registry().SetOwner(shared.admin(), shared.Id("cat.sch.owned"), kBob.name).ok());
  WarmAs(kBob, model);
  shared.Grant("cat", "account users", {Privilege::kBrowse});
  shared.Revoke("cat", "account users", {Privilege::kUseCatalog});
  const auto look = [&](const char* inside) {
    return As(kBob, [&] { return StatWithoutSync(model + inside); });
  };
  EXPECT_TRUE(Eventually([&] { return look("/versions/1/MLmodel") == EACCES; }));
  EXPECT_EQ(look("/versions/1"), 0);
  EXPECT_EQ(As(kBob,
               [&] {
                 struct stat attr = {};
                 return Errno(::lstat((model + "/aliases/Champion").c_str(), &attr));
               }),
            0);
  EXPECT_EQ(As(kBob, [&] { return ListIt(model + "/versions"); }), EACCES);
  EXPECT_EQ(As(kBob, [&] { return ReadTheLink(model + "/aliases/Champion"); }), EACCES);
  EXPECT_EQ(As(kBob, [&] { return Errno(::mkdir((model + "/versions/mine").c_str(), 0755)); }), EACCES);
}

// docs/governance.md, in the same section: the kernel has no word for "every uid without a name".
TEST(SharedByUsers, AUidWithoutANameSeesWhatEveryoneMaySeeAndOpensNothing) {
  SKIP_WITHOUT_MOUNT();
  SharedMount shared;
  const std::string everyones = shared.MakeModel("everyones");
  const std::string groups = shared.MakeModel("groups");
  shared.Grant("cat.sch.everyones", "account users", {Privilege::kExecute});
  shared.Grant("cat.sch.groups", kScience, {Privilege::kExecute});
  const User nameless{"", 65123, 65123, {}};
  const User in_group{"", 65123, 65123, {kDora.gid}};
  EXPECT_EQ(LookAt(nameless, everyones), 0);
  EXPECT_EQ(LookAt(nameless, groups), EACCES);
  EXPECT_EQ(LookAt(in_group, groups), 0);
  for (const std::string& model : {everyones, groups}) {
    EXPECT_EQ(As(in_group, [&] { return OpenRead(model + "/versions/1/MLmodel"); }), EACCES);
    EXPECT_EQ(As(in_group, [&] { return ListIt(model + "/versions/1"); }), EACCES);
    EXPECT_EQ(As(in_group, [&] { return ReadTheLink(model + "/aliases/Champion"); }), EACCES);
    EXPECT_EQ(As(in_group, [&] { return GetAttribute(model, "user.modelfs.owner"); }), EACCES);
  }
}

TEST(SharedByUsers, AUserEntersUnderAnySpellingOfTheName) {
  SKIP_WITHOUT_MOUNT();
  SharedMount shared;
  const std::string model = shared.MakeModel("spelled");
  ASSERT_TRUE(
      shared.registry().CreatePrincipal(shared.admin(), store::PrincipalKind::kUser, "mfs-carl").ok());
  EXPECT_EQ(As(kCarl, [&] { return OpenRead(model + "/versions/1/MLmodel"); }), EACCES);
  shared.Grant("cat.sch.spelled", "Mfs-Carl", {Privilege::kExecute});
  WarmAs(kCarl, model);
}

TEST(SharedByUsers, ListingsShowWhatTheirReaderMaySee) {
  SKIP_WITHOUT_MOUNT();
  SharedMount shared;
  shared.MakeModel("one");
  shared.MakeModel("two");
  shared.Grant("cat.sch.two", kBob.name, {Privilege::kExecute});
  CHECK(shared.registry().Create(shared.admin(), store::kMetastoreId, "hidden", "").ok());
  const auto listed = [&](const User& user, const std::string& directory) {
    const std::string out = shared.mounted().scratch("listing");
    std::ofstream(out).close();
    ::chmod(out.c_str(), 0666);
    ::chmod(shared.mounted().scratch("").c_str(), 0711);
    As(user, [&] {
      std::ofstream file(out);
      for (const std::string& name : ListOf(directory)) file << name << ' ';
      return 0;
    });
    return ReadFile(out);
  };
  for (int round = 0; round < 2; ++round) {  // the second time with a warm cache
    EXPECT_EQ(listed(kAnn, shared.path() + "/cat/sch"), "one two ");
    EXPECT_EQ(listed(kBob, shared.path() + "/cat/sch"), "two ");
    EXPECT_EQ(listed(kEve, shared.path() + "/cat/sch"), "");
    EXPECT_EQ(listed(kRootUser, shared.path() + "/cat/sch"), "");
    EXPECT_EQ(listed(kEve, shared.path()), "cat ");
  }
}

TEST(SharedByUsers, ARevokeLeavesOtherUsersAccessUnchanged) {
  SKIP_WITHOUT_MOUNT();
  SharedMount shared;
  const std::string model = shared.MakeModel("busy");
  shared.Grant("cat.sch.busy", kBob.name, {Privilege::kExecute});
  // bob and ann each stand in the version with a file open, and go on after the revoke.
  std::array<int, 2> go = {};
  std::array<int, 2> ready = {};
  ASSERT_EQ(::pipe(go.data()), 0);
  ASSERT_EQ(::pipe(ready.data()), 0);
  const auto stand = [&](const User& user, bool revoked) {
    const pid_t child = ::fork();
    if (child != 0) return child;
    const int result = As(user, [&] {
      if (::chdir((model + "/versions/1").c_str()) != 0) return 100;
      const Fd file(::open("data/weights", O_RDONLY | O_CLOEXEC));
      if (!file.valid()) return 101;
      char byte = 0;
      if (::write(ready[1], "r", 1) != 1 || ::read(go[0], &byte, 1) != 1) return 102;
      std::array<char, 64> text;
      if (::pread(file.get(), text.data(), text.size(), 0) <= 0)
        return 103;  // open files are read to the end
      if (void* at = ::mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE, file.get(), 0); at == MAP_FAILED)
        return 104;
      if (::getcwd(text.data(), text.size()) == nullptr && errno != ERANGE) return 105;
      const int again = OpenRead("MLmodel");
      const int list = ListIt(".");
      if (revoked) return again == EACCES && list == EACCES ? 0 : 106;
      return again == 0 && list == 0 ? 0 : 107;
    });
    ::_exit(result);
  };
  const pid_t bob = stand(kBob, true);
  const pid_t ann = stand(kAnn, false);
  char byte = 0;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  shared.Revoke("cat.sch.busy", kBob.name, {Privilege::kExecute});
  EXPECT_TRUE(
      Eventually([&] { return As(kBob, [&] { return StatWithoutSync(model + "/versions/1"); }) == EACCES; }));
  ASSERT_EQ(::write(go[1], "gg", 2), 2);
  for (const pid_t each : {bob, ann}) {
    int status = 0;
    ASSERT_EQ(::waitpid(each, &status, 0), each);
    EXPECT_EQ(WEXITSTATUS(status), 0) << (each == bob ? "bob" : "ann");
  }
  for (const int fd : {go[0], go[1], ready[0], ready[1]}) ::close(fd);
}

TEST(SharedByUsers, RootOfAUserNamespaceHasNoSpecialRights) {
  SKIP_WITHOUT_MOUNT();
  SharedMount shared;
  const std::string model = shared.MakeModel("fenced");
  WarmAs(kAnn, model);
  const int in_namespace = As(kEve, [&] {
    if (::unshare(CLONE_NEWUSER) != 0) return 200;
    if (WriteFile("/proc/self/setgroups", "deny") != 0 || WriteFile("/proc/self/uid_map", "0 60005 1") != 0 ||
        WriteFile("/proc/self/gid_map", "0 60005 1") != 0) {
      return 201;
    }
    if (::getuid() != 0) return 202;
    for (const Call& call : kCalls) {
      if (call.run(model) != EACCES) return 203;
    }
    return EACCES;
  });
  if (in_namespace == 200) GTEST_SKIP() << "this host gives its users no user namespaces";
  EXPECT_EQ(in_namespace, EACCES);
}

TEST(SharedByUsers, HundredsOfGrantsLetTheirHoldersInAndNobodyElse) {
  SKIP_WITHOUT_MOUNT();
  constexpr size_t kMost = 3900;  // of at most 4,000 on a schema, which has some already
  SharedMount shared(kMost);
  const std::string model = shared.MakeModel("popular");
  const auto user = [](size_t i) {
    const auto id = static_cast<uid_t>(70000 + i);
    return User{"mfs-" + std::to_string(i), id, id, {}};
  };
  const auto check = [&](size_t granted) {
    for (const size_t in : {size_t{1}, granted / 2, granted}) {
      WarmAs(user(in), model);
    }
    const User outside = granted < kMost ? user(granted + 1) : kEve;
    for (const User& out : {outside, kEve}) {
      for (const char* file : {"/versions/1/MLmodel", "/aliases/Champion/data/weights"}) {
        EXPECT_EQ(As(out, [&] { return OpenRead(model + file); }), EACCES) << granted << out.name;
      }
      for (const char* directory : {"", "/versions", "/aliases", "/versions/1", "/versions/1/data"}) {
        EXPECT_EQ(As(out, [&] { return ListIt(model + directory); }), EACCES) << granted << directory;
      }
      for (const char* link : {"/aliases/Champion", "/versions/latest"}) {
        EXPECT_EQ(As(out, [&] { return ReadTheLink(model + link); }), EACCES) << granted << link;
      }
      EXPECT_EQ(As(out, [&] { return RunIt(model + "/versions/1/run.sh"); }), EACCES) << granted;
      EXPECT_EQ(As(out, [&] { return GetAttribute(model + "/versions/1", "user.modelfs.sha256"); }), EACCES);
      const int name = As(out, [&] { return StatWithoutSync(model + "/versions/1/MLmodel"); });
      EXPECT_TRUE(name == EACCES || (granted >= 499 && name == 0))
          << "past 500 entries names are open: " << name;
    }
  };
  size_t granted = 0;
  // From 499 on, the entries of ann and of the other named users push it over the limit.
  for (const size_t want : {size_t{400}, size_t{499}, size_t{500}, size_t{501}, kMost}) {
    std::vector<std::string> principals;
    while (granted < want) principals.push_back(user(++granted).name);
    shared.GrantAll("cat.sch", principals, {Privilege::kExecute});
    SCOPED_TRACE(granted);
    check(granted);
  }
}

TEST(SharedByUsers, ADraftIsOpenToItsCreatorAlone) {
  SKIP_WITHOUT_MOUNT();
  SharedMount shared;
  const std::string model = shared.MakeModel("drafty");
  shared.Grant("cat.sch.drafty", kBob.name, {Privilege::kExecute, Privilege::kCreateModelVersion});
  const std::string draft = model + "/versions/work";
  ASSERT_EQ(As(kBob,
               [&] {
                 if (::mkdir(draft.c_str(), 0777) != 0) return errno;
                 if (const int error = WriteFile(draft + "/file", "bytes")) return error;
                 struct stat attr = {};
                 if (::stat(draft.c_str(), &attr) != 0) return errno;
                 if (attr.st_uid != kBob.uid || (attr.st_mode & ALLPERMS) != 0700) return 100;
                 return ListIt(draft);
               }),
            0)
      << shared.mounted().Errors();
  for (const User& other : {kAnn, kEve, kRootUser}) {
    SCOPED_TRACE(other.name);
    EXPECT_EQ(As(other, [&] { return OpenRead(draft + "/file"); }), EACCES);
    EXPECT_EQ(As(other, [&] { return ListIt(draft); }), EACCES);
    EXPECT_EQ(As(other, [&] { return WriteFile(draft + "/mine", "x"); }), EACCES);
    EXPECT_EQ(As(other, [&] { return Errno(::unlink((draft + "/file").c_str())); }), EACCES);
    EXPECT_EQ(As(other, [&] { return Errno(::rmdir(draft.c_str())); }), EACCES);
    EXPECT_EQ(As(other, [&] { return Errno(::rename(draft.c_str(), (model + "/versions/2").c_str())); }),
              EACCES);
    EXPECT_EQ(As(other, [&] { return Errno(::truncate((draft + "/file").c_str(), 0)); }), EACCES);
    EXPECT_EQ(As(other, [&] { return Errno(::chmod((draft + "/file").c_str(), 0777)); }),
              other.uid == 0 ? EACCES : EACCES);
  }
  EXPECT_EQ(As(kAnn, [&] { return Errno(::mkdir(draft.c_str(), 0755)); }), EEXIST);
  EXPECT_EQ(As(kAnn,
               [&] {
                 const std::vector<std::string> names = ListOf(model + "/versions");
                 return names == std::vector<std::string>{"1"} ? 0 : 100;
               }),
            0);
  EXPECT_EQ(As(kBob,
               [&] {
                 if (ListOf(model + "/versions") != std::vector<std::string>{"1", "work"}) return 100;
                 return Errno(::rename(draft.c_str(), (model + "/versions/2").c_str()));
               }),
            0);
  EXPECT_EQ(As(kAnn, [&] { return OpenRead(model + "/versions/2/file"); }), 0);
}

// The kernel decides by the attributes of a draft's node, because it has no ACL of it.
TEST(SharedByUsers, ACommittedDraftStaysReadableToItsCreatorInIt) {
  SKIP_WITHOUT_MOUNT();
  SharedMount shared;
  const std::string model = shared.MakeModel("drafty");
  shared.Grant("cat.sch.drafty", kBob.name, {Privilege::kExecute, Privilege::kCreateModelVersion});
  const std::string draft = model + "/versions/work";
  ASSERT_EQ(As(kBob,
               [&] {
                 if (::mkdir(draft.c_str(), 0777) != 0) return errno;
                 if (::mkdir((draft + "/sub").c_str(), 0777) != 0) return errno;
                 if (const int error = WriteFile(draft + "/file", "bytes")) return error;
                 if (const int error = WriteFile(draft + "/sub/file", "bytes")) return error;
                 if (::chdir(draft.c_str()) != 0) return errno;
                 if (::rename(draft.c_str(), (model + "/versions/next").c_str()) != 0) return errno;
                 for (const char* file : {"file", "sub/file"}) {
                   if (const int error = OpenRead(file)) return error;
                 }
                 for (const char* folder : {".", "sub"}) {
                   struct stat attr = {};
                   if (::stat(folder, &attr) != 0) return errno;
                   if (attr.st_uid != kBob.uid || (attr.st_mode & ALLPERMS) != 0500) return 100;
                   if (const int error = ListIt(folder)) return error;
                 }
                 return WriteFile("new", "x") == EACCES ? 0 : 101;
               }),
            0)
      << shared.mounted().Errors();
}

// Names that a program makes on the way to an alias are bounded for each user: no user blocks another's `ln
// -sfn`.
TEST(SharedByUsers, HeldNamesOfOneUserDoNotBlockOthers) {
  SKIP_WITHOUT_MOUNT();
  SharedMount shared;
  const std::string model = shared.MakeModel("wanted");
  shared.Grant("cat.sch", kBob.name, {Privilege::kCreateModel});
  const std::string bobs = shared.path() + "/cat/sch/bobs";
  constexpr size_t kModels = 20;  // with room for more in each than he may have altogether
  const int filled = As(kBob, [&] {
    for (size_t i = 0; i < kModels; ++i) {
      const std::string his = bobs + std::to_string(i);
      if (::mkdir(his.c_str(), 0755) != 0) return errno;
      int error = 0;
      for (int j = 0; error == 0; ++j) {
        error = Errno(::symlink("../versions/1", (his + "/aliases/." + std::to_string(j)).c_str()));
      }
      if (error != EDQUOT) return error;
    }
    return 0;
  });
  EXPECT_EQ(filled, 0) << std::strerror(filled) << shared.mounted().Errors();
  EXPECT_EQ(As(kAnn, [&] { return Shell("ln -sfn ../versions/1 " + model + "/aliases/Champion").status; }), 0)
      << shared.mounted().Errors();
  // His own names go with their models: names in aliases/ do not keep a model from being removed.
  EXPECT_EQ(As(kBob,
               [&] {
                 for (size_t i = 0; i < kModels; ++i) {
                   if (::rmdir((bobs + std::to_string(i)).c_str()) != 0) return errno;
                 }
                 return Errno(::mkdir((bobs + "-again").c_str(), 0755));
               }),
            0);
  EXPECT_TRUE(Eventually([&] {
    return As(kBob,
              [&] { return Errno(::symlink("../versions/1", (bobs + "-again/aliases/.x").c_str())); }) == 0;
  }));
}

TEST(SharedByUsers, AHeldLinkLeadsToItsVersionAndIsListedToItsMakerOnly) {
  SKIP_WITHOUT_MOUNT();
  SharedMount shared;
  const std::string model = shared.MakeModel("led");
  shared.Grant("cat.sch.led", kBob.name, {Privilege::kManage, Privilege::kExecute});
  const std::string link = model + "/aliases/Champion.1";
  EXPECT_EQ(As(kBob, [&] { return Errno(::symlink("/tmp/evil", link.c_str())); }), EINVAL);
  ASSERT_EQ(As(kBob, [&] { return Errno(::symlink("/tmp/evil/cat/sch/led/versions/1", link.c_str())); }), 0);
  EXPECT_EQ(As(kAnn,
               [&] {
                 if (ListOf(model + "/aliases") != std::vector<std::string>{"Champion"}) return 100;
                 struct stat attr = {};
                 if (::lstat(link.c_str(), &attr) != 0) return errno;
                 if (attr.st_uid != kBob.uid) return 101;
                 return ReadLinkOf(link) == "../versions/1" ? 0 : 102;
               }),
            0);
  EXPECT_EQ(As(kBob, [&] { return ListOf(model + "/aliases").size() == 2 ? 0 : 100; }), 0);
}

TEST(SharedByUsers, TheRegistryDecidesChangesAndExplainsRefusals) {
  SKIP_WITHOUT_MOUNT();
  SharedMount shared;
  const std::string model = shared.MakeModel("ruled");
  shared.Grant("cat.sch.ruled", kBob.name, {Privilege::kExecute, Privilege::kApplyTag});
  const auto tag = [](const std::string& path) {
    return Errno(::setxattr(path.c_str(), "user.tag.stage", "x", 1, 0));
  };
  EXPECT_EQ(As(kBob, [&] { return tag(model); }), 0);
  EXPECT_EQ(As(kBob, [&] { return tag(model + "/versions/1"); }), 0);
  EXPECT_EQ(As(kAnn, [&] { return tag(model + "/versions/1"); }), 0) << "the ACL names the owner";
  EXPECT_EQ(As(kEve, [&] { return tag(model); }), EACCES);
  EXPECT_EQ(As(kRootUser, [&] { return tag(model); }), EACCES) << "root has no special rights";
  EXPECT_EQ(As(kBob, [&] { return Errno(::symlink("../versions/1", (model + "/aliases/Mine").c_str())); }),
            EACCES);
  EXPECT_EQ(As(kBob, [&] { return Errno(::mkdir((model + "/versions/draft").c_str(), 0755)); }), EACCES);
  EXPECT_EQ(As(kBob, [&] { return Errno(::mkdir((shared.path() + "/cat/sch/his").c_str(), 0755)); }), EACCES);
  EXPECT_EQ(As(kRootUser, [&] { return Errno(::mkdir((shared.path() + "/cat/sch/roots").c_str(), 0755)); }),
            EACCES);
  EXPECT_EQ(As(kEve, [&] { return Errno(::mkdir((shared.path() + "/eves").c_str(), 0755)); }), EACCES);
  EXPECT_EQ(As(kRootUser, [&] { return Errno(::rmdir((model + "/versions/1").c_str())); }), EACCES);
  // Each user sees its own refusals only, with the remedy.
  EXPECT_EQ(As(kEve,
               [&] {
                 const std::string errors = ReadFile(shared.path() + "/.modelfs/errors");
                 return errors.find("CREATE CATALOG") != std::string::npos &&
                                errors.find("ruled") == std::string::npos
                            ? 0
                            : 100;
               }),
            0);
  EXPECT_EQ(As(kAnn, [&] { return ReadFile(shared.path() + "/.modelfs/errors").empty() ? 0 : 100; }), 0);

  // An owner without CREATE MODEL may still delete its own objects.
  shared.Revoke("cat.sch", kAnn.name, {Privilege::kCreateModel});
  EXPECT_EQ(As(kAnn, [&] { return Errno(::rmdir((model + "/versions/1").c_str())); }), 0);
  EXPECT_EQ(As(kAnn, [&] { return Errno(::rmdir(model.c_str())); }), 0) << shared.mounted().Errors();
}

// Readers of a version, its owner included. Requests that reach the daemon return EROFS; the kernel by itself
// decides calls on files, by their owner and mode (docs/mount.md).
TEST(SharedByUsers, NobodyChangesAReadyVersionAndEveryCallHasItsErrno) {
  SKIP_WITHOUT_MOUNT();
  SharedMount shared;
  const std::string model = shared.MakeModel("ready");
  shared.Grant("cat.sch.ready", kBob.name, {Privilege::kExecute});
  struct Row {
    const char* name;
    int want;
    std::function<int(const std::string& directory, const std::string& file)> act;
  };
  const std::string inside = model + "/versions/1";
  const auto set_times = [](const std::string& path, const timespec* times) {
    return Errno(::utimensat(AT_FDCWD, path.c_str(), times, 0));
  };
  const std::vector<Row> rows = {
      {"create", EROFS,
       [](const auto& d, const auto&) {
         return Errno(::open((d + "/new").c_str(), O_CREAT | O_WRONLY, 0644));
       }},
      {"mknod", EROFS,
       [](const auto& d, const auto&) { return Errno(::mknod((d + "/new").c_str(), S_IFREG, 0)); }},
      {"mkdir", EROFS,
       [](const auto& d, const auto&) { return Errno(::mkdir((d + "/__pycache__").c_str(), 0755)); }},
      {"symlink", EROFS,
       [](const auto& d, const auto&) { return Errno(::symlink("x", (d + "/new").c_str())); }},
      {"unlink", EROFS, [](const auto&, const auto& f) { return Errno(::unlink(f.c_str())); }},
      {"rename within", EROFS,
       [](const auto& d, const auto& f) { return Errno(::rename(f.c_str(), (d + "/new").c_str())); }},
      {"rename out", EROFS,
       [&](const auto&, const auto& f) {
         return Errno(::rename(f.c_str(), (model + "@Champion/new").c_str()));
       }},
      {"touch of a directory", EROFS, [&](const auto& d, const auto&) { return set_times(d, nullptr); }},
      {"setxattr of a directory", EROFS,
       [](const auto& d, const auto&) { return Errno(::setxattr(d.c_str(), "user.x", "v", 1, 0)); }},
      {"open for writing", EACCES,
       [](const auto&, const auto& f) { return Errno(::open(f.c_str(), O_WRONLY)); }},
      {"truncate", EACCES, [](const auto&, const auto& f) { return Errno(::truncate(f.c_str(), 0)); }},
      {"touch of a file", EACCES, [&](const auto&, const auto& f) { return set_times(f, nullptr); }},
      {"setxattr of a file", EACCES,
       [](const auto&, const auto& f) { return Errno(::setxattr(f.c_str(), "user.x", "v", 1, 0)); }},
      {"chmod of a file", EPERM, [](const auto&, const auto& f) { return Errno(::chmod(f.c_str(), 0600)); }},
      {"chown of a file", EPERM,
       [](const auto&, const auto& f) { return Errno(::chown(f.c_str(), 60002, 60002)); }},
      {"times of a file", EPERM,
       [&](const auto&, const auto& f) {
         const std::array<timespec, 2> times = {timespec{1, 0}, timespec{1, 0}};
         return set_times(f, times.data());
       }},
      {"chmod of a directory", EPERM,
       [](const auto& d, const auto&) { return Errno(::chmod(d.c_str(), 0700)); }},
      {"chown of a directory", EPERM,
       [](const auto& d, const auto&) { return Errno(::chown(d.c_str(), 60002, 60002)); }},
  };
  const std::vector<std::pair<std::string, std::string>> places = {
      {inside, inside + "/MLmodel"},
      {inside + "/data", inside + "/data/weights"},
      {model + "@Champion", model + "@Champion/MLmodel"},
      {model + "@Champion/data", model + "@Champion/data/weights"},
  };
  for (const User& user : {kBob, kAnn}) {
    for (const auto& place : places) {
      for (const Row& row : rows) {
        EXPECT_EQ(As(user, [&] { return row.act(place.first, place.second); }), row.want)
            << user.name << ": " << row.name << " in " << place.first;
      }
    }
  }
  // The host's fs.protected_hardlinks decides between the two: it is about files of other users.
  for (const User& user : {kBob, kAnn}) {
    const int link =
        As(user, [&] { return Errno(::link(places[1].second.c_str(), (places[1].first + "/new").c_str())); });
    EXPECT_TRUE(link == EROFS || link == EPERM) << user.name << ": " << link;
  }
  // The kernel lets root through, so root gets our errno.
  for (const Row& row : rows) {
    EXPECT_EQ(As(kRootUser, [&] { return row.act(places[1].first, places[1].second); }), EROFS) << row.name;
  }
  // The message is there for any errno: recorded if the daemon was asked, and for `why PATH` in any case.
  const auto told = [&](const std::string& file, const std::string& attribute) {
    return As(kBob, [&] {
      std::string text = attribute.empty() ? ReadFile(file) : std::string(65536, ' ');
      if (!attribute.empty() && ::getxattr(file.c_str(), attribute.c_str(), text.data(), text.size()) <= 0)
        return errno;
      return text.find("a READY version never changes") != std::string::npos ? 0 : 100;
    });
  };
  EXPECT_EQ(told(shared.path() + "/.modelfs/errors", ""), 0);
  EXPECT_EQ(told(shared.path() + "/.modelfs", "user.modelfs.access.cat.sch.ready/1"), 0);
  EXPECT_EQ(told(shared.path() + "/.modelfs", "user.modelfs.access.cat.sch.ready@Champion"), 0);
  EXPECT_EQ(told(shared.path() + "/.modelfs", "user.modelfs.access.cat.sch.ready"), 100);
  // One line for each operation of each user, for any number of files.
  EXPECT_EQ(As(kBob,
               [&] {
                 const std::string errors = ReadFile(shared.path() + "/.modelfs/errors");
                 return std::count(errors.begin(), errors.end(), '\n') <= 16 ? 0 : 100;
               }),
            0);
}

TEST(SharedByUsers, GetfaclShowsGrantsAndSetfaclIsRefusedInFavourOfGrant) {
  SKIP_WITHOUT_MOUNT();
  SharedMount shared;
  const std::string model = shared.MakeModel("shown");
  shared.Grant("cat.sch.shown", kScience, {Privilege::kExecute});
  const ShellResult shown = Shell("getfacl -cpE " + model + "/versions");
  if (shown.status == 127) GTEST_SKIP() << "needs getfacl";
  EXPECT_EQ(shown.status, 0) << shown.output;
  EXPECT_NE(shown.output.find("group:" + kScience + ":r-x"), std::string::npos) << shown.output;
  EXPECT_NE(shown.output.find("user:" + kAnn.name + ":rwx"), std::string::npos) << shown.output;
  EXPECT_NE(shown.output.find("other::---"), std::string::npos) << shown.output;
  const int set = As(kAnn, [&] {
    std::array<char, 1024> acl;
    const ssize_t size = ::getxattr(model.c_str(), "system.posix_acl_access", acl.data(), acl.size());
    if (size <= 0) return 100;
    return Errno(
        ::setxattr(model.c_str(), "system.posix_acl_access", acl.data(), static_cast<size_t>(size), 0));
  });
  EXPECT_EQ(set, EPERM);
  EXPECT_EQ(As(kAnn,
               [&] {
                 return ReadFile(shared.path() + "/.modelfs/errors").find("GRANT") != std::string::npos ? 0
                                                                                                        : 100;
               }),
            0);
}

TEST(SharedByUsers, EveryMemberOfAnOwningGroupIsAnOwner) {
  SKIP_WITHOUT_MOUNT();
  SharedMount shared;
  const std::string model = shared.MakeModel("given");
  struct stat attr = {};
  ASSERT_EQ(::stat(model.c_str(), &attr), 0);
  EXPECT_EQ(attr.st_uid, kAnn.uid);
  CHECK(shared.registry().SetOwner(shared.admin(), shared.Id("cat.sch.given"), kScience).ok());
  EXPECT_EQ(As(kSam, [&] { return OpenRead(model + "/versions/1/MLmodel"); }), 0);
  EXPECT_EQ(As(kDora, [&] { return Errno(::symlink("../versions/1", (model + "/aliases/Theirs").c_str())); }),
            0);
  EXPECT_EQ(As(kAnn, [&] { return OpenRead(model + "/versions/1/MLmodel"); }), EACCES);
  EXPECT_TRUE(
      Eventually([&] { return As(kAnn, [&] { return StatWithoutSync(model + "/versions/1"); }) == EACCES; }));
  EXPECT_TRUE(Eventually([&] { return ::stat(model.c_str(), &attr) == 0 && attr.st_uid == 0; }));
}

// The sum of the counters that a path walk could move.
uint64_t Questions(const SharedMount& shared) {
  const std::string metrics = ReadFile(shared.path() + "/.modelfs/metrics");
  uint64_t sum = 0;
  for (const char* operation : {"lookup", "getattr", "getxattr", "access"}) {
    const std::string key = "operation=\"" + std::string(operation) + "\"} ";
    if (const size_t at = metrics.find(key); at != std::string::npos)
      sum += std::stoull(metrics.substr(at + key.size()));
  }
  return sum;
}

TEST(SharedByUsers, EveryUserWalksAWarmPathWithoutARequest) {
  SKIP_WITHOUT_MOUNT();
  SharedMount shared;
  const std::string model = shared.MakeModel("warm");
  shared.Grant("cat.sch.warm", kScience, {Privilege::kExecute});
  shared.Grant("cat.sch.warm", kBob.name, {Privilege::kExecute});
  constexpr int kWalks = 1000;
  const auto walk = [&](const User& user, int times) {
    return As(user, [&] {
      for (int i = 0; i < times; ++i) {
        if (const int error = StatWithoutSync(model + "/versions/1/data/weights")) return error;
        if (::access((model + "/versions/1/MLmodel").c_str(), R_OK) != 0) return errno;
      }
      return 0;
    });
  };
  EXPECT_EQ(walk(kAnn, 1), 0);
  EXPECT_EQ(walk(kBob, 1), 0);
  Questions(shared);  // its own path is warm, too
  const uint64_t before = Questions(shared);
  for (const User& user : {kAnn, kBob, kDora, kSam}) EXPECT_EQ(walk(user, kWalks), 0) << user.name;
  // The requests of Questions itself (the attributes of a file that is never cached) are not part of the
  // walks.
  EXPECT_LT(Questions(shared) - before, uint64_t{20});
}

TEST(SharedByUsers, AUidThatChangesHandsIsFollowed) {
  SKIP_WITHOUT_MOUNT();
  SharedMount shared;
  const std::string model = shared.MakeModel("mapped");
  shared.Grant("cat.sch.mapped", kBob.name, {Privilege::kExecute});
  const auto read = [&](const User& user) {
    return As(user, [&] { return OpenRead(model + "/versions/1/MLmodel"); });
  };
  EXPECT_EQ(read(kBob), 0);
  EXPECT_EQ(read(kEve), EACCES);
  // The uids change hands: the kernel drops what it has cached by uid.
  shared.Renumber({{kEve.name, kBob.uid}, {kBob.name, kEve.uid}});
  EXPECT_TRUE(Eventually([&] { return read(kEve) == 0; }));
  EXPECT_TRUE(Eventually([&] { return read(kBob) == EACCES; }));
  EXPECT_TRUE(
      Eventually([&] { return As(kBob, [&] { return StatWithoutSync(model + "/versions/1"); }) == EACCES; }));
}

// The kernel knows an owner by a listing alone, and lets the owner's uid in without asking for the ACL.
TEST(SharedByUsers, AnOwnersUidThatChangesHandsOpensNothing) {
  SKIP_WITHOUT_MOUNT();
  SharedMount shared;
  shared.MakeModel("first");
  const auto model = shared.registry().Create(shared.admin(), shared.Id("cat.sch"), "owned", "");
  ASSERT_TRUE(model.ok());
  ASSERT_TRUE(shared.registry().SetOwner(shared.admin(), model->id, kAnn.name).ok());
  const std::string schema = shared.path() + "/cat/sch";
  const std::string path = schema + "/owned";
  const auto owner = [&] {
    struct stat attr = {};
    return ::stat(path.c_str(), &attr) == 0 ? attr.st_uid : uid_t{0};
  };
  EXPECT_EQ(As(kAnn, [&] { return ListOf(schema).size() == 2 && owner() == kAnn.uid ? 0 : 100; }), 0);
  shared.Renumber({{kEve.name, kAnn.uid}, {kAnn.name, kEve.uid}});
  EXPECT_TRUE(
      Eventually([&] { return As(kAnn, [&] { return StatWithoutSync(path + "/versions"); }) == EACCES; }));
  EXPECT_EQ(owner(), kEve.uid);
}

TEST(SharedByUsers, AnOpenListingDoesNotBringAFormerOwnerBack) {
  SKIP_WITHOUT_MOUNT();
  SharedMount shared;
  const std::string model = shared.MakeModel("sold");
  shared.Grant("cat.sch.sold", kRootUser.name, {Privilege::kExecute});
  const auto owner = [&] {
    struct stat attr = {};
    return ::stat(model.c_str(), &attr) == 0 ? attr.st_uid : uid_t{0};
  };
  DIR* listing = ::opendir((shared.path() + "/cat/sch").c_str());
  ASSERT_NE(listing, nullptr);
  const auto names = [&] {
    size_t count = 0;
    for (::rewinddir(listing); ::readdir(listing) != nullptr;) ++count;
    return count;
  };
  EXPECT_EQ(names(), 3U);
  EXPECT_EQ(owner(), kAnn.uid);
  ASSERT_TRUE(shared.registry().SetOwner(shared.admin(), shared.Id("cat.sch.sold"), kEve.name).ok());
  EXPECT_TRUE(Eventually([&] { return owner() == kEve.uid; }));
  EXPECT_EQ(names(), 3U) << "as of its open";
  EXPECT_EQ(owner(), kEve.uid);
  ::closedir(listing);
}

}  // namespace
}  // namespace modelfs::fs
