#include "fs/zones/recent_reads.h"

#include <gtest/gtest.h>

#include <memory>

#include "tests/fs/zone_world.h"

namespace modelfs::fs {
namespace {

struct Box {
  Box() : model(world.Make("c.s.m")), reads(SystemClock(), *world.registry, world.caller) {
    request.pid = 7;
    request.caller = world.caller;
    reads.Keep(*reads.Revision(), request, {model, std::nullopt}, std::make_shared<store::Description>());
  }
  bool Finds(const Request& by) const {
    return reads.Find(*reads.Revision(), by, {model, std::nullopt}) != nullptr;
  }

  ZoneWorld world;
  store::ObjectId model;
  RecentReads reads;
  Request request;
};

TEST(RecentReads, AreForTheSameThreadAsTheSameUserAlone) {
  Box box;
  EXPECT_TRUE(box.Finds(box.request));
  Request other = box.request;
  other.pid = 8;
  EXPECT_FALSE(box.Finds(other)) << "another thread";
  other = box.request;
  ++other.caller.uid;
  EXPECT_FALSE(box.Finds(other)) << "the thread has another uid now";
  other = box.request;
  other.caller.shared_name = true;
  EXPECT_FALSE(box.Finds(other)) << "it has the name by a range only";
  other = box.request;
  other.caller.groups = {"others"};
  EXPECT_FALSE(box.Finds(other)) << "other groups";
}

TEST(RecentReads, AnAcknowledgedChangeEndsThem) {
  Box box;
  ASSERT_TRUE(box.world.registry->SetTag(box.world.caller, {box.model, std::nullopt}, "k", "v").ok());
  EXPECT_FALSE(box.Finds(box.request));
}

TEST(RecentReads, NoneAreKeptForThreadsThatTheKernelCannotName) {
  Box box;
  Request unknown = box.request;
  unknown.pid = 0;
  box.reads.Keep(*box.reads.Revision(), unknown, {box.model, std::nullopt},
                 std::make_shared<store::Description>());
  EXPECT_FALSE(box.Finds(unknown));
}

}  // namespace
}  // namespace modelfs::fs
