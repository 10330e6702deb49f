#include "fs/open_modes.h"

#include <gtest/gtest.h>

#include <vector>

namespace modelfs::fs {
namespace {

constexpr NodeId kNode = 42;

TEST(OpenModes, OneBackingIsSharedAndClosedWithTheLastHandle) {
  OpenModes modes;
  int opened = 0;
  std::vector<int32_t> closed;
  const auto close = [&](int32_t id) { closed.push_back(id); };
  const OpenModes::Backing backing = {[&]() -> Result<int32_t> { return ++opened; }, close};
  EXPECT_EQ(modes.Opened(kNode, backing), 1);
  EXPECT_EQ(modes.Opened(kNode, backing), 1);
  EXPECT_EQ(modes.native_handles(), 2U);
  modes.Closed(kNode, close);
  EXPECT_TRUE(closed.empty());
  modes.Closed(kNode, close);
  EXPECT_EQ(closed, std::vector<int32_t>{1});
  EXPECT_EQ(modes.Opened(kNode, backing), 2) << "after the last, a new one";
}

TEST(OpenModes, WhileACachedHandleLivesEveryOpenIsCached) {
  OpenModes modes;
  const auto close = [](int32_t) {};
  const OpenModes::Backing backing = {[]() -> Result<int32_t> { return 7; }, close};
  EXPECT_EQ(modes.Opened(kNode, {}), std::nullopt);
  EXPECT_EQ(modes.Opened(kNode, backing), std::nullopt);
  modes.Closed(kNode, close);
  EXPECT_EQ(modes.Opened(kNode, backing), std::nullopt);
  modes.Closed(kNode, close);
  modes.Closed(kNode, close);
  EXPECT_EQ(modes.Opened(kNode, backing), 7);
}

TEST(OpenModes, ABackingThatFailsIsACachedOpen) {
  OpenModes modes;
  const auto close = [](int32_t) {};
  const OpenModes::Backing failing = {
      []() -> Result<int32_t> { return Error(Code::kPermissionDenied, "no"); }, close};
  EXPECT_EQ(modes.Opened(kNode, failing), std::nullopt);
  EXPECT_EQ(modes.native_handles(), 0U);
}

TEST(OpenModes, TheSlowerOfTwoFirstOpensJoinsTheOther) {
  OpenModes modes;
  std::vector<int32_t> closed;
  const auto close = [&](int32_t id) { closed.push_back(id); };
  const OpenModes::Backing quick = {[]() -> Result<int32_t> { return 1; }, close};
  const OpenModes::Backing slow = {[&]() -> Result<int32_t> {
                                     EXPECT_EQ(modes.Opened(kNode, quick), 1);
                                     return 2;
                                   },
                                   close};
  EXPECT_EQ(modes.Opened(kNode, slow), 1);
  EXPECT_EQ(closed, std::vector<int32_t>{2});
  EXPECT_EQ(modes.native_handles(), 2U);
}

}  // namespace
}  // namespace modelfs::fs
