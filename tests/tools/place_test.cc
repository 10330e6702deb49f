#include "tools/place.h"

#include <gtest/gtest.h>

#include "store/names.h"

namespace modelfs::tools {
namespace {

constexpr const char* kMountInfo =
    "21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
    "90 21 0:50 / /models rw,nosuid,nodev shared:2 master:3 - fuse.modelfs /home/ann/registry "
    "rw,user_id=1000,group_id=100,default_permissions,allow_other\n"
    "91 21 0:51 / /mnt/with\\040space\\134 rw - fuse.modelfs /r\\0402,allow_other,user_id=0 "
    "rw,user_id=4294967294,group_id=0\n"
    "92 90 0:52 / /models/prod ro - fuse.modelfs /inner ro,user_id=0,group_id=0\n"
    "93 21 0:53 / /other rw - fuse.sshfs ann@host: rw,user_id=7,group_id=0\n"
    "broken line\n";

std::vector<MountPoint> OursIn(std::string_view text) {
  std::vector<MountPoint> mounts = fs::ParseMountInfo(text);
  std::erase_if(mounts, [](const MountPoint& mount) { return mount.type != fs::kMountType; });
  return mounts;
}

TEST(MountInfo, ReadsOctalEscapesAndTheUserOfAMount) {
  EXPECT_EQ(fs::ParseMountInfo(kMountInfo).size(), 5U);
  const std::vector<MountPoint> mounts = OursIn(kMountInfo);
  ASSERT_EQ(mounts.size(), 3U);
  EXPECT_EQ(mounts[0].path, "/models");
  EXPECT_EQ(mounts[0].source, "/home/ann/registry");
  EXPECT_EQ(mounts[0].device, "0:50");
  EXPECT_EQ(mounts[0].user, 1000U);
  EXPECT_TRUE(mounts[0].shared);
  EXPECT_EQ(mounts[1].path, "/mnt/with space\\");
  EXPECT_EQ(mounts[1].source, "/r 2,allow_other,user_id=0") << "its user could choose this text";
  EXPECT_EQ(mounts[1].user, 4294967294U);
  EXPECT_FALSE(mounts[1].shared);
  EXPECT_EQ(mounts[2].path, "/models/prod");
  EXPECT_EQ(mounts[2].user, 0U);
}

TEST(MountInfo, FindsTheInnermostMountOfAPath) {
  const std::vector<MountPoint> mounts = OursIn(kMountInfo);
  struct Row {
    const char* path;
    const char* working_directory;
    const char* mount;  // nullptr: none
    const char* below;
  };
  for (const Row& row :
       {Row{"/models", "/", "/models", "/"}, Row{"/models/", "/", "/models", "/"},
        Row{"/models/dev/x", "/", "/models", "/dev/x"}, Row{"/models2/dev", "/", nullptr, ""},
        Row{"/models/prod/x", "/", "/models/prod", "/x"},
        Row{"dev//./y/../x", "/models", "/models", "/dev/x"},
        Row{"../x", "/models/prod/ml", "/models/prod", "/x"}, Row{"..", "/models/prod", "/models", "/"},
        Row{"/../../models", "/", "/models", "/"}, Row{"/", "/models", nullptr, ""},
        Row{"/other/x", "/", nullptr, ""}}) {
    SCOPED_TRACE(row.path);
    const std::optional<MountedPath> found = FindMount(mounts, row.path, row.working_directory);
    ASSERT_EQ(found.has_value(), row.mount != nullptr);
    if (!found) continue;
    EXPECT_EQ(found->mount.path, row.mount);
    EXPECT_EQ(found->below, row.below);
  }
}

std::string Describe(const Place& place) {
  std::string text = place.name.ToString();
  if (const auto* number = std::get_if<store::VersionNumber>(&place.version))
    text += "/" + std::to_string(*number);
  if (const auto* alias = std::get_if<std::string>(&place.version)) text += "@" + *alias;
  if (std::holds_alternative<Latest>(place.version)) text += "/latest";
  if (!place.inside.empty()) text += " : " + place.inside;
  return text;
}

TEST(Names, APathBelowAMountNamesTheObjectAtThatPath) {
  struct Row {
    const char* below;
    const char* want;  // nullptr: refused
  };
  for (const Row& row : {Row{"/", ""},
                         Row{"/prod", "prod"},
                         Row{"/prod/ml", "prod.ml"},
                         Row{"/prod/ml/iris", "prod.ml.iris"},
                         Row{"/prod/ml/iris/versions", "prod.ml.iris"},
                         Row{"/prod/ml/iris/aliases", "prod.ml.iris"},
                         Row{"/prod/ml/iris/versions/3", "prod.ml.iris/3"},
                         Row{"/prod/ml/iris/versions/3/a/b", "prod.ml.iris/3 : a/b"},
                         Row{"/prod/ml/iris/versions/latest", "prod.ml.iris/latest"},
                         Row{"/prod/ml/iris/aliases/Champion", "prod.ml.iris@Champion"},
                         Row{"/prod/ml/iris@Champion", "prod.ml.iris@Champion"},
                         Row{"/prod/ml/iris@Champion/MLmodel", "prod.ml.iris@Champion : MLmodel"},
                         Row{"/prod/ml/iris/versions/draft", nullptr},
                         Row{"/prod/ml/iris/versions/03", nullptr},
                         Row{"/prod/ml/iris/elsewhere", nullptr},
                         Row{"/prod/ml/iris/aliases/.tmp", nullptr},
                         Row{"/.modelfs", nullptr},
                         Row{"/.modelfs/status", nullptr},
                         Row{"/Prod", nullptr},
                         Row{"/prod/ml/iris@v2", nullptr}}) {
    SCOPED_TRACE(row.below);
    const Result<Place> place = PlaceBelowMount(row.below);
    ASSERT_EQ(place.ok(), row.want != nullptr) << (place.ok() ? Describe(*place) : place.error().message());
    if (place.ok()) {
      EXPECT_EQ(Describe(*place), row.want);
    }
  }
}

TEST(Names, EveryFormOfANameParses) {
  struct Row {
    const char* text;
    const char* want;
  };
  for (const Row& row :
       {Row{"prod", "prod"}, Row{"prod.ml", "prod.ml"}, Row{"prod.ml.iris", "prod.ml.iris"},
        Row{"prod.ml.iris/3", "prod.ml.iris/3"}, Row{"prod.ml.iris@Champion", "prod.ml.iris@Champion"},
        Row{"models:/prod.ml.iris", "prod.ml.iris"}, Row{"models:/prod.ml.iris/3", "prod.ml.iris/3"},
        Row{"models:/prod.ml.iris@Champion", "prod.ml.iris@Champion"}}) {
    SCOPED_TRACE(row.text);
    const Result<Place> place = ParsePlace(row.text);
    ASSERT_TRUE(place.ok()) << place.error().message();
    EXPECT_EQ(Describe(*place), row.want);
    EXPECT_EQ(place->home, "");
  }
}

// Hostile names, and harmless ones that look hostile: the command line must agree with the store.
TEST(Names, AreAcceptedExactlyIfTheStoreAcceptsThem) {
  const std::string long_name(256, 'a');
  const std::string fits(255, 'a');
  for (const std::string& name :
       {std::string("iris"), std::string("\xC3\xA9t\xC3\xA9"), fits, long_name, std::string("Iris"),
        std::string("e\xCC\x81"), std::string("iris\n"), std::string("a b"), std::string("\xFF\xFE"),
        std::string("a\xE2\x80\xAE"
                    "b"),
        std::string("a\xE2\x80\x8B"
                    "b"),
        std::string("a\tb"), std::string("a\x7F"), std::string("-x"), std::string("_"), std::string("a:b"),
        std::string("9")}) {
    SCOPED_TRACE(name);
    const bool allowed = store::CheckObjectName(name).ok();
    EXPECT_EQ(ParsePlace(name).ok(), allowed);
    EXPECT_EQ(ParsePlace("prod.ml." + name).ok(), allowed);
    EXPECT_EQ(PlaceBelowMount("/" + name).ok(), allowed);
    EXPECT_EQ(PlaceBelowMount("/prod/ml/" + name).ok(), allowed);
    EXPECT_EQ(PlaceBelowMount("/prod/ml/" + name + "/versions/1").ok(), allowed);
  }
  for (const std::string& alias :
       {std::string("Champion"), std::string("latest"), std::string("v1"), std::string("7"),
        std::string("CuA1b2c3"), std::string("a.b"), std::string("a\n"), std::string("\xC3\xA9")}) {
    SCOPED_TRACE(alias);
    const bool allowed = store::CheckAliasName(alias).ok();
    EXPECT_EQ(ParsePlace("prod.ml.iris@" + alias).ok(), allowed);
    EXPECT_EQ(PlaceBelowMount("/prod/ml/iris@" + alias).ok(), allowed);
  }
  for (const char* nothing :
       {"", "..", ".", "/", "prod..ml", ".prod", "prod.", "a.b.c.d", "a.b.c/0", "a.b.c/-1", "a.b.c/01",
        "a.b.c/1x", "a.b/1", "a.b.c@", "models:/", "models:/a", "a.b.c/1@x"}) {
    SCOPED_TRACE(nothing);
    EXPECT_FALSE(ParsePlace(nothing).ok());
  }
}

TEST(Names, TheWordMetastoreNamesTheMetastore) {
  for (const char* text : {"metastore", "."}) {  // the tests' directory is under no mount
    const Result<Place> place = ParsePlaceOrMetastore(text);
    ASSERT_TRUE(place.ok()) << text;
    EXPECT_TRUE(place->name.parts.empty()) << text;
    EXPECT_FALSE(place->HasVersion()) << text;
  }
  EXPECT_EQ(ParsePlaceOrMetastore("metastore.x")->name.ToString(), "metastore.x");
  EXPECT_EQ(ParsePlaceOrMetastore("prod.ml.iris/3")->name.ToString(), "prod.ml.iris");
  EXPECT_FALSE(ParsePlaceOrMetastore("..").ok());
}

}  // namespace
}  // namespace modelfs::tools
