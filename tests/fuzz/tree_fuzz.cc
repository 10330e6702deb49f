// Any bytes that Tree::Decode accepts must encode to the very same bytes, and must be safe to index.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "cas/base/check.h"
#include "cas/tree.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size_bytes) {
  const std::string_view input(reinterpret_cast<const char*>(data), size_bytes);
  auto tree = modelfs::cas::Tree::Decode(input);
  if (!tree.ok()) return 0;
  CHECK(tree->Encode() == input);
  const size_t entries = tree->entries().size();
  const modelfs::cas::TreeIndex index(*std::move(tree));
  CHECK(index.size() > entries);  // the root, each entry, and the directories in between
  return 0;
}
