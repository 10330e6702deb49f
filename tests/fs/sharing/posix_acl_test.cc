#include "fs/sharing/posix_acl.h"

#include <gtest/gtest.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <map>
#include <memory>

namespace modelfs::fs {
namespace {

using store::ObjectAccess;
using store::ObjectRights;
using store::PrincipalKind;

constexpr ObjectRights kNothing{};
constexpr ObjectRights kSees{.see = true};
constexpr ObjectRights kLoads{.see = true, .get = true, .read_files = true};
constexpr ObjectRights kManages{.see = true, .get = true, .change_versions = true, .set_alias = true};
constexpr ObjectRights kOwns{
    .see = true, .get = true, .read_files = true, .tag = true, .change_versions = true, .set_alias = true};
constexpr ObjectRights kTags{.see = true, .tag = true};
constexpr ObjectRights kAddsVersions{.see = true, .change_versions = true};

store::PrincipalRights Entry(std::string name, PrincipalKind kind, const ObjectRights& rights) {
  store::PrincipalRights entry;
  entry.principal.id = 7;
  entry.principal.kind = kind;
  entry.principal.name = std::move(name);
  entry.rights = rights;
  return entry;
}

// A name's number follows its first letter: "u1000" is uid 1000, "g100" is gid 100.
IdLookup ByNumber() {
  const auto number = [](std::string_view name) {
    return std::vector<uint32_t>{static_cast<uint32_t>(std::stoul(std::string(name.substr(1))))};
  };
  const auto called = [number](const std::vector<std::string>& names) {
    std::vector<uid_t> uids;
    for (const std::string& name : names) uids.push_back(number(name).front());
    return uids;
  };
  return {.uids = number, .gids = number, .called = called};
}

std::shared_ptr<const store::Namesakes> Namesakes(std::vector<std::string> service_principals,
                                                  std::vector<std::string> groups) {
  return std::make_shared<const store::Namesakes>(
      store::Namesakes{std::move(service_principals), std::move(groups)});
}

TEST(Access, EachPartOfAnObjectShowsItsOwnRights) {
  const struct {
    const char* name;
    AccessClass part;
    ObjectRights rights;
    unsigned want;
  } kRows[] = {
      {"nobody enters a container", AccessClass::kContainer, kNothing, 0},
      {"USE CATALOG, BROWSE: what is in it may be one's own", AccessClass::kContainer, kSees, 07},
      {"APPLY TAG on a container that one may not enter", AccessClass::kContainer, {.tag = true}, 02},
      {"a model for who may browse", AccessClass::kModel, kSees, 05},
      {"a model's tags", AccessClass::kModel, kTags, 07},
      {"its owner", AccessClass::kModel, kOwns, 07},
      {"a model's versions are not browsed", AccessClass::kVersions, kSees, 0},
      {"EXECUTE lists versions", AccessClass::kVersions, kLoads, 05},
      {"CREATE MODEL VERSION makes drafts", AccessClass::kVersions, kAddsVersions, 07},
      {"APPLY TAG passes to a version it names", AccessClass::kVersions, kTags, 01},
      {"aliases are not browsed", AccessClass::kAliases, kSees, 0},
      {"EXECUTE resolves aliases", AccessClass::kAliases, kLoads, 05},
      {"MANAGE sets aliases", AccessClass::kAliases, kManages, 07},
      {"CREATE MODEL VERSION sets none", AccessClass::kAliases, kAddsVersions, 0},
      {"BROWSE reads model.json", AccessClass::kInfo, kSees, 05},
      {"and no version's", AccessClass::kInfoVersions, kSees, 0},
      {"EXECUTE does", AccessClass::kInfoVersions, kLoads, 05},
      {"EXECUTE loads a version", AccessClass::kVersionRoot, kLoads, 07},
      {"MANAGE reads its attributes, not its files", AccessClass::kVersionRoot, kManages, 04},
      {"APPLY TAG sets its tags, unseen", AccessClass::kVersionRoot, kTags, 02},
      {"the owner loads and tags it", AccessClass::kVersionRoot, kOwns, 07},
      {"whoever may load it hears from the daemon that it never changes", AccessClass::kInVersion, kLoads,
       07},
      {"the owner, too", AccessClass::kInVersion, kOwns, 07},
      {"MANAGE opens nothing in it", AccessClass::kInVersion, kManages, 0},
  };
  for (const auto& row : kRows) {
    EXPECT_EQ(PermissionsFor(row.part, row.rights), row.want) << row.name;
    EXPECT_EQ(PermissionsFor(row.part, row.rights) & ~MaskFor(row.part), 0U) << row.name;
  }
}

TEST(Access, TheMaskLetsTheKernelAskForTheAcl) {
  for (int part = 0; part <= static_cast<int>(AccessClass::kInVersion); ++part) {
    const auto each = static_cast<AccessClass>(part);
    EXPECT_NE(ModeFor(each) & S_IRWXG, 0U) << part;
    EXPECT_EQ((ModeFor(each) & S_IRWXG) >> 3U, MaskFor(each)) << part;
  }
  // The root has no ACL, and every user but its owner is "other".
  EXPECT_EQ(kRootMode & S_IRWXG, 0U);
}

TEST(Access, UsersServicePrincipalsAndHostGroupsBecomeEntriesById) {
  ObjectAccess access;
  access.entries = {Entry("u1001", PrincipalKind::kUser, kOwns), Entry("u1000", PrincipalKind::kUser, kLoads),
                    Entry("g200", PrincipalKind::kGroup, kLoads),
                    Entry("s5", PrincipalKind::kServicePrincipal, kOwns)};
  const Acl acl = ProjectAcl(AccessClass::kVersions, access, ByNumber());
  EXPECT_EQ(acl.users, (std::vector<Acl::Named>{{5, 07}, {1000, 05}, {1001, 07}}));
  EXPECT_EQ(acl.groups, (std::vector<Acl::Named>{{200, 05}}));
  EXPECT_EQ(acl.owner, 07U);
  EXPECT_EQ(acl.group, 0U);
  EXPECT_EQ(acl.other, 0U);
  EXPECT_EQ(acl.mask, 07U);
}

TEST(Access, EveryEntryIncludesEveryonesRights) {
  ObjectAccess access;
  access.everyone = kLoads;
  access.entries = {Entry("u1000", PrincipalKind::kUser, kAddsVersions),
                    Entry("g200", PrincipalKind::kGroup, kTags), Entry("u1002", PrincipalKind::kUser, kSees)};
  const Acl acl = ProjectAcl(AccessClass::kVersions, access, ByNumber());
  EXPECT_EQ(acl.other, 05U);
  EXPECT_EQ(acl.group, 05U) << "who is in the directory's group is not everyone's lesser";
  EXPECT_EQ(acl.users, (std::vector<Acl::Named>{{1000, 07}})) << "an entry that says no more is not needed";
  EXPECT_TRUE(acl.groups.empty());
}

TEST(Access, OneIdOfSeveralPrincipalsHasAllTheirRights) {
  ObjectAccess access;
  access.entries = {Entry("u1000", PrincipalKind::kUser, kTags),
                    Entry("u1000", PrincipalKind::kUser, kLoads)};
  const Acl acl = ProjectAcl(AccessClass::kVersionRoot, access, ByNumber());
  EXPECT_EQ(acl.users, (std::vector<Acl::Named>{{1000, 07}}));
}

ObjectAccess Grants(size_t users, size_t groups) {
  ObjectAccess access;
  for (size_t i = 0; i < users; ++i) {
    access.entries.push_back(Entry("u" + std::to_string(1000 + i), PrincipalKind::kUser, kLoads));
  }
  for (size_t i = 0; i < groups; ++i) {
    access.entries.push_back(Entry("g" + std::to_string(1000 + i), PrincipalKind::kGroup, kLoads));
  }
  return access;
}

// A user of a group: the gates that the group's rights assume are closed to the user.
store::LesserRights Lesser(std::string name, const ObjectRights& rights, const ObjectRights& of_groups) {
  return {Entry(std::move(name), PrincipalKind::kUser, rights).principal, rights, of_groups};
}

TEST(Access, AUserWithLessThanTheKernelWouldGiveGetsAnEntry) {
  const auto users = [](const ObjectAccess& access) {
    return ProjectAcl(AccessClass::kVersions, access, ByNumber()).users;
  };
  ObjectAccess access;
  access.namesakes = Namesakes({"s5", "s6"}, {"g7"});
  EXPECT_TRUE(users(access).empty()) << "no user is let through anyway";
  access.everyone = kAddsVersions;
  EXPECT_EQ(users(access), (std::vector<Acl::Named>{{7, 0}})) << "a service principal is one of everyone";
  access.entries = {Entry("g200", PrincipalKind::kGroup, kOwns)};
  EXPECT_EQ(users(access), (std::vector<Acl::Named>{{7, 0}})) << "the group says no more than everyone has";

  access.everyone = kLoads;
  access.entries = {Entry("s6", PrincipalKind::kServicePrincipal, kOwns),
                    Entry("g200", PrincipalKind::kGroup, kOwns)};
  EXPECT_EQ(users(access), (std::vector<Acl::Named>{{5, 05}, {6, 07}, {7, 0}}));
  access.everyone = kNothing;
  EXPECT_EQ(users(access), (std::vector<Acl::Named>{{5, 0}, {6, 07}, {7, 0}}));
  // Its own right may be one that this directory does not show.
  access.entries.front().rights = kSees;
  EXPECT_EQ(users(access), (std::vector<Acl::Named>{{5, 0}, {6, 0}, {7, 0}}));
}

TEST(Access, EntriesForUsersWithLessEndAtTheLimitAndOpenNothingToOthers) {
  ObjectAccess access = Grants(kMaxNamedEntries - 3, 1);
  access.namesakes = Namesakes({"s5", "s6"}, {"g7"});
  const Acl acl = ProjectAcl(AccessClass::kVersions, access, ByNumber());
  EXPECT_EQ(acl.users.size() + acl.groups.size(), kMaxNamedEntries);
  EXPECT_EQ(acl.other, 0U);
  EXPECT_EQ(acl.groups.size(), 1U);
  EXPECT_EQ(acl.users[0], (Acl::Named{5, 0}));
  EXPECT_EQ(acl.users[1], (Acl::Named{7, 0})) << "users that hold nothing come first";
  EXPECT_EQ(acl.users[2], (Acl::Named{1000, 05}));

  access = Grants(kMaxNamedEntries - 3, 1);
  access.namesakes = Namesakes({"s5"}, {});
  access.lesser = {Lesser("u8", kSees, kLoads), Lesser("u9", kSees, kLoads)};
  const Acl with_lesser = ProjectAcl(AccessClass::kVersions, access, ByNumber());
  EXPECT_EQ(with_lesser.users.size() + with_lesser.groups.size(), kMaxNamedEntries);
  EXPECT_EQ(with_lesser.users[0], (Acl::Named{5, 0}));
  EXPECT_EQ(with_lesser.users[1], (Acl::Named{8, 0}));
}

TEST(Access, AUserWithLessThanItsGroupsGetsAnEntryWhereTheDirectoryShowsIt) {
  ObjectAccess access;
  access.everyone = kSees;
  access.entries = {Entry("u1000", PrincipalKind::kUser, kTags),
                    Entry("g200", PrincipalKind::kGroup, kLoads)};
  access.lesser = {Lesser("u1000", kTags, kLoads), Lesser("u1001", kSees, kLoads)};
  const auto users = [&](AccessClass part) { return ProjectAcl(part, access, ByNumber()).users; };
  EXPECT_EQ(users(AccessClass::kVersions), (std::vector<Acl::Named>{{1000, 01}, {1001, 0}}));
  EXPECT_EQ(users(AccessClass::kVersionRoot), (std::vector<Acl::Named>{{1000, 02}, {1001, 0}}));
  EXPECT_EQ(users(AccessClass::kInVersion), (std::vector<Acl::Named>{{1000, 0}, {1001, 0}}));
  EXPECT_EQ(users(AccessClass::kModel), (std::vector<Acl::Named>{{1000, 07}})) << "the group says no more";
  access.lesser[1].of_groups = kTags;
  EXPECT_EQ(users(AccessClass::kInVersion), (std::vector<Acl::Named>{{1000, 0}})) << "tags are set elsewhere";

  // A uid that the registry knows by another name is a different user.
  IdLookup ids = ByNumber();
  ids.called = [](const std::vector<std::string>&) { return std::vector<uid_t>(); };
  EXPECT_TRUE(ProjectAcl(AccessClass::kInVersion, access, ids).users.empty());
}

TEST(Access, PastTheKernelsLimitEverybodyIsLetThrough) {
  const Acl most = ProjectAcl(AccessClass::kVersions, Grants(400, 100), ByNumber());
  EXPECT_EQ(most.users.size() + most.groups.size(), kMaxNamedEntries);
  EXPECT_EQ(most.other, 0U);
  EXPECT_LE(EncodeAcl(most).size(), size_t{4096});
  for (const size_t grants : {size_t{501}, size_t{4000}}) {
    const Acl wide = ProjectAcl(AccessClass::kVersions, Grants(grants - 1, 1), ByNumber());
    EXPECT_TRUE(wide.users.empty());
    EXPECT_TRUE(wide.groups.empty());
    EXPECT_EQ(wide.other, 05U) << grants;
    EXPECT_EQ(wide.group, 05U) << grants;
  }
  ObjectAccess access = Grants(501, 0);
  access.entries.push_back(Entry("u5000", PrincipalKind::kUser, kAddsVersions));
  EXPECT_EQ(ProjectAcl(AccessClass::kVersions, access, ByNumber()).other, 07U);
}

TEST(Access, ANameOfARangeOfUidsCountsAsOthersAndAnAdminsDoesNot) {
  IdLookup ids = ByNumber();
  ids.uids = [](std::string_view name) {
    return name == "u1000" ? std::vector<uid_t>{1000} : std::vector<uid_t>();
  };
  ids.shared = [](std::string_view name) { return name == "batch" || name == "root"; };
  ObjectAccess access;
  access.entries = {Entry("batch", PrincipalKind::kUser, kLoads), Entry("g100", PrincipalKind::kGroup, kSees),
                    Entry("u1000", PrincipalKind::kUser, kSees), Entry("root", PrincipalKind::kUser, kOwns)};
  access.entries.back().admin = true;
  const Acl acl = ProjectAcl(AccessClass::kVersionRoot, access, ids);
  EXPECT_EQ(acl.other, 07U);
  EXPECT_EQ(acl.group, 07U);
  EXPECT_TRUE(acl.users.empty()) << "users that may only look at the model have nothing here";
  const Acl model = ProjectAcl(AccessClass::kModel, access, ids);
  EXPECT_EQ(model.users, (std::vector<Acl::Named>{{1000, 05}}));
  EXPECT_EQ(model.groups, (std::vector<Acl::Named>{{100, 05}}));
  EXPECT_EQ(model.other, 05U);
  access.entries.erase(access.entries.begin());
  EXPECT_EQ(ProjectAcl(AccessClass::kModel, access, ids).other, 0U) << "a range gives no uid an admin's name";
}

// The kernel decides by the entry of the user's gid if one exists, and not by "other".
TEST(Access, AUserOfASharedNameIsLetThroughInEveryGroup) {
  IdLookup ids = ByNumber();
  ids.shared = [](std::string_view name) { return name == "u7"; };
  ids.uids = [](std::string_view) { return std::vector<uid_t>(); };
  ObjectAccess access;
  access.entries = {Entry("g100", PrincipalKind::kGroup, kTags), Entry("u7", PrincipalKind::kUser, kLoads)};
  const Acl acl = ProjectAcl(AccessClass::kVersionRoot, access, ids);
  EXPECT_EQ(acl.groups, (std::vector<Acl::Named>{{100, 07}}));
}

TEST(Access, EncodesAsTheKernelReadsIt) {
  Acl acl;
  acl.owner = 7;
  acl.users = {{1000, 5}};
  acl.group = 0;
  acl.groups = {{0x01020304, 7}};
  acl.mask = 7;
  acl.other = 5;
  const std::string_view want(
      "\x02\x00\x00\x00"
      "\x01\x00\x07\x00\xFF\xFF\xFF\xFF"
      "\x02\x00\x05\x00\xE8\x03\x00\x00"
      "\x04\x00\x00\x00\xFF\xFF\xFF\xFF"
      "\x08\x00\x07\x00\x04\x03\x02\x01"
      "\x10\x00\x07\x00\xFF\xFF\xFF\xFF"
      "\x20\x00\x05\x00\xFF\xFF\xFF\xFF",
      52);
  EXPECT_EQ(EncodeAcl(acl), want);
}

// Checks the ACL by the kernel itself (posix_acl_valid), on a file system that keeps ACLs.
TEST(Access, TheKernelAcceptsEveryAclAndReturnsIt) {
  std::string directory = (std::filesystem::temp_directory_path() / "modelfs-acl-XXXXXX").string();
  ASSERT_NE(::mkdtemp(directory.data()), nullptr);
  ObjectAccess one;
  one.everyone = kSees;
  one.entries = {Entry("u0", PrincipalKind::kUser, kLoads), Entry("g65534", PrincipalKind::kGroup, kOwns)};
  const ObjectAccess kRows[] = {ObjectAccess(), one, Grants(3, 3), Grants(250, 250), Grants(501, 0)};
  for (const ObjectAccess& access : kRows) {
    for (int part = 0; part <= static_cast<int>(AccessClass::kInVersion); ++part) {
      const auto each = static_cast<AccessClass>(part);
      const std::string value = EncodeAcl(ProjectAcl(each, access, ByNumber()));
      const int set = ::setxattr(directory.c_str(), "system.posix_acl_access", value.data(), value.size(), 0);
      if (set != 0 && (errno == ENOTSUP || errno == ENOSPC)) {
        std::filesystem::remove(directory);
        GTEST_SKIP() << "the file system of " << directory << " keeps no such ACLs: " << std::strerror(errno);
      }
      ASSERT_EQ(set, 0) << std::strerror(errno);
      std::string back(4096, '\0');
      const ssize_t size = ::getxattr(directory.c_str(), "system.posix_acl_access", back.data(), back.size());
      ASSERT_GE(size, 0) << std::strerror(errno);
      back.resize(static_cast<size_t>(size));
      EXPECT_EQ(back, value);
      struct stat attr = {};
      ASSERT_EQ(::stat(directory.c_str(), &attr), 0);
      EXPECT_EQ(attr.st_mode & S_IRWXG, (MaskFor(each) << 3U))
          << "the mask is what the mode shows of the group";
    }
  }
  std::filesystem::remove(directory);
}

}  // namespace
}  // namespace modelfs::fs
