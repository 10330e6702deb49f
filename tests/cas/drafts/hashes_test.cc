#include "cas/drafts/hashes.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>

#include "cas/local/parallel.h"
#include "tests/cas/no_more_threads.h"
#include "tests/cas/test_support.h"

namespace modelfs::cas {
namespace {

HashedFile HashOf(const std::string& bytes) { return HashBytes(std::as_bytes(std::span(bytes))); }

// A hash that, once begun, does not end until the test permits it.
class HeldHash {
 public:
  DraftHashes::Hash AsFunction() {
    return [this](DraftNode, const std::stop_token&) -> std::optional<HashedFile> {
      begun_.set_value();
      may_end_.get_future().wait();
      return HashOf("bytes");
    };
  }
  void WaitUntilBegun() { begun_.get_future().wait(); }
  void LetEnd() { may_end_.set_value(); }

 private:
  std::promise<void> begun_;
  std::promise<void> may_end_;
};

// A hash of an endless file: only a stop ends it.
class EndlessHash {
 public:
  DraftHashes::Hash AsFunction() {
    return [this](DraftNode, const std::stop_token& stop) -> std::optional<HashedFile> {
      std::promise<void> stopped;
      const std::stop_callback on_stop(stop, [&stopped] { stopped.set_value(); });
      begun_.set_value();
      stopped.get_future().wait();
      ended_.set_value();
      return HashOf("too late");
    };
  }
  void WaitUntilBegun() { begun_.get_future().wait(); }
  void WaitUntilEnded() { ended_.get_future().wait(); }

 private:
  std::promise<void> begun_;
  std::promise<void> ended_;
};

TEST(DraftHashes, SettleWaitsForTheFileUnderWayAndReturnsIt) {
  HeldHash held;
  DraftHashes hashes(held.AsFunction());
  hashes.Closed(7);
  held.WaitUntilBegun();
  auto settled = std::async(std::launch::async, [&] { return hashes.Settle({}); });
  held.LetEnd();
  const auto known = settled.get();
  ASSERT_TRUE(known.contains(7));
  EXPECT_EQ(known.at(7).stored.blob, DigestOf("bytes"));
}

TEST(DraftHashes, AChangeDuringHashingDiscardsTheResult) {
  HeldHash held;
  DraftHashes hashes(held.AsFunction());
  hashes.Closed(7);
  held.WaitUntilBegun();
  hashes.Changed(7);
  held.LetEnd();
  EXPECT_FALSE(hashes.Settle({}).contains(7));
}

TEST(DraftHashes, AChangeAfterHashingForgetsOnlyThatFile) {
  std::promise<void> second_begun;
  DraftHashes hashes([&](DraftNode file, const std::stop_token&) -> std::optional<HashedFile> {
    if (file == 2) second_begun.set_value();
    return HashOf(std::to_string(file));
  });
  hashes.Closed(1);
  hashes.Closed(2);
  second_begun.get_future().wait();  // so the digest of the first is known
  ASSERT_EQ(hashes.Settle({}).size(), 2U);
  hashes.Changed(1);
  const auto known = hashes.Settle({});
  EXPECT_FALSE(known.contains(1));
  EXPECT_TRUE(known.contains(2));
}

TEST(DraftHashes, AFileNotWorthHashingStaysUnknown) {
  std::promise<void> asked;
  DraftHashes hashes([&](DraftNode, const std::stop_token&) -> std::optional<HashedFile> {
    asked.set_value();
    return std::nullopt;
  });
  hashes.Closed(1);
  asked.get_future().wait();
  EXPECT_TRUE(hashes.Settle({}).empty());
}

// A mount may have thousands of drafts.
TEST(DraftHashes, TheThreadEndsWhenIdleAndStartsAgain) {
  std::thread([] {}).join();  // a sanitizer starts its own thread with the first one
  const size_t before = ThreadsOfThisProcess();
  DraftHashes hashes(
      [](DraftNode file, const std::stop_token&) { return std::optional(HashOf(std::to_string(file))); });
  for (const DraftNode file : {DraftNode{1}, DraftNode{2}}) {
    hashes.Closed(file);
    while (ThreadsOfThisProcess() > before) std::this_thread::yield();
    EXPECT_TRUE(hashes.Settle({}).contains(file));
  }
}

TEST(DraftHashes, AFileStaysUnknownIfTheHostHasNoThread) {
  SKIP_UNDER_SANITIZERS();
  DraftHashes hashes([](DraftNode, const std::stop_token&) { return std::optional(HashOf("bytes")); });
  {
    const NoMoreThreads none;
    hashes.Closed(7);
    EXPECT_TRUE(hashes.Settle({}).empty());
    std::atomic<size_t> done = 0;
    EXPECT_TRUE(ParallelFor(100, 4, [&](size_t) -> Status {
                  ++done;
                  return OkStatus();
                }).ok());
    EXPECT_EQ(done, 100U) << "ParallelFor works on the caller's thread alone";
  }
  hashes.Closed(7);
  while (hashes.Settle({}).empty()) hashes.Closed(7);
}

TEST(DraftHashes, TheDestructorStopsTheFileUnderWay) {
  EndlessHash endless;
  {
    DraftHashes hashes(endless.AsFunction());
    hashes.Closed(7);
    endless.WaitUntilBegun();
  }
  endless.WaitUntilEnded();
}

TEST(DraftHashes, AChangeARemovalAndStopEndTheFileUnderWay) {
  const std::pair<const char*, void (*)(DraftHashes&)> rows[] = {
      {"changed", [](DraftHashes& hashes) { hashes.Changed(7); }},
      {"removed", [](DraftHashes& hashes) { hashes.Removed(7); }},
      {"stopped", [](DraftHashes& hashes) { hashes.Stop(); }},
  };
  for (const auto& [name, act] : rows) {
    SCOPED_TRACE(name);
    EndlessHash endless;
    DraftHashes hashes(endless.AsFunction());
    hashes.Closed(7);
    endless.WaitUntilBegun();
    act(hashes);
    endless.WaitUntilEnded();
    EXPECT_TRUE(hashes.Settle({}).empty());
  }
}

TEST(DraftHashes, AStoppedSettleReturnsAndHashingContinues) {
  HeldHash held;
  std::promise<void> next;
  DraftHashes hashes([&, first = held.AsFunction()](DraftNode file, const std::stop_token& stop) {
    if (file == 7) return first(file, stop);
    next.set_value();
    return std::optional(HashOf("next"));
  });
  hashes.Closed(7);
  hashes.Closed(8);
  held.WaitUntilBegun();
  std::stop_source stop;
  auto settled = std::async(std::launch::async, [&] { return hashes.Settle(stop.get_token()); });
  stop.request_stop();
  EXPECT_TRUE(settled.get().empty());
  held.LetEnd();
  next.get_future().wait();
  const auto known = hashes.Settle({});
  EXPECT_TRUE(known.contains(7));
  EXPECT_TRUE(known.contains(8));
}

}  // namespace
}  // namespace modelfs::cas
