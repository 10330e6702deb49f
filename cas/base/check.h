// CHECK(condition): for our own mistakes only. It aborts in every build, because a mount that is gone is
// better than a mount that returns wrong data. Errors in data from disk, network, kernel or user become an
// Error instead.
#pragma once

namespace modelfs {
[[noreturn]] void CheckFailed(const char* condition, const char* file, int line);
}  // namespace modelfs

#define CHECK(condition) \
  ((condition) ? static_cast<void>(0) : ::modelfs::CheckFailed(#condition, __FILE__, __LINE__))
