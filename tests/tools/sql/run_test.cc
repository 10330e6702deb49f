// SQL, principals and rules against a registry: the effect, the output and the refusals of each statement.
#include "tools/sql/run.h"

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "tests/store/registry_fixture.h"
#include "tools/principals.h"
#include "tools/settings.h"
#include "tools/sql/parser.h"

namespace modelfs::tools {
namespace {

using testing::Ann;
using testing::Box;

class FakeDirectory : public store::PrincipalDirectory {
 public:
  std::map<std::string, std::vector<std::string>> users;
  std::optional<Found> Find(std::string_view name) override {
    const auto user = users.find(std::string(name));
    if (user == users.end()) return std::nullopt;
    return Found{user->first, store::PrincipalKind::kUser};
  }
  std::vector<std::string> GroupsOf(std::string_view user) override { return users[std::string(user)]; }
};

struct World {
  Box box{store::MakeMemoryKv()};
  store::Caller caller = Ann();

  // Prints each row as "a|b|c", and an error as its code.
  std::string Run(const std::string& sql) {
    const auto statements = ParseSql(sql);
    if (!statements.ok()) return "unreadable: " + statements.error().message();
    std::string out;
    for (const ParsedStatement& statement : *statements) {
      const Result<SqlTable> table = RunSql(*box.registry, *box.registry, caller, statement.statement);
      if (!table.ok()) return out + std::string(CodeName(table.error().code()));
      for (const auto& row : table->rows) {
        EXPECT_EQ(row.size(), table->columns.size());
        std::string line;
        for (const std::string& cell : row) line += (line.empty() ? "" : "|") + cell;
        out += line + "\n";
      }
    }
    return out;
  }
};

TEST(SqlRun, ObjectsAreCreatedShownChangedAndDropped) {
  World world;
  EXPECT_EQ(world.Run("CREATE CATALOG Prod COMMENT 'live'; CREATE SCHEMA prod.ml; CREATE MODEL prod.ml.iris"),
            "");
  EXPECT_EQ(world.Run("CREATE CATALOG prod"), "already exists");
  EXPECT_EQ(world.Run("CREATE CATALOG IF NOT EXISTS prod; CREATE CATALOG dev"), "");
  EXPECT_EQ(world.Run("CREATE SCHEMA nowhere.x"), "not found");
  EXPECT_EQ(world.Run("SHOW CATALOGS"), "dev|ann\nprod|ann\n");
  EXPECT_EQ(world.Run("SHOW CATALOGS LIKE 'P%'"), "prod|ann\n");
  EXPECT_EQ(world.Run("CREATE SCHEMA dev.x; SHOW SCHEMAS"), "dev|x|ann\nprod|ml|ann\n");
  EXPECT_EQ(world.Run("SHOW SCHEMAS IN prod"), "prod|ml|ann\n");
  EXPECT_EQ(world.Run("SHOW MODELS IN prod.ml"), "prod|ml|iris||ann\n");
  EXPECT_EQ(
      world.Run("ALTER MODEL prod.ml.iris SET TAGS ('task' = 'class', 'b'); "
                "COMMENT ON MODEL prod.ml.iris IS 'petals'; ALTER MODEL prod.ml.iris RENAME TO flowers"),
      "");
  EXPECT_EQ(world.Run("DESCRIBE prod.ml.flowers"),
            "Type|MODEL\nName|prod.ml.flowers\nOwner|ann\nComment|petals\nCreatedAt|2023-11-14T22:13:20Z\n"
            "CreatedBy|ann\nUpdatedAt|2023-11-14T22:13:20Z\nUpdatedBy|ann\nTag.b|\nTag.task|class\n");
  EXPECT_EQ(world.Run("ALTER MODEL prod.ml.flowers UNSET TAGS ('b', 'none')"), "not found");
  world.box.Make("prod.ml.flowers");
  EXPECT_OK(world.box.Commit(world.box.registry->Lookup(world.caller, {{"prod", "ml", "flowers"}})->id));
  EXPECT_EQ(world.Run("SHOW MODELS IN prod.ml"), "prod|ml|flowers|1|ann\n");
  EXPECT_EQ(world.Run("DROP MODEL prod.ml.flowers"), "failed precondition");
  EXPECT_EQ(world.Run("DROP MODEL prod.ml.flowers CASCADE; DROP SCHEMA prod.ml; DROP CATALOG prod"), "");
  EXPECT_EQ(world.Run("DROP CATALOG prod"), "not found");
  EXPECT_EQ(world.Run("DROP CATALOG IF EXISTS prod; DROP MODEL IF EXISTS prod.ml.iris"), "");
}

TEST(SqlRun, GrantsAreGivenShownAndRevoked) {
  World world;
  world.box.Make("prod.ml.iris");
  EXPECT_EQ(world.Run("GRANT USE CATALOG ON CATALOG prod TO stranger"), "not found");
  EXPECT_EQ(
      world.Run("CREATE GROUP `Data Science`; GRANT USE_CATALOG, BROWSE ON CATALOG prod TO `data science`"),
      "");
  EXPECT_EQ(world.Run("SHOW GRANTS ON CATALOG prod"),
            "Data Science|USE CATALOG|CATALOG|prod\nData Science|BROWSE|CATALOG|prod\n");
  EXPECT_EQ(world.Run("GRANT ALL PRIVILEGES ON FUNCTION prod.ml.iris TO `account users`; "
                      "SHOW GRANTS `account users` ON MODEL prod.ml.iris"),
            "account users|ALL PRIVILEGES|MODEL|prod.ml.iris\n");
  EXPECT_EQ(world.Run("REVOKE BROWSE ON CATALOG prod FROM `Data Science`; SHOW GRANT ON CATALOG prod"),
            "Data Science|USE CATALOG|CATALOG|prod\n");
  EXPECT_EQ(world.Run("GRANT EXECUTE ON METASTORE TO `Data Science`"), "invalid argument");
  EXPECT_EQ(world.Run("GRANT CREATE CATALOG ON METASTORE TO `Data Science`; SHOW GRANTS ON METASTORE"),
            "Data Science|CREATE CATALOG|METASTORE|\n");
  EXPECT_EQ(world.Run("GRANT EXECUTE ON MODEL prod.ml.none TO `Data Science`"), "not found");
  EXPECT_EQ(world.Run("ALTER SCHEMA prod.ml SET OWNER TO `Data Science`; SHOW SCHEMAS IN prod"),
            "prod|ml|Data Science\n");

  world.caller.principal = "eve";
  EXPECT_EQ(world.Run("GRANT EXECUTE ON MODEL prod.ml.iris TO `account users`"), "not found");
  EXPECT_EQ(world.Run("SHOW CATALOGS"), "");
}

TEST(SqlRun, GroupsAreCreatedFilledAndShown) {
  World world;
  ASSERT_OK(world.box.registry->CreatePrincipal(world.caller, store::PrincipalKind::kUser, "Bob"));
  ASSERT_OK(
      world.box.registry->CreatePrincipal(world.caller, store::PrincipalKind::kServicePrincipal, "robot"));
  EXPECT_EQ(world.Run("CREATE GROUP g; CREATE GROUP IF NOT EXISTS G; ALTER GROUP g ADD MEMBER bob, robot"),
            "");
  EXPECT_EQ(world.Run("CREATE GROUP g"), "already exists");
  const auto members = world.box.registry->Members(world.caller, "g");
  ASSERT_OK(members);
  EXPECT_EQ(members->size(), 2U);
  EXPECT_EQ(world.Run("ALTER GROUP g ADD GROUP g"), "failed precondition");
  EXPECT_EQ(world.Run("SHOW GROUPS LIKE 'G'"), "g|group|registry\n");
  EXPECT_EQ(world.Run("SHOW PRINCIPALS LIKE 'r%'"), "robot|service principal|registry\n");
  EXPECT_EQ(world.Run("SHOW USERS LIKE '%o%'"), "Bob|user|registry\n");
  EXPECT_EQ(world.Run("ALTER GROUP g DROP USER bob; DROP GROUP bob"), "failed precondition");
  EXPECT_EQ(world.Run("DROP GROUP g; DROP GROUP IF EXISTS g"), "");
  EXPECT_EQ(world.Run("DROP GROUP g"), "not found");
}

TEST(Settings, AreReadAndWrittenByKeyAndShownByDescribe) {
  World world;
  ASSERT_EQ(world.Run("CREATE CATALOG prod; CREATE GROUP releasers"), "");
  store::ContainerSettings settings;
  struct Row {
    std::string key, value, outcome;
  };
  const std::vector<Row> rows = {
      {"signature", "required", "ok"},
      {"signature", "maybe", "invalid argument"},
      {"max-models", "10", "ok"},
      {"max-versions", "0", "ok"},
      {"max-models", "-1", "invalid argument"},
      {"max-models", "1x", "invalid argument"},
      {"max-models", "", "invalid argument"},
      {"max-models", "99999999999999999999", "invalid argument"},
      {"colour", "red", "invalid argument"},
      {"protected-alias.", "g", "invalid argument"},
      {"protected-alias.a b", "g", "invalid argument"},
      {"protected-alias.Champion", "releasers", "ok"},
      {"protected-alias.Champion", "uid:5", "invalid argument"},
  };
  for (const Row& row : rows) {
    EXPECT_EQ(testing::Outcome(ApplySetting(row.key, row.value, settings)), row.outcome)
        << row.key << row.value;
  }
  const store::ObjectId prod = world.box.registry->Lookup(world.caller, {{"prod"}})->id;
  ASSERT_OK(world.box.registry->SetSettings(world.caller, prod, {}, settings));
  const std::string described = world.Run("DESCRIBE prod");
  EXPECT_NE(described.find("Setting.signature|required\nSetting.protected-alias.Champion|releasers\n"
                           "Setting.max-models|10\nSetting.max-versions|0\n"),
            std::string::npos)
      << described;
  for (const char* key : {"signature", "max-models", "max-versions", "protected-alias.Champion"}) {
    EXPECT_OK(RemoveSetting(key, settings));
  }
  EXPECT_TRUE(settings == store::ContainerSettings{});
  EXPECT_FALSE(RemoveSetting("colour", settings).ok());
}

TEST(ActAs, OnlyAnAdminMayAndTheCallerHasBothNames) {
  World world;
  FakeDirectory directory;
  directory.users = {{"dora", {"staff", "ml"}}};
  auto& registry = *world.box.registry;
  ASSERT_OK(registry.CreatePrincipal(world.caller, store::PrincipalKind::kServicePrincipal, "Robot"));
  ASSERT_EQ(world.Run("CREATE GROUP g; GRANT CREATE CATALOG ON METASTORE TO robot"), "");

  const auto robot = ActAs(registry, &directory, world.caller, "robot");
  ASSERT_OK(robot);
  EXPECT_EQ(robot->principal, "Robot");
  EXPECT_EQ(robot->run_by, "ann");
  EXPECT_TRUE(robot->groups.empty());
  const auto dora = ActAs(registry, &directory, world.caller, "dora");
  ASSERT_OK(dora);
  EXPECT_EQ(dora->groups, (std::vector<std::string>{"staff", "ml"}));

  EXPECT_EQ(testing::Outcome(ActAs(registry, &directory, world.caller, "g")), "invalid argument");
  EXPECT_EQ(testing::Outcome(ActAs(registry, &directory, world.caller, "nobody-there")), "not found");
  EXPECT_EQ(testing::Outcome(ActAs(registry, nullptr, world.caller, "dora")), "not found");
  EXPECT_EQ(testing::Outcome(ActAs(registry, &directory, world.caller, "uid:0")), "invalid argument");
  store::Caller eve = Ann();
  eve.principal = "eve";
  EXPECT_EQ(testing::Outcome(ActAs(registry, &directory, eve, "robot")), "permission denied");
  EXPECT_EQ(testing::Outcome(ActAs(registry, &directory, *robot, "dora")), "permission denied");

  world.caller = *robot;
  EXPECT_EQ(world.Run("CREATE CATALOG made; SHOW CATALOGS"), "made|Robot\n");
}

}  // namespace
}  // namespace modelfs::tools
