#include "fs/kernel/waits.h"

#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <memory>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "cas/base/thread.h"

namespace modelfs::fs {
namespace {

// What a store knows of one wait.
struct Asked {
  std::stop_token stop;
  Done done;
  Pending pending() {
    return [this](const std::stop_token& token, Done end) {
      stop = token;
      done = std::move(end);
    };
  }
};

// How a wait ended, and in which thread it resumed.
class Resumed {
 public:
  Waits::Resume resume() {
    return [this](const Status& ended) {
      thread_ = std::this_thread::get_id();
      promise_.set_value(ended);  // a second time throws
    };
  }
  Status Get() { return promise_.get_future().get(); }
  std::thread::id thread() const { return thread_; }

 private:
  std::promise<Status> promise_;
  std::thread::id thread_;
};

TEST(Waits, AWaitEndsWithItsBytesOnAnotherThread) {
  const auto waits = std::make_shared<Waits>(1);
  Asked asked;
  Resumed resumed;
  const auto id = waits->Add(asked.pending(), Deadline::Never(), resumed.resume());
  ASSERT_TRUE(id.ok());
  EXPECT_EQ(asked.done, nullptr) << "nothing was asked before Start";
  waits->Start(*id);
  EXPECT_EQ(waits->size(), 1U);
  asked.done(OkStatus());
  EXPECT_TRUE(resumed.Get().ok());
  EXPECT_NE(resumed.thread(), std::this_thread::get_id());
  EXPECT_EQ(waits->size(), 0U);
  asked.done(OkStatus());  // nobody waits: nothing
  waits->Cancel(*id);
}

TEST(Waits, AWaitEndsOnceWithTheFirstOfItsEnds) {
  const auto waits = std::make_shared<Waits>(1);
  Asked asked;
  Resumed resumed;
  const auto id = waits->Add(asked.pending(), Deadline::Never(), resumed.resume());
  waits->Start(*id);
  waits->Cancel(*id);
  EXPECT_EQ(resumed.Get().error().code(), Code::kCancelled);
  EXPECT_TRUE(asked.stop.stop_requested()) << "the store learns that nobody waits";
  asked.done(OkStatus());
}

TEST(Waits, ACancelBeforeStartIsKeptForStart) {
  const auto waits = std::make_shared<Waits>(1);
  Asked asked;
  Resumed resumed;
  const auto id = waits->Add(asked.pending(), Deadline::Never(), resumed.resume());
  waits->Cancel(*id);
  EXPECT_EQ(waits->size(), 1U);
  waits->Start(*id);
  EXPECT_EQ(resumed.Get().error().code(), Code::kCancelled);
  EXPECT_EQ(asked.done, nullptr) << "nothing was asked of the store";
}

TEST(Waits, OneThreadWatchesTheDeadlinesOfAll) {
  const auto waits = std::make_shared<Waits>(1);
  Asked late_asked;
  Resumed late;
  const auto later = waits->Add(late_asked.pending(), Deadline::Never(), late.resume());
  waits->Start(*later);
  std::vector<Asked> asked(16);
  std::vector<Resumed> resumed(16);
  for (size_t i = 0; i < asked.size(); ++i) {
    const Deadline deadline = Deadline::After(std::chrono::milliseconds(1 + (i * 7) % 16));
    waits->Start(*waits->Add(asked[i].pending(), deadline, resumed[i].resume()));
  }
  for (Resumed& each : resumed) EXPECT_EQ(each.Get().error().code(), Code::kDeadlineExceeded);
  EXPECT_EQ(waits->size(), 1U) << "that without one waits on";
  late_asked.done(Error(Code::kUnavailable, "the host is down"));
  EXPECT_EQ(late.Get().error().code(), Code::kUnavailable);
}

TEST(Waits, FinishEndsAllThatWaitAndWhatTheStoreSaysLaterIsNothing) {
  auto waits = std::make_shared<Waits>(1);
  Asked asked;
  Resumed resumed;
  waits->Start(*waits->Add(asked.pending(), Deadline::Never(), resumed.resume()));
  waits->Finish();
  EXPECT_EQ(resumed.Get().error().code(), Code::kUnavailable);
  EXPECT_FALSE(waits->Add(asked.pending(), Deadline::Never(), nullptr).ok());
  waits.reset();
  asked.done(OkStatus());
}

}  // namespace
}  // namespace modelfs::fs
