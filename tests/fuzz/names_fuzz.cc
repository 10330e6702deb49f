// A name that parses prints to text that parses to the same name; no rule fails on odd bytes.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "cas/base/check.h"
#include "cas/base/text.h"
#include "store/names.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size_bytes) {
  using namespace modelfs;
  const std::string_view input(reinterpret_cast<const char*>(data), size_bytes);
  if (const auto name = store::FullName::Parse(input); name.ok()) {
    const auto again = store::FullName::Parse(name->ToString());
    CHECK(again.ok() && *again == *name);
    for (const std::string& part : name->parts) CHECK(store::CheckObjectName(part).ok());
  }
  if (const auto spec = store::ModelSpec::Parse(input); spec.ok()) CHECK(spec->model.parts.size() == 3);
  // No valid alias name is a held name.
  if (store::CheckAliasName(input).ok()) CHECK(!store::IsHeldName(input));
  if (CheckPathComponent(input).ok()) CHECK(Printable(input) == input);
  store::CheckTagKey(input).IgnoreError("only that it returns");
  store::CheckTagValue(input).IgnoreError("only that it returns");
  store::CheckDescription(input).IgnoreError("only that it returns");
  return 0;
}
