// Reads an MLmodel file (MLflow's model description, YAML) as far as the registry needs it.
#pragma once

#include <cstdint>
#include <string_view>

#include "cas/base/result.h"

namespace modelfs::store {

// A real one has a few KB; more than this is refused unread.
inline constexpr uint64_t kMlmodelMaxBytes = uint64_t{1} << 20U;

// OK when `yaml` has a signature with inputs and outputs, each the JSON list of typed columns or tensors that
// MLflow writes, of one at least. kFailedPrecondition otherwise; the message says what is missing and how to
// add it (mlflow.models.infer_signature).
Status CheckMlmodelSignature(std::string_view yaml);

}  // namespace modelfs::store
