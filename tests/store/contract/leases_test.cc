// The contract of Leases.
#include "store/leases.h"

#include <string>

#include "tests/store/contract/implementation.h"

namespace modelfs::store {
namespace {

using Box = testing::ContractBox;
using testing::Outcome;

class LeasesContract : public testing::OverEachImplementation {};

TEST_P(LeasesContract, TheHorizonStaysBehindEveryLiveLease) {
  Box box(GetParam());
  const ObjectId model = box.Make("c.s.m");
  EXPECT_EQ(box.implementation->MarkForSweep(box.ann)->horizon.revision,
            box.journal->CurrentRevision(box.ann).value());
  const Lease first = box.leases->AcquireLease(box.ann, "a").value();
  const Lease second = box.leases->AcquireLease(box.ann, "b").value();
  EXPECT_LT(first.epoch, second.epoch);
  ASSERT_OK(box.Commit(model));
  ASSERT_OK(box.leases->RenewLease(box.ann, first));
  EXPECT_EQ(box.implementation->MarkForSweep(box.ann)->horizon, first.epoch)
      << "renewing does not move the epoch";
  ASSERT_OK(box.leases->ReleaseLease(box.ann, first));
  ASSERT_OK(box.leases->ReleaseLease(box.ann, first));
  EXPECT_EQ(box.implementation->MarkForSweep(box.ann)->horizon, second.epoch);
  ASSERT_OK(box.leases->ReleaseLease(box.ann, second));
  EXPECT_GT(box.implementation->MarkForSweep(box.ann)->horizon, second.epoch);
}

TEST_P(LeasesContract, AWriterThatSleptTooLongIsAbortedAndNotCommitted) {
  Box box(GetParam());
  const ObjectId model = box.Make("c.s.m");
  const Lease lease = box.leases->AcquireLease(box.ann, "slow").value();
  const Digest tree = box.blobs.PutTree({{"w", "x"}}, lease.epoch);
  box.clock.Advance(kLeaseLifetimeMs - 1);
  ASSERT_OK(box.leases->RenewLease(box.ann, lease));
  box.clock.Advance(kLeaseLifetimeMs - 1);
  ASSERT_OK(box.implementation->MarkForSweep(box.ann));
  ASSERT_OK(box.leases->RenewLease(box.ann, lease));
  box.clock.Advance(kLeaseLifetimeMs);
  ASSERT_OK(box.implementation->MarkForSweep(box.ann));
  EXPECT_EQ(Outcome(box.registry->CommitVersion(box.ann, model, tree, lease, {}, {})), "aborted");
  EXPECT_EQ(Outcome(box.leases->RenewLease(box.ann, lease)), "aborted");
  EXPECT_OK(box.leases->ReleaseLease(box.ann, lease));
  EXPECT_EQ(box.registry->Get(box.ann, model)->next_version, 1U);
  EXPECT_EQ(Outcome(box.registry->CommitVersion(box.ann, model, tree, Lease{"made up", {1}}, {}, {})),
            "aborted");
}

TEST_P(LeasesContract, AnotherPrincipalNeitherRenewsNorReleasesALease) {
  Box box(GetParam());
  const Lease lease = box.leases->AcquireLease(box.ann, "mine").value();
  Caller eve = box.ann;
  eve.principal = "eve";
  EXPECT_EQ(Outcome(box.leases->RenewLease(eve, lease)), "permission denied");
  EXPECT_EQ(Outcome(box.leases->ReleaseLease(eve, lease)), "permission denied");
  EXPECT_OK(box.leases->RenewLease(box.ann, lease));
}

TEST_P(LeasesContract, ARemoteHolderRenewsForADayAtMost) {
  Box box(GetParam());
  const Lease lease = box.leases->AcquireLease(box.ann, "far", LeaseHolder::kRemote).value();
  int64_t renewed_ms = 0;
  while (box.leases->RenewLease(box.ann, lease).ok()) {
    ASSERT_LT(renewed_ms, 2 * kRemoteLeaseMostMs);
    box.clock.Advance(kLeaseLifetimeMs / 2);
    renewed_ms += kLeaseLifetimeMs / 2;
    ASSERT_OK(box.implementation->MarkForSweep(box.ann));
  }
  EXPECT_GE(renewed_ms, kRemoteLeaseMostMs);
  EXPECT_GT(box.implementation->MarkForSweep(box.ann)->horizon, lease.epoch)
      << "no sweep waits for it any more";
}

INSTANTIATE_OVER_IMPLEMENTATIONS(LeasesContract);

}  // namespace
}  // namespace modelfs::store
