// The contract of Leases.
#include "store/leases.h"

#include <string>

#include "tests/store/contract/engines.h"

namespace modelfs::store {
namespace {

using testing::Box;
using testing::Outcome;

class LeasesContract : public OverEachEngine {};

TEST_P(LeasesContract, TheHorizonStaysBehindEveryLiveLease) {
  Box box(Engine());
  const ObjectId model = box.Make("c.s.m");
  EXPECT_EQ(box.registry->MarkForSweep(box.ann)->horizon.revision,
            box.registry->CurrentRevision(box.ann).value());
  const Lease first = box.registry->AcquireLease(box.ann, "a").value();
  const Lease second = box.registry->AcquireLease(box.ann, "b").value();
  EXPECT_LT(first.epoch, second.epoch);
  ASSERT_OK(box.Commit(model));
  ASSERT_OK(box.registry->RenewLease(box.ann, first));
  EXPECT_EQ(box.registry->MarkForSweep(box.ann)->horizon, first.epoch) << "renewing does not move the epoch";
  ASSERT_OK(box.registry->ReleaseLease(box.ann, first));
  ASSERT_OK(box.registry->ReleaseLease(box.ann, first));
  EXPECT_EQ(box.registry->MarkForSweep(box.ann)->horizon, second.epoch);
  ASSERT_OK(box.registry->ReleaseLease(box.ann, second));
  EXPECT_GT(box.registry->MarkForSweep(box.ann)->horizon, second.epoch);
}

TEST_P(LeasesContract, AWriterThatSleptTooLongIsAbortedAndNotCommitted) {
  Box box(Engine());
  const ObjectId model = box.Make("c.s.m");
  const Lease lease = box.registry->AcquireLease(box.ann, "slow").value();
  const Digest tree = box.blobs.PutTree({{"w", "x"}}, lease.epoch);
  box.clock.Advance(kLeaseLifetimeMs - 1);
  ASSERT_OK(box.registry->RenewLease(box.ann, lease));
  box.clock.Advance(kLeaseLifetimeMs - 1);
  ASSERT_OK(box.registry->MarkForSweep(box.ann));
  ASSERT_OK(box.registry->RenewLease(box.ann, lease));
  box.clock.Advance(kLeaseLifetimeMs);
  ASSERT_OK(box.registry->MarkForSweep(box.ann));
  EXPECT_EQ(Outcome(box.registry->CommitVersion(box.ann, model, tree, lease, {}, {})), "aborted");
  EXPECT_EQ(Outcome(box.registry->RenewLease(box.ann, lease)), "aborted");
  EXPECT_OK(box.registry->ReleaseLease(box.ann, lease));
  EXPECT_EQ(box.registry->Get(box.ann, model)->next_version, 1U);
  EXPECT_EQ(Outcome(box.registry->CommitVersion(box.ann, model, tree, Lease{"made up", {1}}, {}, {})),
            "aborted");
}

TEST_P(LeasesContract, AnotherPrincipalNeitherRenewsNorReleasesALease) {
  Box box(Engine());
  const Lease lease = box.registry->AcquireLease(box.ann, "mine").value();
  Caller eve = box.ann;
  eve.principal = "eve";
  EXPECT_EQ(Outcome(box.registry->RenewLease(eve, lease)), "permission denied");
  EXPECT_EQ(Outcome(box.registry->ReleaseLease(eve, lease)), "permission denied");
  EXPECT_OK(box.registry->RenewLease(box.ann, lease));
}

TEST_P(LeasesContract, ARemoteHolderRenewsForADayAtMost) {
  Box box(Engine());
  const Lease lease = box.registry->AcquireLease(box.ann, "far", LeaseHolder::kRemote).value();
  int64_t renewed_ms = 0;
  while (box.registry->RenewLease(box.ann, lease).ok()) {
    ASSERT_LT(renewed_ms, 2 * kRemoteLeaseMostMs);
    box.clock.Advance(kLeaseLifetimeMs / 2);
    renewed_ms += kLeaseLifetimeMs / 2;
    ASSERT_OK(box.registry->MarkForSweep(box.ann));
  }
  EXPECT_GE(renewed_ms, kRemoteLeaseMostMs);
  EXPECT_GT(box.registry->MarkForSweep(box.ann)->horizon, lease.epoch) << "no sweep waits for it any more";
}

INSTANTIATE_OVER_ENGINES(LeasesContract);

}  // namespace
}  // namespace modelfs::store
