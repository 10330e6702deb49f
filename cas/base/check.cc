#include "cas/base/check.h"

#include <cstdio>
#include <cstdlib>

namespace modelfs {

void CheckFailed(const char* condition, const char* file, int line) {
  std::fprintf(stderr, "modelfs: CHECK failed: %s at %s:%d\n", condition, file, line);
  std::abort();
}

}  // namespace modelfs
