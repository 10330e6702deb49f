#include "fs/sharing/decisions.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "fs/sharing/permit.h"
#include "tests/fs/zone_world.h"
#include "tests/store/counting.h"

namespace modelfs::fs {
namespace {

TEST(Decisions, AQuestionIsAskedOnceUntilTheRegistryChanges) {
  ZoneWorld world;
  const store::ObjectId model = world.Make("prod.ml.iris");
  store::Counting counting;
  store::CountingGovernance governance(*world.registry, counting);
  Decisions decisions(governance, *world.registry, world.context.daemon);
  const auto asked = [&](const store::Caller& caller, store::Operation operation) {
    counting.Take();
    EXPECT_TRUE(decisions.Check(caller, operation, model).ok());
    return counting.Take().calls;
  };
  EXPECT_EQ(asked(world.caller, store::Operation::kReadFiles), 1U);
  EXPECT_EQ(asked(world.caller, store::Operation::kReadFiles), 0U);
  EXPECT_EQ(asked(world.caller, store::Operation::kGet), 1U) << "another question";
  store::Caller member = world.caller;
  member.groups.emplace_back("data-science");
  EXPECT_EQ(asked(member, store::Operation::kGet), 1U) << "another caller";
  world.Commit(model, {{"file", "bytes"}});
  EXPECT_EQ(asked(world.caller, store::Operation::kReadFiles), 1U);
}

// What was refused is asked again, so a GRANT is in force at once; no open that begins after a REVOKE was
// acknowledged, by whatever process, is let through by an answer from before.
TEST(Decisions, ARevokeIsInForceAtTheNextOpenHoweverManyAreUnderWay) {
  ZoneWorld world;
  const store::ObjectId model = world.Make("prod.ml.iris");
  Decisions decisions(*world.registry, *world.registry, world.context.daemon);
  world.context.decisions = &decisions;
  const auto other = world.OtherProcess();
  const Request bob = world.RequestOf(60002, 60002);
  const auto may = [&] { return May(world.context, bob, store::Operation::kReadFiles, model); };
  world.Grant(world.Make("prod"), "bob", {store::Privilege::kUseCatalog, store::Privilege::kUseSchema});
  const store::GrantChange grant{.principal = "bob", .add = {store::Privilege::kExecute}};
  const store::GrantChange revoke{.principal = "bob", .remove = {store::Privilege::kExecute}};

  std::atomic<bool> over = false;
  std::atomic<uint64_t> revoked = 0;  // odd from a REVOKE's acknowledgement to the next GRANT
  std::atomic<uint64_t> let_through = 0;
  std::atomic<uint64_t> wrong = 0;
  std::vector<std::thread> readers;
  for (int i = 0; i < 3; ++i) {
    readers.emplace_back([&] {
      while (!over) {
        const uint64_t before = revoked;
        const bool allowed = may();
        if (allowed) ++let_through;
        if (allowed && before % 2 == 1 && before == revoked) ++wrong;
      }
    });
  }
  for (int round = 0; round < 200; ++round) {
    ASSERT_TRUE(other->ChangeGrants(world.caller, model, {grant}).ok());
    EXPECT_TRUE(may()) << round;
    ASSERT_TRUE(other->ChangeGrants(world.caller, model, {revoke}).ok());
    ++revoked;
    EXPECT_FALSE(may()) << round;
    std::this_thread::yield();
    ++revoked;
  }
  over = true;
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(wrong, 0U);
  EXPECT_GT(let_through, 0U);
}

}  // namespace
}  // namespace modelfs::fs
