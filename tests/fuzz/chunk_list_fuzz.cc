// Any bytes that ChunkList::Decode accepts must encode to the very same bytes.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "cas/base/check.h"
#include "cas/chunk_list.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size_bytes) {
  const std::string_view input(reinterpret_cast<const char*>(data), size_bytes);
  const auto list = modelfs::cas::ChunkList::Decode(input);
  if (list.ok()) CHECK(list->Encode() == input);
  return 0;
}
