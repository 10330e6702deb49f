#include "cas/base/fail_point.h"

#ifdef MODELFS_FAIL_POINTS
#include <atomic>
#include <csignal>
#include <cstdlib>
#include <string>

namespace modelfs {
namespace {

struct Armed {
  std::string name;
  std::atomic<int> arrivals_left{1};

  Armed() {
    const char* spec = std::getenv("MODELFS_FAIL_POINT");
    if (spec == nullptr) return;
    name = spec;
    if (const size_t colon = name.rfind(':'); colon != std::string::npos) {
      arrivals_left = std::atoi(name.c_str() + colon + 1);
      name.resize(colon);
    }
  }
};

}  // namespace

void ReachFailPoint(const char* name) {
  static Armed armed;
  if (armed.name != name) return;
  if (armed.arrivals_left.fetch_sub(1) == 1) ::raise(SIGKILL);
}

}  // namespace modelfs
#endif
