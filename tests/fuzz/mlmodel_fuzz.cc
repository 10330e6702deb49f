// Hostile YAML is refused, and has no other effect.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "store/embedded/mlmodel.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size_bytes) {
  const std::string_view input(reinterpret_cast<const char*>(data), size_bytes);
  modelfs::store::CheckMlmodelSignature(input).IgnoreError("only that it returns");
  return 0;
}
