// Reads an MLmodel file (MLflow's model description, YAML) as far as the registry needs it.
#pragma once

#include <cstdint>
#include <string_view>

#include "cas/base/result.h"

namespace modelfs::store {

// A real one has a few KB; more than this is refused unread.
inline constexpr uint64_t kMlmodelMaxBytes = uint64_t{1} << 20U;

// OK if `yaml` has a signature with inputs and outputs, each a JSON list of at least one typed column or
// tensor, as MLflow writes it. Else kFailedPrecondition: the message names the missing part and how to add it
// (mlflow.models.infer_signature).
Status CheckMlmodelSignature(std::string_view yaml);

}  // namespace modelfs::store
