// The contract of Journal: events in the order of commits, and to each subscriber only those that it may know
// of.
#include "store/journal.h"

#include <atomic>
#include <chrono>
#include <filesystem>
#include <future>
#include <iterator>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "tests/store/contract/implementation.h"

namespace modelfs::store {
namespace {

using Box = testing::ContractBox;
using testing::Outcome;

class JournalContract : public testing::OverEachImplementation {};

Caller Named(const std::string& name) {
  Caller caller;
  caller.principal = name;
  caller.door = "test";
  return caller;
}

std::vector<Event> EventsOf(Box& box, const Caller& caller, uint64_t after) {
  const auto page = box.journal->Events(caller, after, 1000);
  EXPECT_OK(page);
  return page.ok() ? page->events : std::vector<Event>();
}

std::vector<EventKind> KindsOf(const std::vector<Event>& events) {
  std::vector<EventKind> kinds;
  for (const Event& event : events) kinds.push_back(event.kind);
  return kinds;
}

Status Give(Box& box, ObjectId object, const std::string& principal, PrivilegeSet add,
            PrivilegeSet remove = {}) {
  return box.governance->ChangeGrants(box.ann, object,
                                      {{.principal = principal, .add = add, .remove = remove}});
}

TEST_P(JournalContract, EveryChangeIsAnEventInTheOrderOfCommits) {
  Box box(GetParam());
  const uint64_t start = box.journal->CurrentRevision(box.ann).value();
  const ObjectId model = box.Make("c.s.m");
  ASSERT_OK(box.Commit(model));
  ASSERT_OK(box.registry->SetAlias(box.ann, model, "A", 1));
  ASSERT_OK(box.registry->Rename(box.ann, model, "n"));
  ASSERT_OK(box.registry->DeleteVersion(box.ann, model, 1));
  ASSERT_OK(box.registry->Delete(box.ann, model, Registry::DeleteMode::kIfEmpty));
  const auto events = box.journal->Events(box.ann, start, 100)->events;
  std::vector<EventKind> kinds;
  uint64_t previous = start;
  for (const Event& event : events) {
    kinds.push_back(event.kind);
    EXPECT_GT(event.revision, previous);
    previous = event.revision;
  }
  EXPECT_EQ(kinds,
            (std::vector<EventKind>{EventKind::kCreated, EventKind::kCreated, EventKind::kCreated,
                                    EventKind::kVersionReady, EventKind::kAliasSet, EventKind::kRenamed,
                                    EventKind::kVersionDeleted, EventKind::kDeleted}));
  EXPECT_EQ(events[4].aliases, std::vector<std::string>{"A"});
  EXPECT_EQ(events[4].version, 1U);
  EXPECT_EQ(events[5].old_name, "m");
  EXPECT_EQ(events[5].name, "n");
  EXPECT_EQ(events[6].aliases, std::vector<std::string>{"A"});
  EXPECT_EQ(events[7].object, model);
  EXPECT_EQ(box.journal->Events(box.ann, events[5].revision, 1)->events.at(0).kind,
            EventKind::kVersionDeleted);
}

// A watcher waits after the last event that it saw. If every commit woke it, it would spin after a lease.
TEST_P(JournalContract, WaitingForAChangeSleepsThroughCommitsWithoutAnEvent) {
  Box box(GetParam());
  const std::stop_source never;
  const uint64_t last_event = box.journal->Events(box.ann, 0, 100)->events.back().revision;
  const Lease lease = box.leases->AcquireLease(box.ann, "test").value();
  ASSERT_GT(box.journal->CurrentRevision(box.ann).value(), last_event);
  const Deadline deadline = Deadline::After(std::chrono::milliseconds(30));
  box.journal->WaitForChange(box.ann, last_event, deadline, never.get_token());
  EXPECT_TRUE(deadline.Passed());
  box.Make("c");
  box.journal->WaitForChange(box.ann, last_event, Deadline::Never(), never.get_token());
  EXPECT_EQ(box.journal->Events(box.ann, last_event, 100)->events.size(), 1U);
  ASSERT_OK(box.leases->ReleaseLease(box.ann, lease));
}

TEST_P(JournalContract, NoEventNamesAnObjectThatIsHiddenFromItsReader) {
  Box box(GetParam());
  const uint64_t start = box.journal->CurrentRevision(box.ann).value();
  const ObjectId model = box.Make("secret.plans.moon");
  ASSERT_OK(box.Commit(model));
  ASSERT_OK(box.registry->SetAlias(box.ann, model, "Champion", 1));
  ASSERT_OK(box.registry->SetTag(box.ann, {model, std::nullopt}, "k", "v"));
  ASSERT_OK(box.registry->Rename(box.ann, model, "mars"));
  ASSERT_OK(Give(box, model, "bob", {Privilege::kExecute}));
  ASSERT_OK(box.registry->Delete(box.ann, model, Registry::DeleteMode::kWithVersions));
  const auto page = box.journal->Events(Named("eve"), start, 1000);
  ASSERT_OK(page);
  EXPECT_EQ(page->through, EventsOf(box, box.ann, start).back().revision) << "nothing is left to be read";
  for (const Event& event : page->events) {
    EXPECT_TRUE(event.object == kMetastoreId || event.name.empty()) << event.name;
    EXPECT_TRUE(event.old_name.empty()) << event.old_name;
    EXPECT_TRUE(event.aliases.empty());
    EXPECT_FALSE(event.version.has_value());
    EXPECT_TRUE(event.kind == EventKind::kAccessChanged || event.kind == EventKind::kPrincipalsChanged ||
                event.kind == EventKind::kDeleted)
        << static_cast<int>(event.kind);
  }
}

TEST_P(JournalContract, AnEventThatHidesAnObjectComesWithoutItsNames) {
  Box box(GetParam());
  const ObjectId model = box.Make("c.s.m");
  const ObjectId schema = box.registry->Get(box.ann, model)->parent;
  const ObjectId catalog = box.registry->Get(box.ann, schema)->parent;
  ASSERT_OK(Give(box, catalog, "bob", {Privilege::kUseCatalog}));
  ASSERT_OK(Give(box, schema, "bob", {Privilege::kUseSchema}));
  ASSERT_OK(Give(box, model, "bob", {Privilege::kExecute}));
  uint64_t seen = box.journal->CurrentRevision(box.ann).value();
  ASSERT_OK(box.Commit(model));
  std::vector<Event> events = EventsOf(box, Named("bob"), seen);
  ASSERT_EQ(KindsOf(events), std::vector<EventKind>{EventKind::kVersionReady});
  EXPECT_EQ(events[0].name, "m");
  EXPECT_EQ(events[0].version, 1U);

  seen = box.journal->CurrentRevision(box.ann).value();
  ASSERT_OK(Give(box, model, "bob", {}, {Privilege::kExecute}));
  events = EventsOf(box, Named("bob"), seen);
  ASSERT_EQ(KindsOf(events), std::vector<EventKind>{EventKind::kAccessChanged});
  EXPECT_EQ(events[0].object, model) << "the reader forgets what it has of it";
  EXPECT_EQ(events[0].name, "");

  seen = box.journal->CurrentRevision(box.ann).value();
  ASSERT_OK(box.Commit(model));
  EXPECT_EQ(KindsOf(EventsOf(box, Named("bob"), seen)), std::vector<EventKind>{});
}

TEST_P(JournalContract, WithoutTheRightToMetadataNoVersionsAndAliasesAreInEvents) {
  Box box(GetParam());
  const ObjectId model = box.Make("c.s.m");
  const ObjectId catalog = box.registry->Lookup(box.ann, FullName::Parse("c").value())->id;
  ASSERT_OK(Give(box, catalog, "bob", {Privilege::kBrowse}));
  const uint64_t seen = box.journal->CurrentRevision(box.ann).value();
  ASSERT_OK(box.Commit(model));
  ASSERT_OK(box.registry->SetAlias(box.ann, model, "A", 1));
  ASSERT_OK(box.registry->SetTag(box.ann, {model, 1}, "k", "v"));
  const std::vector<Event> events = EventsOf(box, Named("bob"), seen);
  ASSERT_EQ(KindsOf(events), std::vector<EventKind>{EventKind::kTagsChanged});
  EXPECT_EQ(events[0].name, "m");
  EXPECT_FALSE(events[0].version.has_value());
}

TEST_P(JournalContract, ACallerWithoutANameReadsNoEvents) {
  Box box(GetParam());
  EXPECT_EQ(Outcome(box.journal->Events(Named("uid:4321"), 0, 10)), "permission denied");
  EXPECT_EQ(Outcome(box.journal->CurrentRevision(Named("uid:4321"))), "permission denied");
}

size_t ThreadsOfThisProcess() {
  const std::filesystem::directory_iterator threads("/proc/self/task");
  return static_cast<size_t>(std::distance(begin(threads), end(threads)));
}

TEST_P(JournalContract, ManySubscribersCostOneThread) {
  Box box(GetParam());
  const size_t before = ThreadsOfThisProcess();
  const uint64_t now = box.journal->CurrentRevision(box.ann).value();
  constexpr size_t kSubscribers = 64;
  std::vector<std::promise<void>> called(kSubscribers);
  std::vector<std::unique_ptr<Subscription>> subscriptions;
  for (std::promise<void>& each : called) {
    auto once = std::make_shared<std::atomic<bool>>(false);
    subscriptions.push_back(box.journal
                                ->Watch(box.ann, now,
                                        [&each, once] {
                                          if (!once->exchange(true)) each.set_value();
                                        })
                                .value());
  }
  EXPECT_LE(ThreadsOfThisProcess(), before + 1);
  const Lease lease = box.leases->AcquireLease(box.ann, "no event").value();
  box.Make("c");
  for (std::promise<void>& each : called) each.get_future().wait();
  ASSERT_OK(box.leases->ReleaseLease(box.ann, lease));
}

TEST_P(JournalContract, ASubscriberHearsOfAnEventThatCameBeforeIt) {
  Box box(GetParam());
  const uint64_t before = box.journal->CurrentRevision(box.ann).value();
  box.Make("c");
  std::promise<void> first;
  const auto later = box.journal->Watch(box.ann, before + 1, [] {}).value();
  std::atomic<bool> called = false;
  const auto watch = box.journal
                         ->Watch(box.ann, before,
                                 [&] {
                                   if (!called.exchange(true)) first.set_value();
                                 })
                         .value();
  first.get_future().wait();
}

INSTANTIATE_OVER_IMPLEMENTATIONS(JournalContract);

}  // namespace
}  // namespace modelfs::store
