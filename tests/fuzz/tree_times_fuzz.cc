// Any bytes that TreeTimes::Decode accepts must encode to the very same bytes.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "cas/base/check.h"
#include "cas/tree_times.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size_bytes) {
  const std::string_view input(reinterpret_cast<const char*>(data), size_bytes);
  const auto times = modelfs::cas::TreeTimes::Decode(input);
  if (times.ok()) CHECK(times->Encode() == input);
  return 0;
}
