#include "fs/kernel/open_modes.h"

#include <gtest/gtest.h>

#include <vector>

namespace modelfs::fs {
namespace {

constexpr NodeId kNode = 42;
constexpr cas::FileId kFile{.device = 1, .inode = 2};

std::optional<int32_t> Open(OpenModes& modes, const OpenModes::Backing& backing) {
  return modes.Opened(kNode, kFile, backing).value().backing_id;
}

TEST(OpenModes, OneBackingIsSharedAndClosedWithTheLastHandle) {
  OpenModes modes;
  int opened = 0;
  std::vector<int32_t> closed;
  const auto close = [&](int32_t id) { closed.push_back(id); };
  const OpenModes::Backing backing = {[&]() -> Result<int32_t> { return ++opened; }, close};
  EXPECT_EQ(Open(modes, backing), 1);
  EXPECT_EQ(Open(modes, backing), 1);
  EXPECT_EQ(modes.native_handles(), 2U);
  modes.Closed(kNode, close);
  EXPECT_TRUE(closed.empty());
  modes.Closed(kNode, close);
  EXPECT_EQ(closed, std::vector<int32_t>{1});
  EXPECT_EQ(Open(modes, backing), 2) << "after the last, a new one";
}

TEST(OpenModes, WhileACachedHandleLivesEveryOpenIsCached) {
  OpenModes modes;
  const auto close = [](int32_t) {};
  const OpenModes::Backing backing = {[]() -> Result<int32_t> { return 7; }, close};
  EXPECT_EQ(Open(modes, {}), std::nullopt);
  EXPECT_EQ(Open(modes, backing), std::nullopt);
  modes.Closed(kNode, close);
  EXPECT_EQ(Open(modes, backing), std::nullopt);
  modes.Closed(kNode, close);
  modes.Closed(kNode, close);
  EXPECT_EQ(Open(modes, backing), 7);
}

TEST(OpenModes, ABackingThatFailsIsACachedOpen) {
  OpenModes modes;
  const auto close = [](int32_t) {};
  const OpenModes::Backing failing = {
      []() -> Result<int32_t> { return Error(Code::kPermissionDenied, "no"); }, close};
  EXPECT_EQ(Open(modes, failing), std::nullopt);
  EXPECT_EQ(modes.native_handles(), 0U);
}

TEST(OpenModes, NoOpenJoinsTheHandlesOfAnotherFile) {
  const cas::FileId healed{.device = 1, .inode = 3};
  for (const bool native : {false, true}) {
    SCOPED_TRACE(native);
    OpenModes modes;
    std::vector<int32_t> closed;
    const auto close = [&](int32_t id) { closed.push_back(id); };
    OpenModes::Backing backing;
    if (native) backing = {[]() -> Result<int32_t> { return 7; }, close};
    EXPECT_TRUE(modes.Opened(kNode, kFile, backing).value().keep_pages) << "the kernel has none of it yet";
    for (const std::optional<cas::FileId>& other : {std::optional(healed), std::optional<cas::FileId>()}) {
      const auto refused = modes.Opened(kNode, other, backing);
      ASSERT_FALSE(refused.ok());
      EXPECT_EQ(refused.error().code(), Code::kDataLoss);
    }
    EXPECT_TRUE(modes.Opened(kNode, kFile, backing).value().keep_pages);
    modes.Closed(kNode, close);
    modes.Closed(kNode, close);
    EXPECT_TRUE(modes.Opened(kNode, kFile, backing).value().keep_pages) << "the same file again";
    modes.Closed(kNode, close);
    EXPECT_FALSE(modes.Opened(kNode, healed, backing).value().keep_pages)
        << "after the last handle of the other";
    modes.Closed(kNode, close);
    modes.Forgotten(kNode);
    EXPECT_FALSE(modes.Opened(kNode, healed, backing).value().keep_pages) << "of one lookup, perhaps";
    modes.Forgotten(kNode);
    modes.Closed(kNode, close);
    EXPECT_TRUE(modes.Opened(kNode, healed, backing).value().keep_pages) << "it was open then";
    modes.Closed(kNode, close);
    // A handle of another file came first while this one got its backing id.
    if (!native) continue;
    closed.clear();
    const OpenModes::Backing slow = {[&]() -> Result<int32_t> {
                                       EXPECT_TRUE(modes.Opened(kNode, kFile, backing).ok());
                                       return 8;
                                     },
                                     close};
    EXPECT_FALSE(modes.Opened(kNode, healed, slow).ok());
    EXPECT_EQ(closed, std::vector<int32_t>{8});
  }
}

TEST(OpenModes, TheSlowerOfTwoFirstOpensJoinsTheOther) {
  OpenModes modes;
  std::vector<int32_t> closed;
  const auto close = [&](int32_t id) { closed.push_back(id); };
  const OpenModes::Backing quick = {[]() -> Result<int32_t> { return 1; }, close};
  const OpenModes::Backing slow = {[&]() -> Result<int32_t> {
                                     EXPECT_EQ(Open(modes, quick), 1);
                                     return 2;
                                   },
                                   close};
  EXPECT_EQ(Open(modes, slow), 1);
  EXPECT_EQ(closed, std::vector<int32_t>{2});
  EXPECT_EQ(modes.native_handles(), 2U);
}

}  // namespace
}  // namespace modelfs::fs
