// Hostile filters are refused or matched within their bounds, and have no other effect.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "store/search_filter.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size_bytes) {
  using namespace modelfs;
  const std::string_view input(reinterpret_cast<const char*>(data), size_bytes);
  const Result<store::SearchFilter> filter = store::SearchFilter::Parse(input);
  if (!filter.ok()) return 0;
  store::ObjectInfo model;
  model.kind = store::ObjectKind::kModel;
  model.name = "iris";
  model.full_name.parts = {"prod", "ml", "iris"};
  model.owner = "ann";
  const auto tags = []() -> Result<store::SearchFilter::Tags> {
    return store::SearchFilter::Tags{{"task", "classification"}};
  };
  filter->Matches(model, tags).IgnoreError("only that it returns");
  return 0;
}
