// CHECK(condition): for our own mistakes only. Aborts in every build, since a mount that is gone
// beats a mount that lies. What comes from disk, network, kernel or user gets an Error instead.
#pragma once

namespace modelfs {
[[noreturn]] void CheckFailed(const char* condition, const char* file, int line);
}  // namespace modelfs

#define CHECK(condition) \
  ((condition) ? static_cast<void>(0) : ::modelfs::CheckFailed(#condition, __FILE__, __LINE__))
