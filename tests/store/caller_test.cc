#include "store/caller.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <string_view>
#include <type_traits>

namespace modelfs::store {
namespace {

// Nothing but the owner of an engine makes the right to the registry's own work: no constructor, no
// aggregate, no value that is decoded, no copy of bytes.
static_assert(!std::is_default_constructible_v<Upkeep>);
static_assert(!std::is_aggregate_v<Upkeep>);
static_assert(!std::is_trivially_copyable_v<Upkeep>);
static_assert(!std::is_constructible_v<Upkeep, bool>);
static_assert(!std::is_constructible_v<Upkeep, int>);
static_assert(!std::is_constructible_v<Upkeep, std::string>);
static_assert(!std::is_constructible_v<Upkeep, std::string_view>);
static_assert(!std::is_constructible_v<Upkeep, std::nullopt_t>);
static_assert(!std::is_constructible_v<std::optional<Upkeep>, std::in_place_t>);

// Likewise the right of a mount to speak for others.
static_assert(!std::is_default_constructible_v<Speaker>);
static_assert(!std::is_aggregate_v<Speaker>);
static_assert(!std::is_constructible_v<Speaker, std::string, Speaker::For, uid_t>);

TEST(Caller, ANewOneDoesNotDoTheRegistrysOwnWork) {
  EXPECT_FALSE(Caller().IsUpkeep());
  const Caller copy = Caller();
  EXPECT_FALSE(copy.IsUpkeep());
}

}  // namespace
}  // namespace modelfs::store
